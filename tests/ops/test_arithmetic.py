"""Arithmetic and comparison: promotion, broadcasting, powers at their edges, ties, where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import device, equal, leaf

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        ("float16", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("int64", "float32", "float32"),
        ("int64", "float16", "float16"),
        ("bool", "float32", "float32"),
        ("uint8", "int8", "int16"),
        ("int32", "int64", "int64"),
        ("bool", "int8", "int8"),
    ],
)
def test_promotion_of_two_tensors(a, b, common):
    x, y = mg.ones(2, dtype=a), mg.ones(2, dtype=b)
    for result in [x + y, y + x, x * y, mg.maximum(x, y), mg.where(x == y, x, y)]:
        assert result.dtype == common


def test_a_list_beside_float64_keeps_its_digits():
    x, tenths, exact = mg.tensor(np.ones(2)), [0.1, 0.2], np.array([0.1, 0.2])
    for y, expected in [
        (x * tenths, exact),
        (tenths - x, exact - 1),
        (x * tuple(tenths), exact),
        (mg.where(x > 0, tenths, x), exact),
        (mg.mse_loss(x, tenths, "none"), (1 - exact) ** 2),
    ]:
        equal(y, expected)
    assert (mg.ones(2) * tenths).dtype == np.float32 and (
        mg.ones(2, dtype="int64") * [2]
    ).dtype == np.float32


def test_promotion_casts_gradients_back():
    x, y = leaf([1, 2], "float32"), leaf([3, 4], "float64")
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
    equal(x.grad, [3, 4])
    equal(y.grad, [1, 2])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_integers_divide_as_float32(dtype):
    x = mg.ones(2, dtype=dtype)
    for y in [x / x, x / 2, 1 / x, x**-1, x**0.5]:
        assert y.dtype == np.float32
    equal(x / 2, np.float32([0.5, 0.5]))


EXPONENTS = {
    "a number": lambda b: b,
    "an int where it is one": lambda b: int(b) if b == int(b) else b,
    "a NumPy scalar": np.float32,
    "an array of no axes": lambda b: device(np.array(b, "float32")),
    "a tensor": lambda b: mg.tensor([b]),
    "a leaf": lambda b: leaf([b], "float32"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("made", EXPONENTS.values(), ids=EXPONENTS)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_derivatives_of_powers_at_their_edges(made, dtype):
    """The n-th derivative is b (b - 1) ... (b - n + 1) x ** (b - n), and 0 where that factor is."""
    for x, b in itertools.product([0.0, -2.0, 3.0], [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, -1.0]):
        point = leaf([x], dtype)
        y, factor = point ** made(b), 1.0
        for order in range(4):
            expected = factor and factor * np.float64(x) ** (b - order)
            found = y.detach().astype("float64").numpy()
            np.testing.assert_allclose(found, [expected], 2e-2 if "16" in dtype else 1e-6)
            factor *= b - order
            y = mg.grad(y, point, create_graph=True) if y.requires_grad else y * 0


def test_derivatives_of_powers_by_the_exponent():
    a = leaf([0.0, 0.0, 0.0, 1.0, 2.0, 2.0])
    b = leaf([0.0, 1.0, 2.5, 3.0, 0.0, 2.0])
    gb = mg.grad((a**b).sum(), b, create_graph=True)
    equal(gb, [0, 0, 0, 0, np.log(2), 4 * np.log(2)])
    equal(mg.grad(gb.sum(), b), [0, 0, 0, 0, np.log(2) ** 2, 4 * np.log(2) ** 2])
    with np.errstate(divide="ignore"):
        a, b = leaf([0.0]), leaf([-1.0])
        equal(mg.grad(a**b, b), [-np.inf])
