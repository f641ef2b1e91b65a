"""Kernels on arrays between guards: reads beyond an array give NaN, and writes beyond it are found."""

from __future__ import annotations

import numpy as np
import pytest
from cuda import emulator
from strict import StrictArray, StrictModule

from minigrad.kernels.cupy import CupyKernels

ml_dtypes = pytest.importorskip("ml_dtypes")
needs_compiler = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
#: bytes before and after each array and their values: NaN in every dtype around inputs; no NaN around outputs, since a
#: NaN that is read there would only produce another one
GUARD, GIVEN, WRITTEN = 1 << 12, 0xFF, 0x7F
#: orders of a block's threads, (first, step); any two threads run in both orders
ORDERS = [(0, 1), (255, 255), (17, 77), (100, 3)]


class GuardedModule(StrictModule):
    """An array module that checks the memory around its allocations."""

    def __init__(self):
        self._guards = []

    def empty(self, shape, dtype):
        return self._allocated(np.atleast_1d(shape), dtype, WRITTEN).reshape(shape)

    def place(self, array, order=None, offset=0):
        """A copy with its axes in this order in memory, ``offset`` bytes past a 16-byte boundary."""
        order = range(array.ndim) if order is None else order
        found = self._allocated([array.shape[i] for i in order], array.dtype, GIVEN, offset)
        found = found.transpose(np.argsort(order).tolist())
        found.hidden[...] = array
        return found

    def _allocated(self, shape, dtype, guard, offset=0):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(GUARD + offset + size + GUARD, guard, np.uint8)
        begin = GUARD + offset - memory.ctypes.data % 16
        end = begin + size
        self._guards += [(memory[:begin], guard), (memory[end:], guard)]
        return StrictArray(memory[begin:end].view(dtype).reshape(shape))

    def ascontiguousarray(self, array):
        hidden = array.hidden
        return array if hidden.flags.c_contiguous else self.place(hidden)

    def check(self):
        for memory, guard in self._guards:
            assert (memory == guard).all(), "a kernel wrote beside an array"


def kernels(order=(0, 1), multiprocessors=emulator.Emulator.multiprocessors):
    """The kernel set on guarded arrays, with a launcher of its own."""
    launch = emulator.Emulator()
    launch.order, launch.multiprocessors, launch.launched = order, multiprocessors, []
    return CupyKernels(GuardedModule(), launch)


def in_every_order(run):
    """``run(kernels)``'s arrays as NumPy's, the same for every order of the threads, with the guards intact."""
    results = []
    for order in ORDERS:
        k = kernels(order)
        results.append([a.hidden for a in run(k)])
        k.xp.check()
    for other in results[1:]:
        same(other, results[0])
    return results[0]


def same(found, expected):
    """The same bits, array by array."""
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(*[np.asarray(getattr(x, "hidden", x)) for x in (a, b)])


def close(found, expected, factor=8):
    """Within some of the last digits of the largest number."""
    tolerance = factor * float(ml_dtypes.finfo(found.dtype).eps)
    expected = np.asarray(expected)
    size = np.abs(expected).max(initial=0)
    found = found.astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * size)
