"""Activations, biases and dropout by themselves: against NumPy in float64, on guarded memory, in several orders."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import ORDERS, close, kernels

from minigrad.kernels.cuda import THREADS, source
from minigrad.kernels.generic import Kernels

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")

DTYPES = ["float32", "float64", "float16", "bfloat16"]
#: 1 number, fewer than a vector, a vector and a rest, more than all threads together hold
SIZES = [1, 3, 8, 257, 9001]
LAYOUTS = {"C": (None, 0), "Fortran": ((1, 0), 0), "an element off": (None, 1)}


def values(rng, shape, dtype):
    x = rng.normal(0, 3, shape).astype(dtype)
    x.reshape(-1)[:3] = np.array([0, 90, -90])[: x.size]
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_activations(rng, dtype, size, layout):
    order, off = LAYOUTS[layout]
    found = []
    for threads in ORDERS:
        k = kernels(threads)
        x, gy = (values(np.random.default_rng(s), (size, 3), dtype) for s in (0, 1))
        given, g = (k.xp.place(a, order, off * x.itemsize) for a in (x, gy))
        y, r = k.sigmoid(given), k.relu(given)
        found.append([a.hidden for a in (y, r, k.sigmoid_grad(y, g), k.relu_grad(given, g))])
        k.xp.check()
        assert size == 1 or all(a.strides == given.hidden.strides for a in found[-1])
        vectors = {name.split(", ")[1] for name, _ in k.launch.launched}
        assert vectors == {"1" if off else str(16 // x.itemsize)}
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(a, b)
    y, r, gy_y, gy_r = found[0]
    x, gy = x.astype(np.float64), gy.astype(np.float64)
    close(y, 1 / (1 + np.exp(-x)))
    close(r, np.maximum(x, 0))
    y = y.astype(np.float64)
    close(gy_y, gy * y * (1 - y))
    close(gy_r, gy * (x > 0))


@pytest.mark.parametrize("name", ["sigmoid", "relu"])
def test_nan_goes_on_and_nothing_overflows(name):
    k = kernels()
    x = np.array([np.nan, np.inf, -np.inf, 1e4, -1e4], np.float32)
    found = getattr(k, name)(k.xp.place(x)).hidden
    expected = {"sigmoid": [np.nan, 1, 0, 1, 0], "relu": [np.nan, np.inf, 0, 1e4, 0]}
    np.testing.assert_array_equal(found, np.float32(expected[name]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "width"), [(1, 1), (5, 3), (3, 8), (70, 100), (2, 2051), (1000, 4)]
)
def test_biases(rng, dtype, rows, width):
    y, bias = values(rng, (rows, width), dtype), values(rng, width, dtype)
    found = []
    for threads in ORDERS:
        k = kernels(threads)
        given = k.xp.place(y)
        k.add_bias(given, k.xp.place(bias))
        k.xp.check()
        found.append(given.hidden)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    close(found[0], y.astype(np.float64) + bias.astype(np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (3, 5), (41, 257)])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
def test_dropout_masks_are_those_of_numpys_philox(dtype, shape, p):
    seed = 2**62 + 12345
    expected = Kernels(np).dropout_mask(np.empty(shape), p, seed)
    k = kernels()
    x = k.xp.empty(shape, dtype)
    found = k.dropout_mask(x, p, seed).hidden
    k.xp.check()
    assert found.dtype == dtype and found.shape == shape
    close(found, expected, factor=1)
    held = k.xp.place(np.array([seed]))
    np.testing.assert_array_equal(k.dropout_mask(x, p, held).hidden, found)


def test_a_number_that_is_p_is_kept():
    seed = 5
    drawn = np.random.Generator(np.random.Philox(key=seed)).random(20, np.float32)
    p = float(drawn[7])
    mask = kernels().dropout_mask(kernels().xp.empty(20, np.float32), p, seed).hidden
    np.testing.assert_array_equal(mask > 0, drawn >= p)


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


@cache
def visited():
    function = emulator.library(source("elementwise.cu") + PROBE).visited
    function.restype = ctypes.c_longlong
    function.argtypes = [ctypes.c_uint] * 3 + [
        ctypes.c_longlong,
        ctypes.c_void_p,
        ctypes.c_longlong,
    ]
    return function


@pytest.mark.parametrize("n", [1, 5, 4096, 2**31 + 7, 2**33 + 1])
def test_every_number_has_one_thread(n):
    """By arithmetic: the accesses of the first and last threads, and how many all make together."""
    # As many blocks as leave a thread a few accesses.
    blocks = max(n // (THREADS * 4 * 3), 1)
    step = blocks * THREADS * 4
    for block, thread in [(0, 0), (0, 1), (blocks - 1, THREADS - 1), (blocks // 2, 77)]:
        found = np.zeros((2, 8), np.int64)
        count = visited()(blocks, block, thread, n, found.ctypes.data, 8)
        expected = list(range((block * THREADS + thread) * 4, n, step))
        assert count == len(expected)
        assert found[0, :count].tolist() == expected
        assert found[1, :count].tolist() == [n - i for i in expected]
