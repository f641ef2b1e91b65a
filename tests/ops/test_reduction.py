"""Reductions: dtypes, precision, ties, argmax."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal, leaf

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

ALL = ["sum", "mean", "var", "max", "min"]


@pytest.mark.parametrize("name", [*ALL, "argmax"])
def test_the_method_is_the_function(name):
    x = mg.arange(6).reshape(2, 3)
    equal(getattr(x, name)(axis=1), getattr(mg, name)(x, axis=1))


@pytest.mark.parametrize("axis", [np.int64(1), (np.int64(-1),), [1]])
def test_axes_may_be_numpy_integers(axis):
    equal(mg.arange(6).reshape(2, 3).sum(axis), [3, 12])


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("sum", "int64", "int64"),
        ("sum", "bool", "int64"),
        ("mean", "int64", "float32"),
        ("mean", "bool", "float32"),
        ("var", "int64", "float32"),
        ("max", "int8", "int8"),
        ("min", "uint8", "uint8"),
    ],
)
def test_dtypes_of_integers(name, dtype, expected):
    x = mg.ones((2, 3), dtype=dtype)
    y = getattr(x, name)(axis=0)
    assert y.dtype == expected
    equal(y, getattr(np, name)(np.ones((2, 3), dtype), axis=0))


@pytest.mark.parametrize("name", ["mean", "var"])
def test_float16_is_summed_in_float32(name):
    values = np.float16([1, 300] * 40_000)  # their sum and their squares overflow float16
    y = getattr(mg, name)(mg.tensor(values))
    assert y.dtype == np.float16
    close(y, getattr(np, name)(values.astype(np.float64)).astype(np.float16), 1e-3)


@pytest.mark.parametrize("mean", [0, 1e4, 1e6])
def test_variance_at_a_large_mean(rng, mean):
    values = (mean + 0.1 * rng.standard_normal((500, 3))).astype(np.float32)
    exact = values.astype(np.float64)
    x = mg.tensor(values)
    # Squares around a mean that is slightly off are too large by the square of that, and by no more.
    offset = x.mean(0).numpy() - exact.mean(0)
    np.testing.assert_allclose(x.var(0).numpy(), exact.var(0) + offset**2, rtol=2e-6)


@pytest.mark.parametrize(
    ("axis", "share"),
    [
        (None, [[0, 0.25, 0.25], [0.25, 0.25, 0]]),
        (0, [[0, 0.5, 1], [1, 0.5, 0]]),
        (1, [[0, 0.5, 0.5], [0.5, 0.5, 0]]),
        ((), [[1, 1, 1], [1, 1, 1]]),
    ],
)
@pytest.mark.parametrize(("fn", "sign"), [(mg.max, 1), (mg.min, -1)])
def test_ties_share(fn, sign, axis, share):
    x = leaf(sign * np.array([[1.0, 2, 2], [2, 2, 1]]))
    fn(x, axis=axis).sum().backward()
    equal(x.grad, share)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_argmax(axis):
    values = np.array([[1.0, 5, 5], [7, 7, 2]])
    index = mg.argmax(leaf(values), axis)
    equal(index, values.argmax(axis))
    assert index.dtype == np.int64 and not index.requires_grad
