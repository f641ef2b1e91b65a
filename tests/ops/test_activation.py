"""Activations far out, at their kinks, and along every axis."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal, error_table, leaf, normal, refuses

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_sigmoid_far_out_is_exact_and_silent(dtype):
    x = leaf([-1e4, 0, 1e4], dtype)
    y = mg.sigmoid(x)
    equal(y, [0, 0.5, 1])
    y.sum().backward()
    equal(x.grad, [0, 0.25, 0])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-7), ("float64", 1e-15)])
def test_sigmoid_is_relatively_accurate_where_it_is_small(dtype, tolerance):
    x = np.linspace(-80, 0, 161)
    y = mg.sigmoid(mg.tensor(x, dtype=dtype))
    np.testing.assert_allclose(y.numpy(), np.exp(x) / (1 + np.exp(x)), rtol=tolerance)


def test_relu_and_its_gradient_at_zero():
    x = leaf([-1e4, -0.0, 0.0, 1e4])
    y = mg.relu(x)
    equal(y, [0, 0, 0, 1e4])
    y.sum().backward()
    equal(x.grad, [0, 0, 0, 1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_relu_of_nan_passes_the_gradient_on(dtype):
    x = leaf([np.nan, -1.0, 1.0, np.nan], dtype)
    mg.relu(x).sum().backward()
    equal(x.grad, [1, 0, 1, 1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_far_out(dtype):
    x = mg.tensor([[1e4, 1e4, -1e4], [1e4, 0, 0]], dtype=dtype)
    equal(mg.softmax(x), [[0.5, 0.5, 0], [1, 0, 0]])
    equal(mg.log_softmax(x)[1], [0, -1e4, -1e4])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_sums_to_one_and_its_gradient_to_zero(rng, axis):
    x = normal(rng, 4, 3, requires_grad=True)
    y = mg.softmax(x, axis)
    close(y.sum(axis), np.ones(y.shape[1 - axis % 2]))
    close(mg.log_softmax(x, axis).exp(), y)
    close(mg.softmax(x + 100, axis), y)
    y.backward(normal(rng, 4, 3))
    close(x.grad.sum(axis), np.zeros(y.shape[1 - axis % 2]))


def test_softmax_of_nothing_along_another_axis():
    assert mg.softmax(mg.zeros((0, 3)), axis=1).shape == (0, 3)


@error_table(
    {
        f"{name} of {kind}": (TypeError, f"{name}{words}", lambda fn=fn, x=x: fn(x()))
        for name in ["sigmoid", "relu", "softmax", "log_softmax"]
        for fn in [getattr(mg, name)]
        for kind, words, x in [
            (
                "integers",
                ": expected a floating dtype, got int64; cast",
                lambda: mg.zeros(2, dtype="int64"),
            ),
            ("a list", ", argument x: expected a minigrad Tensor, got list", lambda: [0.0]),
            ("None", ", argument x: expected a minigrad Tensor, got None", lambda: None),
        ]
    }
    | {
        f"{name}: {kind}": (error, f"{name}: {words}", call)
        for name in ["softmax", "log_softmax"]
        for fn in [getattr(mg, name)]
        for kind, error, words, call in [
            (
                "axis out of range",
                ValueError,
                "axis 2 is out of range for 2 dimensions",
                lambda fn=fn: fn(mg.zeros((2, 3)), 2),
            ),
            (
                "no axes",
                ValueError,
                "axis -1 is out of range for 0 dimensions",
                lambda fn=fn: fn(mg.zeros(())),
            ),
            ("two axes", TypeError, "expected axis", lambda fn=fn: fn(mg.zeros((2, 3)), (0, 1))),
        ]
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
