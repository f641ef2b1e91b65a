"""Losses: numbers by hand, far out, every kind of label, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import close, device, equal, leaf

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
