"""Compiled convolutions and pools against the generic ones, however images lie in memory."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.shared import FAST, PLAIN, TYPES, close, layouts

from minigrad.kernels.convolution import ConvolutionKernels, Window

pytest.importorskip("numba")


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize("channels", [1, 3, 5, 8])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 2)])
def test_convolutions_and_their_gradients(
    rng, threads, monkeypatch, channels, stride, dilation, real
):
    monkeypatch.setattr(ConvolutionKernels, "tile", 400)
    for padding, groups in (
        (((0, 0), (0, 0)), 1),
        (((1, 2), (3, 0)), 1),
        (((1, 1), (0, 2)), channels),
    ):
        window = Window((3, 2), stride, padding, dilation, groups)
        x = rng.normal(size=(3, channels, 9, 8)).astype(real)
        weight = rng.normal(size=(4 * groups, channels // groups, 3, 2)).astype(real)
        expected = PLAIN.conv2d(x, weight, None, window)
        gy = rng.normal(size=expected.shape).astype(real)
        gw, gx = (
            PLAIN.conv2d_weight_grad(x, gy, window),
            PLAIN.conv2d_input_grad(gy, weight, window, (9, 8)),
        )
        for a in layouts(x, 1):
            close([FAST.conv2d(a, weight, None, window)], [expected])
            close([FAST.conv2d_weight_grad(a, gy, window)], [gw])
        for a in layouts(gy, 1):
            close([FAST.conv2d_weight_grad(x, a, window)], [gw])
            close([FAST.conv2d_input_grad(a, weight, window, (9, 8))], [gx])


@pytest.mark.parametrize("real", [*TYPES, np.float16])
@pytest.mark.parametrize(
    "shape", [(2, 16, 8, 8), (3, 5, 7, 9), (2, 17, 20, 30), (1, 1, 3, 3), (2, 40, 1, 2)]
)
def test_channels_brought_next_to_each_other(rng, threads, shape, real):
    for x in layouts(rng.normal(size=shape).astype(real), 1):
        found = FAST.channels_last(x)
        np.testing.assert_array_equal(found, x)
        assert found.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
def test_max_pool_and_its_gradient(rng, threads, stride):
    for padding in (((0, 0), (0, 0)), ((1, 1), (1, 0))):
        window = Window((3, 2), stride, padding)
        x = rng.integers(0, 4, (2, 5, 7, 6)).astype(np.float32)
        y, place = PLAIN.max_pool2d(x, window)
        gy = rng.normal(size=y.shape).astype(np.float32)
        for a, g in zip(layouts(x, 1), layouts(gy, 1), strict=True):
            ours, where = FAST.max_pool2d(a, window)
            np.testing.assert_array_equal(ours, y)
            np.testing.assert_array_equal(where, place)
            gx = FAST.max_pool2d_grad(g, place, window, (7, 6))
            close([gx], [PLAIN.max_pool2d_grad(gy, place, window, (7, 6))])
            close([FAST.sum_pool2d(a, window)], [PLAIN.sum_pool2d(x, window)])
            close(
                [FAST.sum_pool2d_grad(g, window, (7, 6))],
                [PLAIN.sum_pool2d_grad(gy, window, (7, 6))],
            )
    for value in (-np.inf, np.nan):
        x[:] = value
        places = [k.max_pool2d(x, window)[1] for k in (FAST, PLAIN)]
        np.testing.assert_array_equal(*places)
        gx = PLAIN.max_pool2d_grad(gy, places[0], window, (7, 6))
        np.testing.assert_allclose(gx.sum(), gy.sum(), rtol=1e-4)


@pytest.mark.parametrize("place", [-1, 6, 2**15 - 1, -(2**15)])
@pytest.mark.parametrize("real", TYPES)
def test_places_outside_are_refused(threads, place, real):
    """Also those of a window that are padding."""
    window = Window((3, 2), (1, 1), ((1, 0), (0, 0)))
    gy, places = np.ones((1, 2, 3, 3), real), np.full((1, 2, 3, 3), 2, np.int16)
    FAST.max_pool2d_grad(gy, places, window, (4, 4))
    for wrong in (place, 0):
        places[0, 1, 0, 2] = wrong
        with pytest.raises(ValueError, match="max_pool2d_grad: expected places of windows"):
            FAST.max_pool2d_grad(gy, places, window, (4, 4))
