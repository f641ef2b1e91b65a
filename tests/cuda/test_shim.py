"""The CPU emulation behaves as a GPU: rounding, shuffles, barriers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import ORDERS, ml_dtypes, needs_compiler
from strict import StrictArray

from minigrad.kernels.cuda import THREADS, source

pytestmark = needs_compiler
KERNELS = """
template <class T> __global__ void widened(const T* x, float* y, Index count) {
    for (Index i = threadIdx.x; i < count; i += THREADS) y[i] = widen(x[i]);
}
template <class T> __global__ void narrowed(const float* x, T* y, Index count) {
    for (Index i = threadIdx.x; i < count; i += THREADS) narrow(x[i], y[i]);
}
template <class T> __global__ void summed(const T* x, T* y) {
    T total = x[threadIdx.x];
    for (int mask = 16; mask; mask /= 2) total += __shfl_xor_sync(0xffffffffu, total, mask);
    y[threadIdx.x] = total + T(1000) * __shfl_sync(0xffffffffu, x[threadIdx.x], 3);
}
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
TYPES = {"Half": np.float16, "BFloat16": ml_dtypes.bfloat16}


def launched(instance, *args, order=(0, 1)):
    (function,) = emulator.functions(source("common.cuh") + KERNELS, [instance])
    emulator.run(function, (1, 1, 1), [StrictArray(a) if np.ndim(a) else a for a in args], order)
    return args


def same(found, expected):
    """To the bit, except for the payload of NaN."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(*[a.view(f"u{a.itemsize}")[~nan] for a in (found, expected)])


@pytest.mark.parametrize("name", TYPES)
def test_conversions_of_16_bits(rng, name):
    """Widening of all patterns; rounding of them, of ties and their neighbours, and of random floats."""
    halves = np.arange(65536, dtype=np.uint16).view(TYPES[name])
    with np.errstate(all="ignore"):
        floats = halves.astype(np.float32)
        same(launched(f"widened<{name}>", halves, np.empty(65536, np.float32), 65536)[1], floats)
        every = np.sort(floats[np.isfinite(floats)])
        ties = ((every[1:].astype(np.float64) + every[:-1]) / 2).astype(np.float32)
        some = rng.integers(0, 2**32, 100_000, np.uint32).view(np.float32)
        edges = np.float32([np.inf, -np.inf, np.nan, 65519.99, 65520, -65520, 3.4e38, 1e-45, -0.0])
        around = [np.nextafter(ties, np.float32(side)) for side in (-np.inf, np.inf)]
        x = np.concatenate([every, ties, *around, some, edges])
        y = launched(f"narrowed<{name}>", x, np.empty(x.size, TYPES[name]), x.size)[1]
        same(y, x.astype(TYPES[name]))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("name", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_shuffles_stay_in_their_warp(name, dtype, order):
    x, y = launched(f"summed<{name}>", np.arange(THREADS, dtype=dtype), np.empty(THREADS, dtype),
                    order=order)  # fmt: skip
    warps = x.reshape(-1, 32)
    expected = warps.sum(1, keepdims=True) + 1000 * warps[:, 3:4]
    np.testing.assert_array_equal(y.reshape(-1, 32), np.broadcast_to(expected, warps.shape))


def test_threads_that_wait_at_different_barriers_are_reported():
    with pytest.raises(RuntimeError, match=r"^waiting<THREADS>: .* wait at different barriers"):
        launched("waiting<THREADS>", np.empty(THREADS, np.float32))


def test_kernels_may_be_launched_from_several_threads():
    def turned():
        return launched("turned<float>", np.empty(THREADS, np.float32))[0]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: turned(), range(400)))
    np.testing.assert_array_equal(found, np.tile(np.arange(THREADS)[::-1], (400, 1)))
