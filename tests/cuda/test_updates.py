"""What moves in place by itself: against the generic kernels, on guarded memory, in several orders of threads."""

from __future__ import annotations

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import ORDERS, close, kernels

from minigrad.kernels.cuda.updates import BLOCK, TENSORS
from minigrad.kernels.generic import Kernels

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")

PLAIN = Kernels(np)
#: of parameters: one number, no vector, a block and a rest, several axes
SHAPES = [(1,), (3,), (BLOCK + 5,), (4, 3, 3, 3), (0,), (7, 11)]
SGD = {
    "plain": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "decay": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
}


def arrays(shapes, dtype, columns, seed=0):
    rng = np.random.default_rng(seed)
    return [[np.abs(rng.normal(1, 1, s)).astype(dtype) for s in shapes] for _ in range(columns)]


def on_device(k, columns, order=lambda a: None, offset=0):
    return [tuple(k.xp.place(a, order(a), offset) for a in column) for column in columns]


def same(given, expected):
    for ours, theirs in zip(given, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.hidden, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", SGD.values(), ids=SGD)
@pytest.mark.parametrize("offset", [0, 8])
def test_sgd(dtype, settings, offset):
    """Every operation is the generic one's, so every bit is."""
    columns = 3 if settings["momentum"] else 2
    expected = arrays(SHAPES, dtype, columns)
    PLAIN.sgd(*expected, lr=0.3, **settings)
    for threads in ORDERS:
        k = kernels(threads)
        given = on_device(k, arrays(SHAPES, dtype, columns), offset=offset)
        k.sgd(*given, lr=0.3, **settings)
        k.xp.check()
        ((name, _),) = k.launch.launched  # all parameters in one launch
        assert (", 1, " in name) == bool(offset)
        same(given, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam(dtype, weight_decay):
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": weight_decay}
    steps = np.arange(1, len(SHAPES) + 1) ** 3
    expected = arrays(SHAPES, dtype, 4)
    PLAIN.adam(*expected, **settings, steps=steps)
    for threads in ORDERS:
        k = kernels(threads)
        given = on_device(k, arrays(SHAPES, dtype, 4))
        k.adam(*given, **settings, steps=k.xp.place(steps))
        k.xp.check()
        assert len(k.launch.launched) == 1
        for ours, theirs in zip(given, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                close(a.hidden, b, factor=2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_moved_in_float32(dtype):
    given, wide = arrays(SHAPES, dtype, 3), arrays(SHAPES, dtype, 3)
    wide = [[a.astype(np.float32) for a in column] for column in wide]
    PLAIN.sgd(*wide, lr=0.3, **SGD["nesterov"])
    k = kernels()
    given = on_device(k, given)
    k.sgd(*given, lr=0.3, **SGD["nesterov"])
    for ours, theirs in zip(given[:2], wide[:2], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.hidden, b.astype(dtype))


def test_more_tensors_than_a_launch_takes_and_other_dtypes():
    shapes = [(2,)] * (TENSORS + 3)
    expected = arrays(shapes, "float32", 2)
    expected = [[a.astype("f8") if i % 40 == 0 else a for i, a in enumerate(c)] for c in expected]
    k = kernels()
    given = on_device(k, expected)
    PLAIN.sgd(*expected, lr=0.3, **SGD["plain"])
    k.sgd(*given, lr=0.3, **SGD["plain"])
    same(given, expected)
    assert len(k.launch.launched) == 2  # 80 of float32, 3 of float64


@pytest.mark.parametrize("order", [None, (1, 0)])
def test_parameters_that_lie_otherwise(order):
    """In Fortran order, beside state in C order; and with gaps, where a copy is moved and put back."""
    shapes = [(5, 7)]
    expected = arrays(shapes, "float32", 3)
    k = kernels()
    p, v, g = on_device(k, arrays(shapes, "float32", 3))
    if order is None:
        wide = k.xp.place(np.full((5, 14), -1, np.float32))
        wide.hidden[:, ::2] = p[0].hidden
        p = (wide[:, ::2],)
    else:
        p = (k.xp.place(p[0].hidden, order),)
    PLAIN.sgd(*expected, lr=0.3, **SGD["momentum"])
    k.sgd(p, v, g, lr=0.3, **SGD["momentum"])
    same((p, v, g), expected)
    k.xp.check()
    if order is None:
        assert (wide.hidden[:, 1::2] == -1).all()


def test_a_gradient_of_another_dtype():
    expected = arrays([(9,)], "float32", 2)
    k = kernels()
    p, g = on_device(k, expected)
    PLAIN.sgd(*expected, lr=0.3, **SGD["plain"])
    k.sgd(p, (g[0].astype("f8"),), lr=0.3, **SGD["plain"])
    same((p,), expected[:1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 5, 256, 1000])
@pytest.mark.parametrize(("momentum", "debiased"), [(0.9, False), (0.9, True), (None, False)])
def test_running_statistics(dtype, channels, momentum, debiased):
    found = []
    batches = np.random.default_rng(0).random((3, 2, channels)).astype(dtype)
    for k in [PLAIN, *map(kernels, ORDERS)]:
        place = np.array if k is PLAIN else k.xp.place
        mean, var = (place(np.full(channels, x, dtype)) for x in (1, 3))
        count = place(np.array(0))
        for batch in batches:
            given = [place(a) for a in batch]
            assert k.move_statistics(mean, var, count, *given, momentum, 1.25, debiased, True)
        found.append([np.array(getattr(a, "hidden", a)) for a in (mean, var, count)])
        if k is not PLAIN:
            k.xp.check()
    for others in found[1:]:
        for a, b in zip(others[:2], found[0][:2], strict=True):
            close(a, b, factor=2)
        assert others[2] == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [0, 299])
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_not_finite_moves_nothing(value, channel, strict):
    var = np.ones(300, np.float32)
    var[channel] = value
    for threads in ORDERS:
        k = kernels(threads)
        moving = [k.xp.place(np.ones(300, np.float32)) for _ in range(2)]
        count, given = k.xp.place(np.array(4)), [k.xp.place(a) for a in (np.full_like(var, 7), var)]
        k.move_statistics(*moving, count, *given, 0.9, 1.0, False, strict)
        assert count.hidden == 4 and all((a.hidden == 1).all() for a in moving)
        assert k.faults.fine.hidden == 1 - strict
        if strict:
            # Until it has been told, parameters stay too.
            p, g = on_device(k, arrays([(3,)], "float32", 2))
            before = p[0].hidden.copy()
            k.sgd(p, g, lr=0.3, **SGD["plain"])
            np.testing.assert_array_equal(p[0].hidden, before)
            with pytest.raises(ValueError, match="batch norm over 300 channels: the batch has NaN"):
                k.check()
            k.sgd(p, g, lr=0.3, **SGD["plain"])
            assert (p[0].hidden != before).all()
