"""Memory for large NumPy arrays that is used again instead of being given back.

The operating system hands out fresh memory page by page, at the first touch of each and filled with zeros, which takes
longer than many a kernel that then writes it; and training asks for the same sizes in every step. Arrays from here
begin at a page, and so at a cache line.
"""

from __future__ import annotations

import math
import mmap
import os
from threading import RLock
from typing import Any

import numpy as np

#: bytes from which an array is worth it
LARGE = 2**17
#: bytes that may lie idle; beyond, what has lain longest is given back
IDLE = 2**29
#: bytes from which the system is asked for large pages, as NumPy does
HUGE = 2**22

_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_idle: dict[int, list[mmap.mmap]] = {}  # by size, the size that was last given back last
_idle_bytes = 0
_lock = RLock()  # reentrant: garbage that is collected meanwhile gives back too


def _after_fork() -> None:
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Lease(np.ndarray):
    """A buffer in use: the base of an array and of its views, and gone when the last of them is."""

    def __del__(self) -> None:
        assert isinstance(self.base, mmap.mmap)
        _give_back(self.base)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """As ``numpy.empty``."""
    global _idle_bytes
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    with _lock:
        bucket = _idle.get(size)
        buffer = bucket.pop() if bucket else None
        if buffer is not None:
            _idle_bytes -= size
    if buffer is None:
        try:
            buffer = mmap.mmap(-1, size, **_PRIVATE)
        except OSError as error:
            raise MemoryError(f"no {size:,} bytes for an array of shape {shape}: {error}") from None
        if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return np.ndarray(shape, dtype, _Lease(size, np.uint8, buffer))


def empty_like(x: np.ndarray) -> np.ndarray:
    """As ``numpy.empty_like``: of the same layout, where x has no gaps."""
    if x.nbytes < LARGE:
        return np.empty_like(x)
    if x.flags.c_contiguous:
        return empty(x.shape, x.dtype)
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    back = sorted(range(x.ndim), key=order.__getitem__)
    return empty(x.transpose(order).shape, x.dtype).transpose(back)


def owned(x: np.ndarray) -> bool:
    """Whether x is no view of another array: its memory is its own, or from here."""
    return x.base is None or type(x.base) is _Lease


def release() -> None:
    """Give all memory back that lies idle."""
    global _idle_bytes
    with _lock:
        _idle.clear()
        _idle_bytes = 0


def _give_back(buffer: mmap.mmap) -> None:
    global _idle_bytes
    size = len(buffer)
    with _lock:
        _idle[size] = _idle.pop(size, [])
        _idle[size].append(buffer)
        _idle_bytes += size
        while _idle_bytes > IDLE:
            oldest, buffers = next(iter(_idle.items()))
            if buffers:
                del buffers[0]
                _idle_bytes -= oldest
            else:
                del _idle[oldest]
