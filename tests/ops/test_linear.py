"""Matrix products and the linear layer: operands that are no Tensors, leading axes, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, equal, normal

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
