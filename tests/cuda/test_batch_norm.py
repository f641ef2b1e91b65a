"""Batch norm's CUDA kernels, run on the CPU, against NumPy in float64: shapes, layouts, types, weights, edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cuda.shared import close, each_dtype, in_every_order, kernels, needs_compiler, same

from minigrad.kernels.cuda import batch_norm

pytestmark = needs_compiler
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
SHAPES = pytest.mark.parametrize("shape", [(16, 3, 40), (400, 5)], ids=["planes", "columns"])


@pytest.fixture(params=[0, batch_norm.ALONE], ids=["splits", "whole channels"], autouse=True)
def alone(request, monkeypatch):
    """Both ways for arrays so small."""
    monkeypatch.setattr(batch_norm, "ALONE", request.param)
    batch_norm.geometry.cache_clear()
    yield request.param
    batch_norm.geometry.cache_clear()


@pytest.mark.parametrize(
    ("case", "short"),
    [("vectors", True), ("images", True), ("a long channel", False), ("long columns", False)],
)
def test_short_channels_take_one_launch_a_pass(rng, alone, case, short):
    k = kernels()
    Problem(rng, case).run(k)
    names = {name.partition("<")[0] for name, _ in k.launch.launched}
    first = set() if alone and short else {"statistics", "gradient_sums"}
    assert names == {"normalize", "input_gradient"} | first


class Problem:
    """An input, per-channel parameters and an upstream gradient; their results in float64."""

    def __init__(self, rng, case, dtype="float32", ddof=0):
        shape, kept, self.order = CASES.get(case, case)
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
        gx = self.spread(self.gamma) * inv_std * gx
        return gx, ggamma.squeeze(self.axes), gbeta.squeeze(self.axes)

    def run(self, k, offset=0):
        """y, mean, var, inv_std, gx, ggamma, gbeta, frozen y and the two moments, by the kernels."""
        x, gy = (k.xp.place(a, self.order, offset) for a in (self.x, self.gy))
        gamma, beta = (k.xp.place(a) for a in (self.gamma, self.beta))
        forward = k.batch_norm(x, gamma, beta, self.kept, EPS, self.ddof)
        _, mean, var, inv_std = forward
        backward = k.batch_norm_grad(x, gamma, mean, inv_std, gy, self.kept, self.ddof)
        after = k.frozen_batch_norm(x, gamma, beta, mean, var, self.kept, EPS)
        k.xp.check()
        same((x, gy, gamma, beta), (self.x, self.gy, self.gamma, self.beta))
        return [*forward, *backward, after, *k.moments(x, None, self.kept)]

    def check(self, found):
        found = [getattr(a, "hidden", a) for a in found]
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
    problem = Problem(rng, case)
    problem.check(problem.run(kernels()))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("case", FEW)
@each_dtype
def test_types(rng, dtype, case, ddof):
    problem = Problem(rng, case, dtype, ddof)
    problem.check(problem.run(kernels()))


@pytest.mark.parametrize("case", [*FEW, "a long channel", "long columns", "ghost groups"])
def test_the_order_of_the_threads_changes_nothing(rng, case):
    in_every_order(Problem(rng, case).run)


@each_dtype
@pytest.mark.parametrize("case", [case for case in FEW if "vectorized" in case])
def test_unaligned_arrays_are_read_by_single_numbers(rng, case, dtype):
    problem = Problem(rng, case, dtype)
    for offset in 0, problem.x.itemsize:
        k = kernels()
        problem.check(problem.run(k, offset))
        assert all((", 1, " in name) == bool(offset) for name, _ in k.launch.launched)


def test_strided_arrays_are_copied(rng):
    k, problem = kernels(), Problem(rng, "images, vectorized")
    x = k.xp.place(rng.normal(size=(3, 7, 4, 12)).astype(np.float32))[:, 1:6, :, ::2]
    problem.x = x.hidden.copy()
    found = k.batch_norm(x, *(k.xp.place(a) for a in (problem.gamma, problem.beta)), (1,), EPS, 0)
    same(found, problem.run(k)[:4])


def test_splits_without_rows(rng):
    problem, k = Problem(rng, ((8193, 31), (1,), None)), kernels(multiprocessors=132)
    problem.check(problem.run(k))
    _, (_, splits, _) = k.launch.launched[0]
    assert (splits - 1) * -(-8193 // splits) > 8193


@each_dtype
@pytest.mark.parametrize("shape", [(9, 4, 6), (40, 5), (2, 1, 5000)])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_a_constant_channel_has_variance_zero(shape, dtype, value):
    k, x = kernels(), np.full(shape, value, dtype)
    y, mean, var, _ = k.batch_norm(k.xp.place(x), None, None, (1,), EPS, 0)
    assert (var.hidden == 0).all() and (y.hidden == 0).all()
    assert (mean.hidden == np.array(value, dtype).astype(mean.dtype)).all()


@SHAPES
@pytest.mark.parametrize("mean", [0, 1e2, 1e4, -1e6])
@pytest.mark.parametrize("first", [None, 1e3, -1e6])
def test_large_means_and_first_values_cost_no_digits(rng, shape, mean, first):
    x = (mean + rng.normal(0, 0.1 if abs(mean) < 1e5 else 1, shape)).astype(np.float32)
    if first is not None:
        x[0, :] = mean + first
    k, axes, exact = kernels(), (0, *range(2, x.ndim)), x.astype(np.float64)
    found, m2 = k.moments(k.xp.place(x), None, (1,))
    np.testing.assert_allclose(m2.hidden / (x.size // x.shape[1]), exact.var(axes), rtol=1e-4)
    digits = np.finfo(np.float32).eps * np.abs(exact).max()
    np.testing.assert_allclose(found.hidden, exact.mean(axes), rtol=0, atol=digits)


@SHAPES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_values_that_are_not_finite_spoil_their_channel_alone(rng, shape, value, place):
    x = rng.normal(size=shape).astype(np.float32)
    x.reshape(*shape[:2], -1)[place, 1, place] = value
    k = kernels()
    y, _, var, _ = k.batch_norm(k.xp.place(x), None, None, (1,), EPS, 0)
    others = np.arange(shape[1]) != 1
    np.testing.assert_array_equal(np.isfinite(var.hidden), others)
    np.testing.assert_array_equal(np.isfinite(y.hidden).all((0, *range(2, x.ndim))), others)


WEIGHTED = {
    "NC": ((37, 5), (1,), None),
    "NC, vectors": ((64, 40), (1,), None),
    "NCHW": ((6, 3, 5, 7), (1,), None),
    "NCHW, vectors": ((6, 3, 4, 8), (1,), None),
    "NHWC": ((6, 3, 5, 7), (1,), (0, 2, 3, 1)),
    "groups": ((3, 8, 4, 5), (0, 2), None),
    "one channel": ((300, 1, 9), (1,), None),
    "a copy": ((4, 3, 5, 2), (1, 3), None),
}
#: changes of random weights, some of which are 0
WEIGHTS = {
    "fractions": lambda w: w,
    "mask": lambda w: (w > 0).astype(float),
    "zero at first": lambda w: w * (np.arange(w.size) >= w.size // 2).reshape(w.shape),
    "none": lambda w: w * 0,
}


@each_dtype
@pytest.mark.parametrize(("shape", "kept", "order"), WEIGHTED.values(), ids=WEIGHTED)
@pytest.mark.parametrize("change", WEIGHTS.values(), ids=WEIGHTS)
def test_weights(rng, dtype, shape, kept, order, change):
    """Values of weight 0 are not read."""
    positions = [1 if i in kept else n for i, n in enumerate(shape)]
    axes = tuple(i for i in range(len(shape)) if i not in kept)
    wide = np.promote_types(dtype, np.float32)
    w = change(rng.random(positions) * (rng.random(positions) < 0.6)).astype(wide)
    x = rng.normal(100, 2, shape).astype(dtype)
    padded = np.where(w > 0, x, np.nan).astype(dtype)

    def run(k):
        return k.moments(k.xp.place(padded, order), k.xp.place(w), kept)

    found_mean, found_m2 = in_every_order(run)
    x, w = x.astype(np.float64), w.astype(np.float64)
    mean = (w * x).sum(axes, keepdims=True) / (w.sum() or 1)
    m2 = (w * (x - mean) ** 2).sum(axes)
    close(found_mean, mean.reshape(m2.shape))
    np.testing.assert_allclose(found_m2, m2, rtol=1e-4 if wide == np.float32 else 1e-10)


def test_weights_of_one_are_no_weights(rng):
    k = kernels()
    x = k.xp.place(rng.normal(1, 2, (12, 3, 7)).astype(np.float32))
    ones = k.xp.place(np.ones((12, 1, 7), np.float32))
    same(k.moments(x, ones, (1,)), k.moments(x, None, (1,)))
