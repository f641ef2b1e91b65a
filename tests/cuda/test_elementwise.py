"""The CUDA kernels of activations, biases and dropout, run on the CPU, against NumPy in float64."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import close, each_dtype, in_every_order, kernels, needs_compiler, same

from minigrad.kernels.cuda import THREADS, source
from minigrad.kernels.generic import Kernels

pytestmark = needs_compiler
#: order of the axes in memory, and elements between a 16-byte boundary and the first one
LAYOUTS = {"C": (None, 0), "Fortran": ((1, 0), 0), "unaligned": (None, 1)}


def values(rng, shape, dtype):
    x = rng.normal(0, 3, shape).astype(dtype)
    x.reshape(-1)[:3] = np.array([0, 90, -90])[: x.size]
    return x


@each_dtype
# One row, fewer than a vector, a vector and a rest, more than all threads together hold.
@pytest.mark.parametrize("size", [1, 3, 8, 257, 9001])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_activations(dtype, size, layout):
    order, off = LAYOUTS[layout]
    x, gy = (values(np.random.default_rng(s), (size, 3), dtype) for s in (0, 1))

    def run(k):
        given, g = (k.xp.place(a, order, off * x.itemsize) for a in (x, gy))
        y, r = k.sigmoid(given), k.relu(given)
        found = y, r, k.sigmoid_grad(y, g), k.relu_grad(given, g)
        assert size == 1 or all(a.strides == given.strides for a in found)
        vectors = {name.split(", ")[1] for name, _ in k.launch.launched}
        assert vectors == {"1" if off else str(16 // x.itemsize)}
        return found

    y, r, gy_y, gy_r = in_every_order(run)
    wide, gy = x.astype(np.float64), gy.astype(np.float64)
    close(y, 1 / (1 + np.exp(-wide)))
    close(r, np.maximum(wide, 0))
    y = y.astype(np.float64)
    close(gy_y, gy * y * (1 - y))
    close(gy_r, gy * (wide > 0))


def test_nan_propagates_and_nothing_overflows():
    k = kernels()
    x = k.xp.place(np.array([np.nan, np.inf, -np.inf, 1e4, -1e4], np.float32))
    same([k.sigmoid(x), k.relu(x)], np.float32([[np.nan, 1, 0, 1, 0], [np.nan, np.inf, 0, 1e4, 0]]))


@each_dtype
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 8), (70, 100), (2, 2051), (1000, 4)])
def test_biases(rng, dtype, shape):
    y, bias = values(rng, shape, dtype), values(rng, shape[1], dtype)

    def run(k):
        given = k.xp.place(y)
        k.add_bias(given, k.xp.place(bias))
        return [given]

    close(in_every_order(run)[0], y.astype(np.float64) + bias.astype(np.float64))


@each_dtype
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (3, 5), (41, 257)])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
def test_dropout_masks_are_those_of_numpys_philox(dtype, shape, p):
    seed = 2**62 + 12345
    k = kernels()
    x = k.xp.empty(shape, dtype)
    found = k.dropout_mask(x, p, seed).hidden
    assert found.dtype == dtype and found.shape == shape
    close(found, Kernels(np).dropout_mask(np.empty(shape), p, seed), factor=1)
    same([k.dropout_mask(x, p, k.xp.place(np.array([seed])))], [found])
    k.xp.check()


def test_a_number_that_is_p_is_kept():
    drawn = np.random.Generator(np.random.Philox(key=5)).random(20, np.float32)
    p, k = float(drawn[7]), kernels()
    same([k.dropout_mask(k.xp.empty(20, np.float32), p, 5) > 0], [drawn >= p])


PROBE = """
extern "C" Index visited(unsigned blocks, unsigned block, unsigned thread, Index n, Index* found, Index most) {
    gridDim = {blocks, 1, 1};
    blockIdx = {block, 0, 0};
    threadIdx = {thread, 0, 0};
    Index count = 0;
    each<4>(n, [&](Index i, Index left) {
        if (count < most) found[count] = i, found[most + count] = left;
        count++;
    });
    return count;
}
"""


@pytest.mark.parametrize("n", [1, 5, 4096, 2**31 + 7, 2**33 + 1])
def test_every_number_has_one_thread(n):
    """By arithmetic: the accesses of the first and last threads, and how many all make together."""
    visited, long = (
        emulator.library(source("elementwise.cu") + PROBE).visited,
        ctypes.c_longlong,
    )
    visited.restype = long
    visited.argtypes = [*[ctypes.c_uint] * 3, long, ctypes.c_void_p, long]
    blocks = max(n // (THREADS * 4 * 3), 1)  # so many that a thread has a few accesses
    for block, thread in [(0, 0), (0, 1), (blocks - 1, THREADS - 1), (blocks // 2, 77)]:
        found = np.zeros((2, 8), np.int64)
        count = visited(blocks, block, thread, n, found.ctypes.data, 8)
        expected = list(range((block * THREADS + thread) * 4, n, blocks * THREADS * 4))
        assert found[0, :count].tolist() == expected
        assert found[1, :count].tolist() == [n - i for i in expected]
