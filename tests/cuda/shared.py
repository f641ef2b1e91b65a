"""Kernels on arrays between guards: what is read beyond an array is NaN, and what is written there is found."""

from __future__ import annotations

import numpy as np
import pytest
from cuda.emulator import Emulator
from strict import StrictArray, StrictModule

from minigrad.kernels.cupy import CupyKernels

ml_dtypes = pytest.importorskip("ml_dtypes")
#: bytes before and after each array, and what they are: around what is given a NaN in every dtype; around what is to be
#: written no NaN, for one that was read makes more of them
GUARD, GIVEN, WRITTEN = 1 << 12, 0xFF, 0x7F
#: of the threads of a block; any two threads come in both orders
ORDERS = [(0, 1), (255, 255), (17, 77), (100, 3)]


class GuardedModule(StrictModule):
    """An array module that looks after what it has allocated."""

    def __init__(self):
        self._guards = []

    def empty(self, shape, dtype):
        return self._allocated(shape, dtype, WRITTEN)

    def place(self, array, order=None, offset=0):
        """An array, with its axes in this order in memory, ``offset`` bytes from where 16 can be read at once."""
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
        """Nothing was written beside an array."""
        for memory, guard in self._guards:
            assert (memory == guard).all(), "a kernel wrote beside an array"


def kernels(order=(0, 1), multiprocessors=Emulator.multiprocessors):
    """The kernel set on guarded arrays, with a launcher of its own."""
    launch = Emulator()
    launch.order, launch.multiprocessors = order, multiprocessors
    launch.launched = []
    return CupyKernels(GuardedModule(), launch)


def close(found, expected, factor=8):
    """Within some of the last digits of the largest number."""
    tolerance = factor * float(ml_dtypes.finfo(found.dtype).eps)
    expected = np.asarray(expected)
    size = np.abs(expected).max(initial=0)
    found = found.astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * size)
