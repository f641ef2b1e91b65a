"""The CUDA kernels that update in place, run on the CPU, against the generic kernels."""

from __future__ import annotations

import numpy as np
import pytest
from cuda.shared import ORDERS, close, in_every_order, kernels, needs_compiler, same

from minigrad.kernels.cuda.updates import BLOCK, TENSORS
from minigrad.kernels.generic import Kernels

pytestmark = needs_compiler
PLAIN = Kernels(np)
#: of parameters: one number, less than a vector, a block and a rest, several axes, none
SHAPES = [(1,), (3,), (BLOCK + 5,), (4, 3, 3, 3), (0,), (7, 11)]
SGD = {
    "plain": {"lr": 0.3, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "decay": {"lr": 0.3, "momentum": 0.0, "nesterov": False, "weight_decay": 0.1},
    "momentum": {"lr": 0.3, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    "nesterov": {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
}
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def arrays(shapes, dtype, columns):
    """``columns`` lists (parameters, state, gradients) of positive arrays."""
    rng = np.random.default_rng(0)
    return [[np.abs(rng.normal(1, 1, s)).astype(dtype) for s in shapes] for _ in range(columns)]


def on_device(k, columns, offset=0):
    return [tuple(k.xp.place(a, None, offset) for a in column) for column in columns]


def flat(columns):
    return [a for column in columns for a in column]


@each_dtype
@pytest.mark.parametrize("settings", SGD.values(), ids=SGD)
@pytest.mark.parametrize("offset", [0, 8])
def test_sgd(dtype, settings, offset):
    """Every operation is the generic one's, so every bit is; all parameters in one launch."""
    columns = 3 if settings["momentum"] else 2

    def run(k):
        given = on_device(k, arrays(SHAPES, dtype, columns), offset)
        k.sgd(*given, **settings)
        ((name, _),) = k.launch.launched
        assert (", 1, " in name) == bool(offset)
        return flat(given)

    expected = arrays(SHAPES, dtype, columns)
    PLAIN.sgd(*expected, **settings)
    same(in_every_order(run), flat(expected))


@each_dtype
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam(dtype, weight_decay):
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": weight_decay}
    steps = np.arange(1, len(SHAPES) + 1) ** 3

    def run(k):
        given = on_device(k, arrays(SHAPES, dtype, 4))
        k.adam(*given, **settings, steps=k.xp.place(steps))
        assert len(k.launch.launched) == 1
        return flat(given)

    expected = arrays(SHAPES, dtype, 4)
    PLAIN.adam(*expected, **settings, steps=steps)
    for a, b in zip(in_every_order(run), flat(expected), strict=True):
        close(a, b, factor=2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_updated_in_float32(dtype):
    wide = [[a.astype("f4") for a in column] for column in arrays(SHAPES, dtype, 3)]
    PLAIN.sgd(*wide, **SGD["nesterov"])
    k = kernels()
    given = on_device(k, arrays(SHAPES, dtype, 3))
    k.sgd(*given, **SGD["nesterov"])
    same(flat(given[:2]), [a.astype(dtype) for a in flat(wide[:2])])


def test_more_tensors_than_a_launch_takes_and_other_dtypes():
    columns = arrays([(2,)] * (TENSORS + 3), "float32", 2)
    columns = [[a.astype("f8") if i % 40 == 0 else a for i, a in enumerate(c)] for c in columns]
    k = kernels()
    given = on_device(k, columns)
    PLAIN.sgd(*columns, **SGD["plain"])
    k.sgd(*given, **SGD["plain"])
    same(flat(given), flat(columns))
    assert len(k.launch.launched) == 2  # 80 of float32, 3 of float64
    p, g = on_device(k, columns)
    k.sgd(p[1:2], (g[1].astype("f8"),), **SGD["plain"])  # a gradient of another dtype
    PLAIN.sgd(columns[0][1:2], columns[1][1:2], **SGD["plain"])
    same(p[1:2], columns[0][1:2])


@pytest.mark.parametrize("order", [None, (1, 0)])
def test_parameters_in_another_layout(order):
    """In Fortran order beside state in C order; and strided, where a copy is updated and copied back."""
    expected, k = arrays([(5, 7)], "float32", 3), kernels()
    p, v, g = on_device(k, expected)
    if order is None:
        wide = k.xp.place(np.full((5, 14), -1, np.float32))
        wide.hidden[:, ::2] = p[0].hidden
        p = (wide[:, ::2],)
    else:
        p = (k.xp.place(p[0].hidden, order),)
    PLAIN.sgd(*expected, **SGD["momentum"])
    k.sgd(p, v, g, **SGD["momentum"])
    same(flat([p, v, g]), flat(expected))
    k.xp.check()
    assert order or (wide.hidden[:, 1::2] == -1).all()


@each_dtype
@pytest.mark.parametrize("channels", [1, 5, 256, 1000])
@pytest.mark.parametrize(("momentum", "debiased"), [(0.9, False), (0.9, True), (None, False)])
def test_running_statistics(dtype, channels, momentum, debiased):
    batches = np.random.default_rng(0).random((3, 2, channels)).astype(dtype)

    def run(k):
        place = np.array if k is PLAIN else k.xp.place
        mean, var = (place(np.full(channels, x, dtype)) for x in (1, 3))
        count = place(np.array(0))
        for batch in batches:
            given = [place(a) for a in batch]
            assert k.move_statistics(mean, var, count, *given, momentum, 1.25, debiased, True)
        return mean, var, count

    *found, count = in_every_order(run)
    for a, b in zip(found, run(PLAIN), strict=False):
        close(a, b, factor=2)
    assert count == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [0, 299])
@pytest.mark.parametrize("strict", [False, True])
def test_statistics_that_are_not_finite_are_not_used(value, channel, strict):
    var = np.ones(300, np.float32)
    var[channel] = value
    for threads in ORDERS:
        k = kernels(threads)
        moving = [k.xp.place(np.ones(300, np.float32)) for _ in range(2)]
        count, given = k.xp.place(np.array(4)), [k.xp.place(a) for a in (np.full_like(var, 7), var)]
        k.move_statistics(*moving, count, *given, 0.9, 1.0, False, strict)
        assert count.hidden == 4 and all((a.hidden == 1).all() for a in moving)
        assert k.faults.fine.hidden == 1 - strict
        if strict:  # parameters stay as well until the error has been raised
            p, g = on_device(k, arrays([(3,)], "float32", 2))
            before = p[0].hidden.copy()
            k.sgd(p, g, **SGD["plain"])
            same(p, [before])
            with pytest.raises(ValueError, match="batch norm over 300 channels: the batch has NaN"):
                k.check()
            k.sgd(p, g, **SGD["plain"])
            assert (p[0].hidden != before).all()
