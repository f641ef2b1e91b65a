"""Activations far out, at their kinks, and along every axis."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, leaf

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
    x, gy = leaf([np.nan, -1.0, 1.0, np.nan], dtype), leaf([1.0, 1.0, 1.0, 1.0], dtype)
    gx = mg.grad(mg.relu(x), x, gy, create_graph=True)
    equal(gx, [1, 0, 1, 1])
    equal(mg.grad(gx.sum(), gy), [1, 0, 1, 1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_far_out(dtype):
    x = mg.tensor([[1e4, 1e4, -1e4], [1e4, 0, 0]], dtype=dtype)
    equal(mg.softmax(x), [[0.5, 0.5, 0], [1, 0, 0]])
    equal(mg.log_softmax(x)[1], [0, -1e4, -1e4])
