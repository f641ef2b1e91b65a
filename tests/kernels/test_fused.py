"""Fused kernels against the ones that they stand for, bit for bit, in every layout, with one thread and several."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.shared import FAST, layouts

from minigrad.kernels import numba as compiled
from minigrad.kernels.fused import FusedKernels

pytest.importorskip("numba")

REALS = [np.float32, np.float64, np.float16]
LAYOUTS = [
    ((64, 3), 1),
    ((7, 300), 1),
    ((4, 3, 8, 6), 1),
    ((1, 3, 4, 5), 1),
    ((5, 3, 1, 1), 1),
    ((3, 2, 50, 51), 1),
    ((2100, 5), 1),
]


def same(found, expected):
    """To the last bit, and as they lie in memory; any NaN is like any other."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        strides = zip(ours.shape, ours.strides, theirs.strides, strict=True)
        assert all(n == 1 or a == b for n, a, b in strides)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(np.signbit(ours), np.signbit(theirs))


def apart(name):
    """The kernel as a composition, of the compiled kernels."""
    return getattr(FusedKernels, name).__get__(FAST)


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_batch_norm_and_activation(rng, threads, shape, axis, real, activation):
    values, gradients = rng.normal(2, 3, (2, *shape)).astype(real)
    wide = np.promote_types(real, np.float32)
    gamma, beta = rng.normal(size=(2, shape[axis])).astype(wide)
    for x, gs in zip(layouts(values, axis), layouts(gradients, axis), strict=True):
        for scale, shift in [(gamma, beta), (None, None)]:
            settings = x, scale, shift, (axis,), 1e-3, 1, activation
            expected = apart("activated_batch_norm")(*settings)
            same(FAST.activated_batch_norm(*settings), expected)
            s, mean, var, inv_std = expected
            settings = x, scale, mean, inv_std, s, gs, (axis,), 1, activation
            same(
                FAST.activated_batch_norm_grad(*settings),
                apart("activated_batch_norm_grad")(*settings),
            )
            settings = x, scale, shift, mean, var, (axis,), 1e-3, activation
            same(
                [FAST.activated_frozen_batch_norm(*settings)],
                [apart("activated_frozen_batch_norm")(*settings)],
            )


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_several_kept_axes_and_empty_batches(rng, activation):
    x, gs = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    settings = x, None, None, (1, 2), 1e-3, 0, activation
    s, mean, _, inv_std = found = FAST.activated_batch_norm(*settings)
    same(found, apart("activated_batch_norm")(*settings))
    settings = x, None, mean, inv_std, s, gs, (1, 2), 0, activation
    same(FAST.activated_batch_norm_grad(*settings), apart("activated_batch_norm_grad")(*settings))
    one = np.ones(4, np.float32)
    nothing = FAST.activated_frozen_batch_norm(x[:0], None, None, one, one, (1,), 1e-3, activation)
    assert nothing.shape == (0, 4, 3)


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_what_is_no_number_goes_on(threads, activation):
    x = np.ones((40, 6), np.float32)
    x[3, 2], x[5, 4], x[0, 5] = np.nan, np.inf, -np.inf
    settings = x, None, None, (1,), 1e-3, 0, activation
    found = FAST.activated_batch_norm(*settings)
    same(found[:3], apart("activated_batch_norm")(*settings)[:3])
    assert np.isnan(found[0][:, 2]).all()


def test_no_way_through_memory_for_what_is_compiled(rng, monkeypatch):
    """The compiled kernels do not call those that they stand for."""
    for name in ("sigmoid", "sigmoid_grad", "relu", "relu_grad", "add"):
        monkeypatch.setattr(compiled.NumbaKernels, name, None, raising=False)
    x, gs = rng.normal(size=(2, 6, 4)).astype(np.float32)
    s, mean, _, inv_std = FAST.activated_batch_norm(x, None, None, (1,), 1e-3, 0, "relu")
    FAST.activated_batch_norm_grad(x, None, mean, inv_std, s, gs, (1,), 0, "relu")
