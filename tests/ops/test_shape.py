"""Moving elements around: arguments, views, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, leaf, refuses

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

#: functions that take a shape as numbers or as one tuple
SHAPED = {
    "zeros": mg.zeros,
    "ones": mg.ones,
    "full": lambda *shape: mg.full(shape[0] if len(shape) == 1 else shape, 1),
    "reshape": lambda *shape: mg.reshape(mg.zeros((2, 3)), *shape),
    "broadcast_to": lambda *shape: mg.broadcast_to(mg.zeros((2, 3)), *shape),
}


WAYS = [(3, 2), ((3, 2),), ([3, 2],), (-1, 2), (np.int64(3), np.int64(-1)), (6,), (np.int64(-1),)]


@pytest.mark.parametrize("arguments", WAYS, ids=str)
def test_ways_to_give_a_shape(arguments):
    equal(mg.arange(6).reshape(2, 3).reshape(*arguments), np.arange(6).reshape(*arguments))


@pytest.mark.parametrize(
    "arguments", [(2, 3), ((2, 3),), ([2, 3],), (np.int64(2), 3), (np.array([2, 3]),)], ids=str
)
@pytest.mark.parametrize("name", ["zeros", "ones", "broadcast_to", "reshape"])
def test_shapes_are_numbers_or_a_tuple(name, arguments):
    assert SHAPED[name](*arguments).shape == (2, 3)


def test_shapes_of_one_and_of_no_axes():
    for size in (3, np.int64(3), (3,), [3], np.array(3)):
        for make in (mg.zeros, mg.ones, lambda shape: mg.full(shape, 2), mg.zeros(1).broadcast_to):
            assert make(size).shape == (3,)
        assert mg.broadcast_to(mg.zeros(()), size).shape == (3,)
        assert mg.nn.LayerNorm(size).gamma.shape == (3,)
    for make in (mg.zeros, mg.ones, mg.tensor([1]).reshape, mg.zeros(()).broadcast_to):
        assert make().shape == make(()).shape == make([]).shape == ()
    assert mg.zeros(0, 2).shape == (0, 2)


def test_a_shape_that_is_there_already_costs_nothing():
    x = mg.zeros((2, 3))
    assert x.reshape(2, 3) is x
    assert mg.broadcast_to(x, (2, 3)) is x


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.reshape(3, 2),
        lambda x: x.T,
        lambda x: x.transpose(1, 0),
        lambda x: x.broadcast_to((4, 2, 3)),
        lambda x: x[0, 1:],
    ],
    ids=["reshape", "T", "transpose", "broadcast_to", "slice"],
)
def test_views_share_memory(view):
    x = mg.zeros((2, 3))
    y = view(x)
    x.data = x.data + 1
    equal(y, np.ones(y.shape))


def test_reshape_of_nothing():
    assert mg.zeros((0, 3)).reshape(-1).shape == (0,)
    assert mg.zeros((0, 3)).reshape(3, -1).shape == (3, 0)


@pytest.mark.parametrize(
    "width", [0, 1, np.int64(1), (1, 2), [1, 2], [(1, 2)], (1,), np.array([[1], [2]])]
)
def test_pad_takes_widths_as_numpy_does(width):
    equal(mg.pad(mg.ones((2, 3)), width), np.pad(np.ones((2, 3)), width))


@pytest.mark.parametrize("join", [mg.concatenate, mg.stack])
def test_joining_one_tensor_or_tuples(join):
    x = mg.ones((2, 3))
    numpy = getattr(np, join.__name__)
    equal(join([x]), numpy([np.ones((2, 3))]))
    equal(join((x, x), -1), numpy([np.ones((2, 3))] * 2, -1))


def test_joining_needs_no_gradient_from_all():
    x, constant = leaf([1.0]), mg.tensor(np.array([2.0]))
    y = mg.concatenate([constant, x, constant])
    (y * mg.arange(3)).sum().backward()
    equal(x.grad, [1])
    assert not constant.requires_grad


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ((2.0, 3), "2.0, 3"),
        ((2.5,), "2.5"),
        (((2, 3.0),), "(2, 3.0)"),
        ((True,), "True"),
        ((2, True), "2, True"),
        (((2, np.True_),), ""),
        (("23",), "23"),
        ((None,), "None"),
        (((2, 3), 4), "(2, 3), 4"),
    ],
)
@pytest.mark.parametrize("name", SHAPED)
def test_shapes_of_anything_else(name, arguments, given):
    given = f"({given})" if name == "full" and len(arguments) > 1 else given
    with refuses(TypeError, f"{name}: expected integers or one tuple of them, got {given}"):
        SHAPED[name](*arguments)
