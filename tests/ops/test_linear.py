"""Matrix products and the linear layer: operands that are no Tensors, leading axes, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, equal, error_table, normal, refuses

import minigrad as mg
from minigrad.ops.linear import product

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
        **{
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
        },
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
