"""Matrix products: operands that are no Tensors, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, equal, error_table, normal, refuses

import minigrad as mg
from minigrad.ops.matmul import product

pytestmark = pytest.mark.usefixtures("backend")


def test_arrays_and_lists_on_both_sides(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 2))
    close(mg.tensor(a) @ device(b), a @ b)
    close(device(a) @ mg.tensor(b), a @ b)
    x = mg.tensor([[1, 2], [3, 4]])
    equal(x @ [[0, 1], [1, 0]], [[2, 1], [4, 3]])
    equal([[0, 1], [1, 0]] @ x, [[3, 4], [1, 2]])


@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("lead", [(), (5,)])
def test_transposed_operands(rng, lead, ta, tb):
    a = normal(rng, *lead, *((3, 2) if ta else (2, 3)))
    b = normal(rng, *lead, *((4, 3) if tb else (3, 4)))
    x, y = (v.numpy().swapaxes(-1, -2) if t else v.numpy() for v, t in [(a, ta), (b, tb)])
    close(product(a, b, ta, tb), x @ y)
    assert mg.gradcheck(lambda a, b: product(a, b, ta, tb), [a, b])


@pytest.mark.parametrize("dtype", ["int64", "float16"])
def test_dtypes(dtype):
    y = mg.ones((2, 3), dtype=dtype) @ mg.ones((3, 2), dtype=dtype)
    assert y.dtype == dtype
    equal(y, np.full((2, 2), 3))


@error_table(
    {
        f"{a} @ {b}": (
            ValueError,
            words.format(a, b),
            lambda a=a, b=b: mg.zeros(a) @ mg.zeros(b),
        )
        for a, b, words in [
            ((2, 3), (2, 3), "matmul: inner dimensions differ in shapes {} and {}"),
            ((3,), (2,), "matmul: inner dimensions differ in shapes {} and {}"),
            ((3,), (2, 3), "matmul: inner dimensions differ in shapes {} and {}"),
            ((2, 3), (2,), "matmul: inner dimensions differ in shapes {} and {}"),
            ((), (3,), "matmul: expected at least one axis, got shapes {} and {}"),
            ((3,), (), "matmul: expected at least one axis, got shapes {} and {}"),
            ((4, 2, 3), (5, 3, 2), "matmul: leading axes of shapes {} and {} do not broadcast"),
        ]
    }
    | {
        "a number": (ValueError, "matmul: expected at least one axis", lambda: mg.ones((2, 3)) @ 2),
        "dtypes": (
            TypeError,
            "matmul: dtypes float32 and float64 differ; cast one with .astype",
            lambda: mg.ones((2, 3)) @ mg.ones((3, 2), dtype="float64"),
        ),
        "a string": (
            TypeError,
            "matmul: expected a minigrad Tensor, got",
            lambda: mg.ones((2, 3)) @ "w",
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
