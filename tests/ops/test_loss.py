"""Losses: numbers by hand, far out, every kind of label, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import close, device, equal, error_table, leaf, refuses

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

REDUCTIONS = {"mean": np.mean, "sum": np.sum, "none": np.asarray}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_cross_entropy_far_out(dtype):
    z = leaf([[1e4, 0], [1e4, 0], [1e4, 1e4]], dtype)
    loss = mg.softmax_cross_entropy(z, [0, 1, 0], "none")
    close(loss, [0, 1e4, math.log(2)], 1e-3)
    loss.sum().backward()
    equal(z.grad, [[0, 0], [1, -1], [-0.5, 0.5]])


def test_cross_entropy_of_many_in_float16():
    z = mg.zeros(
        (50_000, 8), requires_grad=True, dtype="float16"
    )  # the sum is above float16's 65504
    loss = mg.softmax_cross_entropy(z, mg.zeros(50_000, dtype="int64"))
    assert loss.dtype == np.float16
    close(loss, math.log(8), 2e-3)


@pytest.mark.parametrize(
    "labels",
    [
        lambda c: c.tolist(),
        lambda c: device(c),
        lambda c: mg.tensor(c),
        lambda c: device(c.astype(np.int8)),
        lambda c: mg.tensor(c.astype(np.uint8)),
        lambda c: mg.tensor(c)[[0, 1, 2]],
    ],
    ids=["list", "array", "tensor", "int8", "uint8", "computed"],
)
def test_kinds_of_labels(rng, labels):
    c = np.array([2, 0, 299])
    z = rng.standard_normal((3, 300))
    expected = np.log(np.exp(z).sum(1)).mean() - z[np.arange(3), c].mean()
    wrapped = c % 256 if "8" in str(getattr(labels(c), "dtype", "")) else c
    expected += (z[np.arange(3), c] - z[np.arange(3), wrapped]).mean()
    close(mg.softmax_cross_entropy(mg.tensor(z), labels(wrapped)), expected)


@pytest.mark.parametrize(
    "target", [lambda: device(np.zeros(2)), lambda: [0, 0]], ids=["array", "list"]
)
def test_mse_takes_targets_that_are_no_tensors(target):
    equal(mg.mse_loss(mg.tensor(np.array([1.0, 3.0])), target()), 5)


def entropy(shape=(2, 3), labels=(0, 1), **options):
    return lambda: mg.softmax_cross_entropy(mg.zeros(shape), list(labels), **options)


CE = "softmax_cross_entropy: expected "


@error_table(
    {
        # The range that there is, or the label that a device found.
        "label too large": (ValueError, CE + "labels 0 ... 2, got 3", entropy(labels=[3, 3])),
        "label too small": (ValueError, CE + "labels 0 ... 2, got -1", entropy(labels=[-1, 0])),
        "too few labels": (
            ValueError,
            CE + "labels of shape (2,), a class for each row of the logits (2, 3), got (1,)",
            entropy(labels=[0]),
        ),
        "one-hot labels": (
            ValueError,
            CE + "labels of shape (2,), a class for each row of the logits (2, 3), got (2, 3)",
            entropy(labels=[[1, 0, 0], [0, 1, 0]]),
        ),
        "floating labels": (
            TypeError,
            CE + "integer labels, got float64",
            entropy(labels=[0.0, 1.0]),
        ),
        "boolean labels": (
            TypeError,
            CE + "integer labels, got bool",
            entropy(labels=[True, False]),
        ),
        "one axis": (ValueError, CE + "logits of shape (n, classes), got (2,)", entropy((2,))),
        "three axes": (ValueError, CE + "logits of shape (n, classes)", entropy((2, 3, 1))),
        "empty batch": (
            ValueError,
            CE + "logits of shape (n, classes), got (0, 3)",
            entropy((0, 3), labels=[]),
        ),
        "no classes": (
            ValueError,
            CE + "logits of shape (n, classes), got (2, 0)",
            entropy((2, 0)),
        ),
        "reduction": (
            ValueError,
            CE + "reduction 'mean', 'sum' or 'none', got 'average'",
            entropy(reduction="average"),
        ),
        "integer logits": (
            TypeError,
            CE + "a floating dtype, got int64",
            lambda: mg.softmax_cross_entropy(mg.zeros((2, 3), dtype="int64"), [0, 1]),
        ),
        "no logits": (
            TypeError,
            "softmax_cross_entropy, argument x: expected a minigrad Tensor, got list",
            lambda: mg.softmax_cross_entropy([[0.0]], [0]),
        ),
        "mse: shapes": (
            ValueError,
            "mse_loss: shapes (2, 1) and (2,) differ",
            lambda: mg.mse_loss(mg.zeros((2, 1)), mg.zeros(2)),
        ),
        "mse: a number": (
            ValueError,
            "mse_loss: shapes (2,) and () differ",
            lambda: mg.mse_loss(mg.zeros(2), 0.0),
        ),
        "mse: reduction": (
            ValueError,
            "mse_loss: expected reduction 'mean', 'sum' or 'none', got None",
            lambda: mg.mse_loss(mg.zeros(2), mg.zeros(2), None),
        ),
        "mse: integers": (
            TypeError,
            "mse_loss: expected a floating dtype, got int64",
            lambda: mg.mse_loss(mg.zeros(2, dtype="int64"), mg.zeros(2)),
        ),
        "mse: empty": (
            ValueError,
            "mean: expected at least one value",
            lambda: mg.mse_loss(mg.zeros(0), mg.zeros(0)),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
