"""The linear map: numbers, leading axes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal, error_table, normal, refuses

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("lead", [(), (1,), (2, 4), (0,), (2, 0, 3)])
def test_leading_axes_are_examples(rng, lead):
    x, weight, bias = normal(rng, *lead, 3), normal(rng, 2, 3), normal(rng, 2, requires_grad=True)
    y = mg.linear(x, weight, bias)
    close(y, x.numpy() @ weight.numpy().T + bias.numpy())
    y.sum().backward()
    equal(bias.grad, np.full(2, np.prod(lead)))


def test_no_inputs_leave_the_bias():
    equal(mg.linear(mg.zeros((2, 3, 0)), mg.zeros((4, 0)), mg.ones(4)), np.ones((2, 3, 4)))


def call(x=(5, 3), weight=(2, 3), bias=(2,), dtypes=("float32",) * 3):
    shapes = list(zip((x, weight, bias), dtypes, strict=True))
    return lambda: mg.linear(*[mg.zeros(shape, dtype=dtype) for shape, dtype in shapes])


@error_table(
    {
        "inner": (
            ValueError,
            "linear: expected x of shape (..., 3) for weight (2, 3), got (5, 2)",
            call(x=(5, 2)),
        ),
        "no axis": (ValueError, "linear: expected x of shape (..., 3)", call(x=())),
        "weight of one axis": (
            ValueError,
            "linear: expected weight of shape (out, in), got (3,)",
            call(weight=(3,)),
        ),
        "weight of three axes": (ValueError, "got (1, 2, 3)", call(weight=(1, 2, 3))),
        "bias": (ValueError, "linear: expected bias of shape (2,), got (3,)", call(bias=(3,))),
        "wide bias": (
            ValueError,
            "linear: expected bias of shape (2,), got (1, 2)",
            call(bias=(1, 2)),
        ),
        "weight dtype": (
            TypeError,
            "linear: expected weight of dtype float32 for x of float32, got float64",
            call(dtypes=("float32", "float64", "float32")),
        ),
        "bias dtype": (
            TypeError,
            "linear: expected bias of dtype float16 for x of float16, got float32",
            call(dtypes=("float16", "float16", "float32")),
        ),
        "a list": (
            TypeError,
            "linear, argument x: expected a minigrad Tensor, got list; wrap it with minigrad.tensor",
            lambda: mg.linear([[1.0]], mg.ones((1, 1))),
        ),
        "no weight": (
            TypeError,
            "linear, argument weight: expected a minigrad Tensor, got None",
            lambda: mg.linear(mg.ones((1, 1)), None),
        ),
        "no input": (
            TypeError,
            "linear, argument x: expected a minigrad Tensor, got None",
            lambda: mg.linear(None, mg.ones((1, 1))),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
