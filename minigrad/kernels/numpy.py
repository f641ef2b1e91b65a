"""Kernels for NumPy arrays: what differs from the generic ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import pool
from .convolution import Window
from .generic import Kernels
from .halves import in_float32

#: elements from which a sum takes one axis after the other
MANY = 2**16


class NumpyKernels(Kernels):
    """The CPU kernels."""

    empty, empty_like = staticmethod(pool.empty), staticmethod(pool.empty_like)
    #: for arrays that are known to be too small for the pool
    small_empty: Any = staticmethod(np.empty)

    @in_float32
    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        # OpenBLAS has a kernel without threads for products of up to 10^6 multiplications, but not for a transposed
        # factor; unless the product is tiny, copying the factor costs less than waking the threads.
        transposed = weight.T
        if 10**5 < len(x) * weight.size <= 10**6:
            transposed = np.ascontiguousarray(transposed)
        y = Kernels.matmul(self, x, transposed)
        if bias is not None:
            y += bias
        return y

    def _softmax_cross_entropy(self, logits: Any, labels: Any) -> Any:
        # Classes first: reductions over many short rows are slow.
        p = np.ascontiguousarray(logits.T)
        p = p - np.maximum.reduce(p)
        picked = p[labels, np.arange(len(labels))]
        np.exp(p, out=p)
        total = np.add.reduce(p)
        p /= total
        np.log(total, out=total)
        total -= picked
        return total, p.T

    def channel_sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        if axes == (0,) and x.ndim == 2:
            return _ones(len(x), x.dtype).dot(x)  # BLAS, more than twice as fast as a reduction
        if x.size < MANY:
            return np.add.reduce(x, axis=axes)
        # Over several axes at once NumPy may add all numbers of a channel one by one, and rounds as often.
        for axis in sorted(axes, reverse=True):
            x = np.add.reduce(x, axis=axis)
        return x

    def fill_patches(self, patches: Any, source: Any, window: Window) -> None:
        if window.groups > 1 or window.dilation[1] > 1:
            super().fill_patches(patches, source, window)
            return
        # Along a row, the places of a window and their channels are one run of memory: one strided copy does it all.
        source = np.ascontiguousarray(source)
        image, row, pixel, _, _ = source.strides
        (height, width), (kh, kw), channels = patches.shape[2:4], window.size, source.shape[-1]
        (down, right), dilation = window.stride, window.dilation[0]
        runs = as_strided(
            source,
            (len(source), height, width, kh, kw * channels),
            (image, row * down, pixel * right, row * dilation, source.itemsize),
        )
        np.copyto(patches.reshape(runs.shape), runs)


@lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(n, dtype)
