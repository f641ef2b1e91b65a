"""Moving elements around: arguments, views, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, error_table, leaf, refuses

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


@pytest.mark.parametrize(
    "arguments",
    [(3, 2), ((3, 2),), ([3, 2],), (-1, 2), (np.int64(3), np.int64(-1))],
    ids=str,
)
def test_ways_to_give_a_shape(arguments):
    equal(mg.arange(6).reshape(*arguments), np.arange(6).reshape(3, 2))


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


@pytest.mark.parametrize("size", [6, -1, np.int64(6), np.int64(-1)])
def test_reshape_to_one_axis(size):
    equal(mg.arange(6).reshape(2, 3).reshape(size), np.arange(6))


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


def test_transposed_twice_is_the_same(rng):
    values = rng.standard_normal((2, 3, 4))
    x = mg.tensor(values)
    equal(x.T, values.T)
    for order in [(0, 1, 2), (2, 0, 1), (1, 2, 0), (-1, 0, 1)]:
        equal(x.transpose(order).transpose(tuple(np.argsort(np.array(order) % 3))), values)


def test_pad_with_a_value():
    x = leaf([[1.0, 2.0]])
    y = mg.pad(x, [(0, 1), (2, 0)], value=7)
    equal(y, [[7, 7, 1, 2], [7, 7, 7, 7]])
    (y * mg.arange(8).reshape(2, 4)).sum().backward()
    equal(x.grad, [[2, 3]])


@pytest.mark.parametrize(
    "width", [0, 1, np.int64(1), (1, 2), [1, 2], [(1, 2)], (1,), np.array([[1], [2]])]
)
def test_pad_takes_widths_as_numpy_does(width):
    equal(mg.pad(mg.ones((2, 3)), width), np.pad(np.ones((2, 3)), width))


def test_pad_of_no_axes_is_a_copy():
    x = leaf(2.0)
    y = mg.pad(x, 1)
    y.backward()
    equal(y, 2)
    equal(x.grad, 1)


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


def zeros(*shape, dtype=np.float32):
    return mg.zeros(shape, dtype=dtype)


@error_table(
    {
        "reshape: elements": (
            ValueError,
            "reshape: shape (2, 3) (6 elements) does not fit (4,)",
            lambda: zeros(2, 3).reshape(4),
        ),
        "reshape: remainder": (
            ValueError,
            "reshape: shape (2, 3) (6 elements) does not fit (4, -1)",
            lambda: zeros(2, 3).reshape(4, -1),
        ),
        "reshape: two unknowns": (
            ValueError,
            "does not fit (-1, -1)",
            lambda: zeros(2, 3).reshape(-1, -1),
        ),
        "reshape: negative": (
            ValueError,
            "does not fit (-2, -3)",
            lambda: zeros(2, 3).reshape(-2, -3),
        ),
        **{
            f"{name}: {shape}": (
                TypeError,
                f"{name}: expected integers or one tuple of them, got "
                + (f"({given})" if name == "full" and len(shape) > 1 else given),
                lambda call=call, shape=shape: call(*shape),
            )
            for name, call in SHAPED.items()
            for shape, given in [
                ((2.0, 3), "2.0, 3"),
                ((2.5,), "2.5"),
                (((2, 3.0),), "(2, 3.0)"),
                ((True,), "True"),
                ((2, True), "2, True"),
                (((2, np.True_),), ""),
                (("23",), "23"),
                ((None,), "None"),
                (((2, 3), 4), "(2, 3), 4"),
            ]
        },
        **{
            f"{name}: a negative size": (
                ValueError,
                f"{name}: expected sizes of at least 0, got (2, -1)",
                lambda call=call: call((2, -1)),
            )
            for name, call in SHAPED.items()
            if name in ("zeros", "ones", "full")
        },
        "broadcast_to: a negative size": (
            ValueError,
            "broadcast_to: shape (3,) does not broadcast to (-1, 3)",
            lambda: mg.broadcast_to(zeros(3), (-1, 3)),
        ),
        "transpose: too few": (
            ValueError,
            "transpose: axes (0,) are not a permutation of 2 dimensions",
            lambda: zeros(2, 3).transpose(0),
        ),
        "transpose: twice": (
            ValueError,
            "transpose: axes (1, -1)",
            lambda: zeros(2, 3).transpose(1, -1),
        ),
        "transpose: out of range": (
            ValueError,
            "transpose: axes (0, 2)",
            lambda: zeros(2, 3).transpose(0, 2),
        ),
        "broadcast_to: length": (
            ValueError,
            "broadcast_to: shape (3,) does not broadcast to (2,)",
            lambda: mg.broadcast_to(zeros(3), (2,)),
        ),
        "broadcast_to: fewer axes": (
            ValueError,
            "broadcast_to: shape (1, 3) does not broadcast to (3,)",
            lambda: mg.broadcast_to(zeros(1, 3), (3,)),
        ),
        "concatenate: nothing": (
            ValueError,
            "concatenate: expected at least one Tensor, got none",
            lambda: mg.concatenate([]),
        ),
        "concatenate: a Tensor": (
            TypeError,
            "concatenate: expected a list or tuple of Tensors, got minigrad.Tensor",
            lambda: mg.concatenate(zeros(2, 3)),
        ),
        "concatenate: numbers": (
            TypeError,
            "concatenate, tensor 1: expected a minigrad Tensor, got float",
            lambda: mg.concatenate([zeros(1), 1.0]),
        ),
        "concatenate: shapes": (
            ValueError,
            "concatenate: shapes (2, 3) and (2, 4) differ off axis 0",
            lambda: mg.concatenate([zeros(2, 3), zeros(2, 4)]),
        ),
        "concatenate: axes": (
            ValueError,
            "concatenate: shapes (2, 3) and (3,) differ off axis 0",
            lambda: mg.concatenate([zeros(2, 3), zeros(3)]),
        ),
        "concatenate: dtypes": (
            TypeError,
            "concatenate: dtypes float32 and float64 differ; use .astype",
            lambda: mg.concatenate([zeros(2), zeros(2, dtype="float64")]),
        ),
        "concatenate: axis": (
            ValueError,
            "concatenate: axis 1 is out of range for shape (2,)",
            lambda: mg.concatenate([zeros(2)], axis=1),
        ),
        "concatenate: no axes": (
            ValueError,
            "concatenate: axis 0 is out of range for shape ()",
            lambda: mg.concatenate([zeros(), zeros()]),
        ),
        "stack: nothing": (
            ValueError,
            "stack: expected at least one Tensor, got none",
            lambda: mg.stack(()),
        ),
        "stack: shapes": (
            ValueError,
            "stack: shapes (2,) and (3,) differ",
            lambda: mg.stack([zeros(2), zeros(3)]),
        ),
        "stack: axis": (
            ValueError,
            "stack: axis -3 is out of range for shape (2,)",
            lambda: mg.stack([zeros(2)], axis=-3),
        ),
        "pad: too few pairs": (
            ValueError,
            "pad: expected an int, a (before, after) pair or 3 such pairs, none negative, got [(1, 1), (2, 2)]",
            lambda: mg.pad(zeros(2, 3, 1), [(1, 1), (2, 2)]),
        ),
        "pad: negative": (ValueError, "got [(0, -1)]", lambda: mg.pad(zeros(2), [(0, -1)])),
        "pad: triples": (ValueError, "got [(0, 1, 2)]", lambda: mg.pad(zeros(2), [(0, 1, 2)])),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
