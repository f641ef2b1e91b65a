"""Functions of one Tensor: integers, edges, kinks and casts."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, leaf

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh"])
def test_integers_become_float32(name):
    y = getattr(mg, name)(mg.arange(1, 4, dtype="int64"))
    equal(y, getattr(np, name)(np.arange(1, 4, dtype=np.float32)))
    assert y.dtype == np.float32


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "abs", "clip"])
def test_the_method_is_the_function(name):
    x = mg.tensor([0.5, 2.0])
    bounds = (0.0, 1.0) if name == "clip" else ()
    equal(getattr(x, name)(*bounds), getattr(mg, name)(x, *bounds))


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [-1e4, 0], [0, 1]),
        ("tanh", [-1e4, 0, 1e4], [-1, 0, 1]),
        ("log", [1, np.inf], [0, np.inf]),
        ("sqrt", [0, np.inf], [0, np.inf]),
        ("abs", [-0.0, -np.inf, 3], [0, np.inf, 3]),
    ],
)
def test_far_out(name, x, expected):
    equal(getattr(mg, name)(mg.tensor(x)), np.float32(expected))


@pytest.mark.parametrize(
    ("fn", "x", "slope"),
    [
        (mg.abs, [-2, 0, 3], [-1, 0, 1]),
        (lambda x: mg.clip(x, -1, 1), [-2, -1, 0, 1, 2], [0, 1, 1, 1, 0]),
        (lambda x: mg.clip(x, low=0), [-1, 0, 1], [0, 1, 1]),
        (lambda x: mg.clip(x, high=0), [-1, 0, 1], [1, 1, 0]),
    ],
    ids=["abs", "clip", "clip from below", "clip from above"],
)
def test_gradient_at_kinks(fn, x, slope):
    x = leaf(x)
    fn(x).sum().backward()
    equal(x.grad, slope)


def test_gradient_of_sqrt_at_zero_is_infinite():
    x = leaf([0.0])
    with np.errstate(divide="ignore"):
        mg.sqrt(x).backward()
    equal(x.grad, [np.inf])


@pytest.mark.parametrize(
    ("dtype", "bounds", "expected"),
    [
        ("float16", (0.5, 1.5), "float16"),
        ("float32", (np.float64(0.5), 1), "float32"),
        ("int64", (1, 2), "int64"),
        ("int64", (0.5, 2), "float32"),
        ("int8", (None, np.float64(1.5)), "float32"),
    ],
)
def test_bounds_do_not_widen(dtype, bounds, expected):
    x = mg.arange(4, dtype=dtype).clip(*bounds)
    assert x.dtype == expected
    equal(x, np.clip(np.arange(4.0), *bounds).astype(expected))


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
def test_abs_keeps_integers(dtype):
    assert mg.abs(mg.arange(3, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(("start", "end"), [("float64", "float32"), ("float16", "float64")])
def test_a_cast_casts_its_gradient_back(start, end):
    x = leaf([1.0, 2.0], start)
    y = x.astype(end)
    (y * y).sum().backward()
    assert (y.dtype, x.grad.dtype) == (end, start)
    equal(x.grad, [2.0, 4.0])


def test_casts_without_a_gradient():
    x = leaf([1.5, -1.5])
    assert x.astype("float64") is x
    assert not x.astype("int64").requires_grad
    equal(x.astype("int64"), [1, -1])
    equal(x.astype(bool), [True, True])
