"""Batch norm's CUDA kernels, on the CPU, against NumPy in float64: shapes, layouts, types, orders of threads, edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import ORDERS, close, kernels, ml_dtypes

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")

EPS = 1e-3
#: shape, kept axes, order of the axes in memory
CASES = {
    "vectors": ((7, 5), (1,), None),
    "vectors, Fortran": ((7, 12), (1,), (1, 0)),
    "many channels": ((3, 3000), (1,), None),
    "more channels than a block reads": ((33, 37), (1,), None),
    "images": ((3, 5, 7, 11), (1,), None),
    "images, vectorized": ((3, 5, 4, 6), (1,), None),
    "images, channels last": ((3, 5, 7, 11), (1,), (0, 2, 3, 1)),
    "images, channels last, vectorized": ((3, 8, 7, 5), (1,), (0, 2, 3, 1)),
    "images, Fortran": ((3, 5, 7, 11), (1,), (3, 2, 1, 0)),
    "ghost groups": ((2, 4, 3, 5), (0, 2), None),
    "ghost groups of columns": ((3, 4, 5), (0, 2), None),
    "layer norm": ((5, 33), (0,), None),
    "layer norm, vectorized": ((6, 64), (0,), None),
    "instance norm": ((3, 5, 4, 7), (0, 1), None),
    "kept axes out of order": ((3, 5, 4, 7), (0, 1), (1, 0, 2, 3)),
    "kept axes apart": ((3, 5, 4, 7), (1, 3), None),
    "one channel": ((6, 1, 5), (1,), None),
    "one spatial element": ((6, 5, 1, 1), (1,), None),
    "one number": ((1, 1), (1,), None),
    "one number a channel": ((1, 5), (1,), None),
    "a long channel": ((2, 1, 9001), (1,), None),
    "few long channels": ((2, 3, 4100), (1,), None),
    "long columns": ((4099, 3), (1,), None),
    **{f"{c} columns": ((13, c), (1,), None) for c in range(1, 41)},
}
FEW = ["images", "images, vectorized", "images, channels last, vectorized", "vectors"]
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


class Problem:
    """An input, per-channel parameters and a gradient; what NumPy makes of them in float64."""

    def __init__(self, rng, shape, kept, dtype=np.float32, ddof=0):
        self.kept, self.ddof = kept, ddof
        self.axes = tuple(i for i in range(len(shape)) if i not in kept)
        self.values = math.prod(shape[i] for i in self.axes)
        self.wide = np.promote_types(dtype, np.float32)
        channels = [shape[i] for i in kept]
        self.x, self.gy = (rng.normal(1, 2, shape).astype(dtype) for _ in range(2))
        self.gamma, self.beta = (rng.normal(1, 1, channels).astype(self.wide) for _ in range(2))

    def spread(self, channels):
        return np.expand_dims(channels.astype(np.float64), self.axes)

    def forward(self):
        x = self.x.astype(np.float64)
        mean, m2 = x.mean(self.axes), x.var(self.axes) * self.values
        var = m2 / (self.values - self.ddof)
        return self.frozen(mean, var), mean, var, 1 / np.sqrt(var + EPS)

    def frozen(self, mean, var):
        y = (self.x.astype(np.float64) - self.spread(mean)) / np.sqrt(self.spread(var) + EPS)
        return self.spread(self.gamma) * y + self.spread(self.beta)

    def backward(self, mean, inv_std):
        x, inv_std = self.x.astype(np.float64), self.spread(inv_std)
        g = self.gy.astype(np.float64)
        d = x - self.spread(mean)
        xhat = (d - d.mean(self.axes, keepdims=True)) * inv_std
        gbeta, ggamma = (a.sum(self.axes, keepdims=True) for a in (g, g * xhat))
        gx = g - gbeta / self.values - xhat * ggamma / (self.values - self.ddof)
        return (
            self.spread(self.gamma) * inv_std * gx,
            ggamma.squeeze(self.axes),
            gbeta.squeeze(self.axes),
        )

    def run(self, k, order=None, offset=0):
        """y, mean, var, inv_std, gx, ggamma, gbeta, frozen y and the two moments, by the kernels."""
        x, gy = (k.xp.place(a, order, offset) for a in (self.x, self.gy))
        gamma, beta = (k.xp.place(a) for a in (self.gamma, self.beta))
        forward = k.batch_norm(x, gamma, beta, self.kept, EPS, self.ddof)
        _, mean, var, inv_std = forward
        backward = k.batch_norm_grad(x, gamma, mean, inv_std, gy, self.kept, self.ddof)
        after = k.frozen_batch_norm(x, gamma, beta, mean, var, self.kept, EPS)
        k.xp.check()
        for given, before in ((x, self.x), (gy, self.gy), (gamma, self.gamma), (beta, self.beta)):
            np.testing.assert_array_equal(given.hidden, before)
        return [a.hidden for a in (*forward, *backward, after, *k.moments(x, self.kept))]

    def check(self, found):
        _, mean, var, inv_std, gx, ggamma, gbeta, after, again, m2 = found
        dtype, expected = self.x.dtype, self.forward()
        for array, other, kind in zip(found, expected, (dtype, *[self.wide] * 3), strict=False):
            assert array.dtype == kind and array.shape == other.shape
            close(array, other)
        close(after, self.frozen(mean, var))
        close(again, mean, factor=0)
        close(m2, expected[2] * (self.values - self.ddof))
        assert gx.dtype == dtype and ggamma.dtype == gbeta.dtype == self.wide
        for array, other in zip((gx, ggamma, gbeta), self.backward(mean, inv_std), strict=True):
            assert array.shape == other.shape
            close(array, other, factor=32)


@pytest.mark.parametrize("case", CASES)
def test_shapes_and_layouts(rng, case):
    shape, kept, order = CASES[case]
    problem = Problem(rng, shape, kept)
    problem.check(problem.run(kernels(), order))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("case", FEW)
@dtypes
def test_types(rng, dtype, case, ddof):
    shape, kept, order = CASES[case]
    problem = Problem(rng, shape, kept, dtype, ddof)
    problem.check(problem.run(kernels(), order))


@dtypes
@pytest.mark.parametrize("case", [case for case in FEW if "vectorized" in case])
def test_one_number_is_read_at_once_where_an_array_is_not_aligned(rng, case, dtype):
    shape, kept, order = CASES[case]
    problem = Problem(rng, shape, kept, dtype)
    for offset in 0, np.dtype(dtype).itemsize:
        k = kernels()
        problem.check(problem.run(k, order, offset))
        assert all((", 1, " in name) == bool(offset) for name, _ in k.launch.launched)


def test_arrays_with_gaps_are_copied(rng):
    k = kernels()
    problem = Problem(rng, (3, 5, 4, 6), (1,))
    whole = k.xp.place(rng.normal(size=(3, 7, 4, 12)).astype(np.float32))
    x = whole[:, 1:6, :, ::2]
    problem.x = x.hidden.copy()
    expected = problem.run(k)
    found = k.batch_norm(x, *(k.xp.place(a) for a in (problem.gamma, problem.beta)), (1,), EPS, 0)
    for array, other in zip(found, expected, strict=False):
        np.testing.assert_array_equal(array.hidden, other)


def test_splits_that_have_nothing_left(rng):
    problem, k = Problem(rng, (8193, 31), (1,)), kernels(multiprocessors=132)
    problem.check(problem.run(k))
    _, (_, splits, _) = k.launch.launched[0]
    assert (splits - 1) * -(-8193 // splits) > 8193


# --- threads ---


@pytest.mark.parametrize("case", [*FEW, "a long channel", "long columns", "ghost groups"])
def test_the_order_of_the_threads_changes_nothing(rng, case):
    shape, kept, order = CASES[case]
    problem = Problem(rng, shape, kept)
    first, *others = (problem.run(kernels(threads), order) for threads in ORDERS)
    for found in others:
        for array, other in zip(found, first, strict=True):
            np.testing.assert_array_equal(array, other)


# --- numbers ---


@dtypes
@pytest.mark.parametrize("shape", [(9, 4, 6), (40, 5), (2, 1, 5000)])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_a_constant_channel_has_variance_zero(shape, dtype, value):
    k = kernels()
    y, mean, var, _ = k.batch_norm(
        k.xp.place(np.full(shape, value, dtype)), None, None, (1,), EPS, 0
    )
    assert (var.hidden == 0).all() and (y.hidden == 0).all()
    assert (mean.hidden == np.array(value, dtype).astype(mean.dtype)).all()


SHAPES = pytest.mark.parametrize("shape", [(16, 3, 40), (400, 5)], ids=["planes", "columns"])


@SHAPES
@pytest.mark.parametrize("mean", [0, 1e2, 1e4, -1e6])
def test_large_means_cost_no_digits(rng, shape, mean):
    x = (mean + rng.normal(0, 0.1 if abs(mean) < 1e5 else 1, shape)).astype(np.float32)
    _check_variance(x)


@SHAPES
@pytest.mark.parametrize("first", [1e3, -1e6])
def test_a_first_value_far_from_all_others(rng, shape, first):
    x = rng.normal(0, 1, shape).astype(np.float32)
    x[0, :] = first
    _check_variance(x)


def _check_variance(x):
    k, axes = kernels(), (0, *range(2, x.ndim))
    mean, m2 = k.moments(k.xp.place(x), (1,))
    exact = x.astype(np.float64)
    expected = exact.var(axes)
    np.testing.assert_allclose(m2.hidden / (x.size // x.shape[1]), expected, rtol=1e-4)
    digits = np.finfo(np.float32).eps * np.abs(exact).max()
    np.testing.assert_allclose(mean.hidden, exact.mean(axes), rtol=0, atol=digits)


@SHAPES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_what_is_not_finite_spoils_its_channel_alone(rng, shape, value, place):
    x = rng.normal(size=shape).astype(np.float32)
    x.reshape(*shape[:2], -1)[place, 1, place] = value
    k = kernels()
    y, _, var, _ = k.batch_norm(k.xp.place(x), None, None, (1,), EPS, 0)
    others = np.arange(shape[1]) != 1
    np.testing.assert_array_equal(np.isfinite(var.hidden), others)
    np.testing.assert_array_equal(np.isfinite(y.hidden).all((0, *range(2, x.ndim))), others)
