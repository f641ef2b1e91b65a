"""How arrays lie in memory, and how the compiled loops take them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .pool import LARGE

#: numbers in a row of columns, at least, where channels are few; and where it is not much that has to be done
WIDE, NARROW, MUCH = 256, 32, 2**15
#: numbers in a chunk of rows, and how many chunks there are at most
CHUNK, CHUNKS = 2**17, 32


class Layout(NamedTuple):
    """How an array with channels is looked at, as columns or as planes, and in how many chunks."""

    kind: str
    order: tuple[int, ...]  # of its axes, to lie contiguously
    back: tuple[int, ...]
    shape: tuple[int, ...]  # of the axes in that order
    view: tuple[int, ...]
    chunks: int
    large: bool  # enough bytes for memory from the pool
    plain: bool  # the loops take the array itself, and make one of its shape

    def take(self, x: np.ndarray) -> np.ndarray:
        """An array of this shape as the loops take it."""
        return ready(x.transpose(self.order)).reshape(self.view)

    def give(self, y: np.ndarray) -> np.ndarray:
        """What the loops made, with the axes of the array that they took."""
        return y.reshape(self.shape).transpose(self.back)


@lru_cache(maxsize=4096)
def layout(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: str,
    carray: bool,
    kept: tuple[int, ...],
) -> Layout | None:
    """Columns where the channels are contiguous, else planes; None for what is left to NumPy."""
    if len(kept) > 1 or dtype not in "fd" or 0 in shape:
        return None
    (axis,) = kept
    axes, channels = tuple(range(len(shape))), shape[axis]
    itemsize = np.dtype(dtype).itemsize
    chunks = min(-(-math.prod(shape) // CHUNK), CHUNKS)
    large = math.prod(shape) * itemsize >= LARGE
    order = (*axes[:axis], *axes[axis + 1 :], axis)
    ordered = tuple(shape[i] for i in order)
    if not _dense(ordered, tuple(strides[i] for i in order), itemsize):
        view = math.prod(shape[:axis]), channels, math.prod(shape[axis + 1 :])
        plain = carray and view == shape
        return Layout("planes", axes, axes, shape, view, chunks, large, plain)
    back = (*axes[:axis], axes[-1], *axes[axis:-1])
    m, width = math.prod(shape) // channels, WIDE if math.prod(shape) >= MUCH else NARROW
    repeats = math.gcd(m, 2 ** max(math.ceil(math.log2(width / channels)), 0))
    rows = m // repeats, repeats * channels
    plain = carray and order == axes and rows == shape
    return Layout("columns", order, back, ordered, rows, chunks, large, plain)


def _dense(shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> bool:
    """Whether an array of these strides is C-contiguous."""
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n > 1 and stride != size:
            return False
        size *= n
    return True


def ready(x: np.ndarray) -> np.ndarray:
    """x as Numba's loops know it: C-contiguous and writable."""
    return x if x.flags.carray else x.copy(order="C")


def flat(x: np.ndarray) -> np.ndarray:
    """The numbers of an array without gaps, as they lie in memory."""
    return x.reshape(-1) if x.flags.carray else ready(x.ravel(order="K"))


def row_major(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Matrices or their transposes, whichever are C-contiguous, and whether it is the transposes."""
    if x.flags.carray:
        return x, False
    transposed = x.swapaxes(-1, -2)
    if transposed.flags.carray:
        return transposed, True
    return x.copy(order="C"), False
