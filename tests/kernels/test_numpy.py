"""NumPy's own kernels against the generic ones, on every layout they treat apart."""

from __future__ import annotations

import numpy as np
import pytest

from minigrad.kernels import numpy as numpy_kernels
from minigrad.kernels.generic import Kernels
from minigrad.kernels.numpy import NumpyKernels

FAST, PLAIN = NumpyKernels(np), Kernels(np)


def channels_last(array, axis):
    """The same numbers, with that axis' lying next to each other in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, axis, -1)), -1, axis)


def close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype and np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_conv2d_patches(rng):
    """One strided copy gives the patches that copies place by place give."""
    for padding in [((0, 0), (0, 0)), ((1, 2), (0, 1))]:
        for dilation in [(1, 1), (2, 1), (1, 2)]:
            window = numpy_kernels.Window((3, 2), (2, 1), padding, dilation)
            x, w = rng.standard_normal((3, 4, 9, 8)), rng.standard_normal((5, 4, 3, 2))
            for layout in (x, channels_last(x, 1)):
                y = FAST.conv2d(layout, w, None, window)
                close([y], [PLAIN.conv2d(layout, w, None, window)])
                gy = rng.standard_normal(y.shape)
                close(
                    [FAST.conv2d_weight_grad(layout, gy, window)],
                    [PLAIN.conv2d_weight_grad(layout, gy, window)],
                )


@pytest.mark.parametrize("last", [True, False])
def test_sums_of_many_values_keep_their_digits(rng, last):
    x = rng.standard_normal((64, 3, 32, 32)).astype(np.float32)
    x = channels_last(x, 1) if last else x
    found = FAST.deviations(x, (1,))[1]
    np.testing.assert_allclose(found, x.mean((0, 2, 3), np.float64), rtol=0, atol=2e-7)
