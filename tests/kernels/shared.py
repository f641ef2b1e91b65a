"""The compiled kernels and the generic ones, and how to set one against the other."""

from __future__ import annotations

import numpy as np

from minigrad.kernels.generic import Kernels
from minigrad.kernels.numba import NumbaKernels

FAST, PLAIN = NumbaKernels(np), Kernels(np)
TYPES = [np.float32, np.float64]


def layouts(array, axis):
    """The same numbers as they may lie in memory."""
    yield array
    yield np.moveaxis(np.ascontiguousarray(np.moveaxis(array, axis, -1)), -1, axis)
    yield np.asfortranarray(array)
    yield np.repeat(array, 2, axis=0)[::2]
    locked = array.copy()
    locked.flags.writeable = False
    yield locked


def close(found, expected, factor=30):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert np.isfinite(theirs).all()  # else the tolerance would be infinite
        tolerance = factor * np.finfo(ours.dtype).eps
        np.testing.assert_allclose(
            ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max()
        )
