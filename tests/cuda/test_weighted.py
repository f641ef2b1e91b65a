"""Batch norm's statistics with weights: what weighs nothing is not read, on guarded memory, in several orders."""

from __future__ import annotations

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import ORDERS, close, kernels

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")

#: shape, kept axes, order of the axes in memory
CASES = {
    "NC": ((37, 5), (1,), None),
    "NC, vectors": ((64, 40), (1,), None),
    "NCHW": ((6, 3, 5, 7), (1,), None),
    "NCHW, vectors": ((6, 3, 4, 8), (1,), None),
    "NHWC": ((6, 3, 5, 7), (1,), (0, 2, 3, 1)),
    "groups": ((3, 8, 4, 5), (0, 2), None),
    "one channel": ((300, 1, 9), (1,), None),
    "a copy": ((4, 3, 5, 2), (1, 3), None),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("shape", "kept", "order"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", ["fractions", "mask", "late", "none"])
def test_weights(rng, dtype, shape, kept, order, kind):
    positions = [1 if i in kept else n for i, n in enumerate(shape)]
    axes = tuple(i for i in range(len(shape)) if i not in kept)
    w = rng.random(positions) * (rng.random(positions) < 0.6)
    if kind == "mask":
        w = (w > 0).astype(float)
    elif kind == "late":  # nothing counts at first
        w.reshape(-1)[: w.size // 2] = 0
    elif kind == "none":
        w *= 0
    wide = np.promote_types(dtype, np.float32)
    x, w = rng.normal(100, 2, shape).astype(dtype), w.astype(wide)
    padded = np.where(w > 0, x, np.nan).astype(dtype)
    found = []
    for threads in ORDERS:
        k = kernels(threads)
        given = k.xp.place(padded, order), k.xp.place(w)
        found.append([a.hidden for a in k.weighted_moments(*given, kept)])
        k.xp.check()
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(a, b)
    x, weights = x.astype(np.float64), w.astype(np.float64)
    count = weights.sum() or 1
    mean = (weights * x).sum(axes, keepdims=True) / count
    m2 = (weights * (x - mean) ** 2).sum(axes)
    close(found[0][0], mean.reshape(m2.shape))
    np.testing.assert_allclose(found[0][1], m2, rtol=1e-4 if wide == np.float32 else 1e-10)


def test_weights_of_one_are_no_weights(rng):
    x = rng.normal(1, 2, (12, 3, 7)).astype(np.float32)
    k = kernels()
    given, ones = k.xp.place(x), k.xp.place(np.ones((12, 1, 7), np.float32))
    for a, b in zip(k.weighted_moments(given, ones, (1,)), k.moments(given, (1,)), strict=True):
        np.testing.assert_array_equal(a.hidden, b.hidden)
