"""The CPU stand-in for a GPU does what a GPU does: numbers are rounded alike, and threads wait for each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda import emulator
from strict import StrictArray

from minigrad.kernels.cuda import THREADS, source

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")

CONVERSIONS = """
template <class T> __global__ void widened(const T* x, float* y, Index count) {
    for (Index i = threadIdx.x; i < count; i += THREADS) y[i] = widen(x[i]);
}
template <class T> __global__ void narrowed(const float* x, T* y, Index count) {
    for (Index i = threadIdx.x; i < count; i += THREADS) narrow(x[i], y[i]);
}
"""
TYPES = {"Half": np.float16, "BFloat16": ml_dtypes.bfloat16}


def launched(kernels, instance, *args, order=(0, 1)):
    (function,) = emulator.functions(source("common.cuh") + kernels, [instance])
    emulator.run(function, (1, 1, 1), [StrictArray(a) if np.ndim(a) else a for a in args], order)


def bits(array):
    return array.view(f"u{array.itemsize}")


def same(found, expected):
    """To the bit, but for what a NaN carries."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(bits(found)[~nan], bits(expected)[~nan])


@pytest.mark.parametrize("name", TYPES)
def test_all_patterns_of_16_bits_become_the_float_that_they_are(name):
    x = np.arange(65536, dtype=np.uint16).view(TYPES[name])
    y = np.empty(65536, np.float32)
    launched(CONVERSIONS, f"widened<{name}>", x, y, 65536)
    with np.errstate(invalid="ignore"):
        same(y, x.astype(np.float32))


@pytest.mark.parametrize("name", TYPES)
def test_floats_are_rounded_to_the_nearest_and_ties_to_even(rng, name):
    """All numbers of 16 bits, the ties between them with their neighbours, and any floats."""
    with np.errstate(invalid="ignore"):
        every = np.arange(65536, dtype=np.uint16).view(TYPES[name]).astype(np.float32)
    every = np.sort(every[np.isfinite(every)])
    ties = ((every[1:].astype(np.float64) + every[:-1]) / 2).astype(np.float32)
    some = rng.integers(0, 2**32, 100_000, np.uint32).view(np.float32)
    edges = np.float32([np.inf, -np.inf, np.nan, 65519.99, 65520, -65520, 3.4e38, 1e-45, -0.0])
    around = [np.nextafter(ties, np.float32(side)) for side in (-np.inf, np.inf)]
    x = np.concatenate([every, ties, *around, some, edges])
    y = np.empty(x.size, TYPES[name])
    launched(CONVERSIONS, f"narrowed<{name}>", x, y, x.size)
    with np.errstate(all="ignore"):
        same(y, x.astype(TYPES[name]))


SHUFFLES = """
template <class T> __global__ void summed(const T* x, T* y) {
    T total = x[threadIdx.x];
    for (int mask = 16; mask; mask /= 2) total += __shfl_xor_sync(0xffffffffu, total, mask);
    y[threadIdx.x] = total + T(1000) * __shfl_sync(0xffffffffu, x[threadIdx.x], 3);
}
"""


@pytest.mark.parametrize("order", [(0, 1), (255, 255), (17, 77)])
@pytest.mark.parametrize(("name", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_shuffles_stay_in_their_warp(name, dtype, order):
    x = np.arange(THREADS, dtype=dtype)
    y = np.empty_like(x)
    launched(SHUFFLES, f"summed<{name}>", x, y, order=order)
    warps = x.reshape(-1, 32)
    expected = warps.sum(1, keepdims=True) + 1000 * warps[:, 3:4]
    np.testing.assert_array_equal(y.reshape(-1, 32), np.broadcast_to(expected, warps.shape))


BARRIERS = """
template <int Count> __global__ void waiting(float* y) {
    if (int(threadIdx.x) < Count) __syncthreads();
    y[threadIdx.x] = 1;
    if (int(threadIdx.x) % 32 != 5) __syncthreads();
    else __shfl_sync(0xffffffffu, 1.0f, 0);
}
template <class T> __global__ void turned(T* y) {
    __shared__ T x[THREADS];
    x[threadIdx.x] = T(threadIdx.x);
    __syncthreads();
    y[threadIdx.x] = x[THREADS - 1 - threadIdx.x];
}
"""


def test_threads_that_wait_at_different_barriers_are_reported():
    with pytest.raises(RuntimeError, match=r"^waiting<THREADS>: .* wait at different barriers"):
        launched(BARRIERS, "waiting<THREADS>", np.empty(THREADS, np.float32))


@pytest.mark.parametrize("barrier", [True, False])
def test_the_order_of_the_threads_shows_a_missing_barrier(barrier):
    kernels = BARRIERS if barrier else BARRIERS.replace("    __syncthreads();\n    y", "    y")
    found = []
    for order in (0, 1), (255, 255):
        y = np.empty(THREADS, np.float32)
        launched(kernels, "turned<float>", y, order=order)
        found.append(y)
    assert (found[0] == found[1]).all() == barrier


def test_kernels_may_be_launched_from_several_threads():
    def turned(_):
        y = np.empty(THREADS, np.float32)
        launched(BARRIERS, "turned<float>", y)
        return y

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(turned, range(400)))
    np.testing.assert_array_equal(found, np.tile(np.arange(THREADS)[::-1], (400, 1)))
