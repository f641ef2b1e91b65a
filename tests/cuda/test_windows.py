"""The CUDA kernels of pools and patches, run on the CPU, against the generic ones, bit by bit."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import each_dtype, in_every_order, needs_compiler
from cuda.shared import kernels as guarded
from numpy.lib.stride_tricks import as_strided
from strict import StrictArray

from minigrad.kernels.convolution import Window
from minigrad.kernels.cuda import source, wide, windows
from minigrad.kernels.generic import Kernels

pytestmark = needs_compiler
PLAIN = Kernels(np)
NONE = (0, 0), (0, 0)
ONE = Window((1, 1), (1, 1), NONE)
CASES = {
    "one pixel": ((1, 1, 1, 1), ONE),
    "one window": ((2, 2, 3, 4), Window((3, 4), (1, 1), NONE)),
    "odd sizes": ((3, 3, 17, 13), Window((3, 2), (2, 1), ((1, 0), (0, 1)))),
    "one channel": ((5, 1, 19, 23), Window((2, 3), (1, 2), ((1, 1), (0, 1)))),
    "far apart": ((2, 16, 11, 13), Window((2, 2), (3, 5), ((0, 1), (1, 0)))),
    "dilated": ((2, 6, 12, 11), Window((3, 2), (1, 1), ((2, 1), (1, 3)), (2, 3))),
    "dilated and apart": ((2, 8, 15, 17), Window((3, 3), (2, 3), ((3, 0), (1, 2)), (3, 2))),
    "many channels": ((2, 48, 6, 5), Window((3, 3), (2, 2), ((1, 1), (1, 1)))),
}
each_case = pytest.mark.parametrize(("shape", "window"), CASES.values(), ids=CASES)


@pytest.fixture
def gpu(monkeypatch):
    """The kernels, with so few blocks that each thread takes many steps."""
    monkeypatch.setattr(windows, "BLOCKS", 1)
    kernels = guarded()
    yield kernels
    kernels.xp.check()


def layouts(values):
    """The same images in several memory layouts, among numbers that must not be read."""
    n, c, h, w = values.shape
    outside = np.nan if values.dtype.kind != "i" else -1
    places = {
        "NCHW": ((n + 2, c, h, w), np.s_[1:-1], (0, 1, 2, 3)),
        "channels last": ((n + 2, h, w, c), np.s_[1:-1], (0, 3, 1, 2)),
        "a part of the channels": ((n, h, w, c + 16), np.s_[..., 8:-8], (0, 3, 1, 2)),
        "a part of the pixels": ((n, h + 2, w + 3, c), np.s_[:, 1:-1, 2:-1], (0, 3, 1, 2)),
        "every second pixel": ((n, c, 2 * h, 2 * w), np.s_[:, :, ::2, 1::2], (0, 1, 2, 3)),
        "backwards": ((n, w, h, c), np.s_[:, ::-1, ::-1], (0, 3, 2, 1)),
    }
    for name, (shape, part, order) in places.items():
        array = np.full(shape, outside, values.dtype)[part].transpose(order)
        array[...] = values
        yield name, StrictArray(array)


def alike(ours, theirs):
    """The same bits, and ours channels last in memory."""
    found = ours.hidden
    assert found.dtype == theirs.dtype and found.shape == theirs.shape
    assert found.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(found.view(f"u{found.itemsize}"), bits(theirs))


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def narrowed(function, gy, *args):
    """The generic gradient of 16-bit values: computed in float32, rounded once."""
    return function(gy.astype(wide(gy.dtype)), *args).astype(gy.dtype)


@each_case
@each_dtype
def test_pools(gpu, rng, dtype, shape, window):
    x = rng.integers(1, 5, shape).astype(dtype)  # with ties
    y, place = PLAIN.max_pool2d(x, window)
    for _, a in layouts(x):
        ours, where = gpu.max_pool2d(a, window)
        alike(ours, y)
        alike(where, place)
    gy = normal(rng, y.shape, dtype)
    gx = narrowed(PLAIN.max_pool2d_grad, gy, place, window, shape[2:])
    picked = PLAIN.pick(x, place, window)
    for (_, g), (_, p), (_, a) in zip(*map(layouts, (gy, place, x)), strict=True):
        alike(gpu.max_pool2d_grad(g, p, window, shape[2:]), gx)
        alike(gpu.pick(a, p, window), picked)
    alike(gpu.max_pool2d_grad(StrictArray(gy), p, window, shape[2:]), gx)
    x = normal(rng, shape, dtype)
    for _, a in layouts(x):
        alike(gpu.sum_pool2d(a, window), narrowed(PLAIN.sum_pool2d, x, window))
    gx = narrowed(PLAIN.sum_pool2d_grad, gy, window, shape[2:])
    for _, g in layouts(gy):
        alike(gpu.sum_pool2d_grad(g, window, shape[2:]), gx)


@each_case
@each_dtype
@pytest.mark.parametrize("tile", [1, 500, 10**6])
def test_patches(gpu, rng, monkeypatch, dtype, shape, window, tile):
    """Some rows of an image, some images, and all; with groups too."""
    x, out = normal(rng, shape, dtype), window.output_size(shape[2:])
    for groups in {1, 2 - shape[1] % 2, shape[1]}:
        window = window._replace(groups=groups)
        for kernels in (PLAIN, gpu):
            monkeypatch.setattr(kernels, "tile", tile, raising=False)
        theirs = [(t, p.copy()) for t, p in PLAIN._patches(x, out, window)]
        for _, a in layouts(x):
            found = gpu._patches(a, out, window)
            for (tile_, ours), (expected_tile, expected) in zip(found, theirs, strict=True):
                assert tile_ == expected_tile and ours.hidden.flags.c_contiguous
                np.testing.assert_array_equal(bits(ours.hidden), bits(expected))


def every_kernel(k, x, window):
    y, place = k.max_pool2d(x, window)
    size = x.shape[2:]
    gradients = k.max_pool2d_grad(y, place, window, size), k.sum_pool2d_grad(y, window, size)
    (_, patches), *_ = k._patches(x, window.output_size(size), window)
    return y, place, patches, *gradients, k.pick(x, place, window), k.sum_pool2d(x, window)


@each_case
@pytest.mark.parametrize("small", [windows.SMALL, 0], ids=["int", "Index"])
def test_neither_offsets_nor_threads_matter(rng, monkeypatch, shape, window, small):
    """Neither the type of the offsets nor the order of the threads."""
    monkeypatch.setattr(windows, "BLOCKS", 1)
    monkeypatch.setattr(windows, "SMALL", small)
    x = normal(rng, shape, np.float32)

    def run(k):
        found = every_kernel(k, StrictArray(x), window)
        assert {name.endswith("Index>") for name, _ in k.launch.launched} == {not small}
        return found

    for ours, expected in zip(in_every_order(run), every_kernel(PLAIN, x, window), strict=True):
        np.testing.assert_array_equal(bits(ours), bits(expected))


def test_gradients_that_are_broadcast(gpu):
    """As those of a sum: one number for all windows, or one per channel."""
    shape, window = CASES["odd sizes"]
    size = shape[0], shape[1], *window.output_size(shape[2:])
    for small in ((1, 1, 1, 1), (1, 3, 1, 1)):
        gy = np.broadcast_to(np.arange(1, 1 + math.prod(small), dtype="f").reshape(small), size)
        expected = PLAIN.sum_pool2d_grad(gy, window, shape[2:])
        alike(gpu.sum_pool2d_grad(StrictArray(gy), window, shape[2:]), expected)


def test_nan_is_the_largest_and_padding_never_is(gpu):
    x = np.zeros((1, 1, 2, 6), np.float32)
    x[0, 0, :, 1:3] = np.nan
    x[0, 0, :, 4:] = -np.inf
    y, place = gpu.max_pool2d(StrictArray(x), Window((2, 2), (2, 2), NONE))
    np.testing.assert_array_equal(y.hidden[0, 0, 0], [np.nan, np.nan, -np.inf])
    np.testing.assert_array_equal(place.hidden[0, 0, 0], [1, 0, 0])
    x = StrictArray(np.full((1, 1, 2, 2), -np.inf, np.float32))
    window = Window((2, 2), (1, 1), ((1, 1), (1, 1)))
    y, place = gpu.max_pool2d(x, window)
    assert (y.hidden == -np.inf).all()
    gy = StrictArray(np.ones((1, 1, 3, 3), np.float32))
    assert gpu.max_pool2d_grad(gy, place, window, (2, 2)).hidden.sum() == 9


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_empty_arrays_launch_nothing(gpu, shape):
    window, x = Window((2, 2), (1, 1), NONE), StrictArray(np.empty(shape, np.float32))
    y, place = gpu.max_pool2d(x, window)
    assert y.shape == place.shape == (*shape[:2], 3, 3)
    assert gpu.max_pool2d_grad(y, place, window, (4, 4)).shape == shape
    assert gpu.sum_pool2d_grad(gpu.sum_pool2d(x, window), window, (4, 4)).shape == shape
    weight = StrictArray(np.ones((5, shape[1], 2, 2), np.float32))
    assert not gpu.conv2d(x, weight, None, window).hidden.any()
    assert not gpu.launch.launched


@pytest.mark.parametrize(
    ("channels", "strides", "first", "vector"),
    [
        (8, (96, 1, 32, 8), 0, 4),
        (8, (96, 1, 32, 8), 4, 4),
        (8, (96, 1, 32, 8), 2, 1),
        (6, (96, 1, 32, 8), 0, 1),
        (8, (98, 1, 32, 8), 0, 1),
        (8, (96, 1, 34, 8), 0, 1),
        (8, (96, 1, 32, 10), 0, 1),
        (8, (96, 12, 4, 4), 0, 1),
        (8, (0, 1, 0, 0), 0, 4),
    ],
)
def test_wide_accesses_where_they_fit(gpu, channels, strides, first, vector):
    numbers = np.arange(400, dtype=np.float32)[first:]
    x = as_strided(numbers, (2, channels, 3, 4), [4 * s for s in strides])
    alike(gpu.sum_pool2d(StrictArray(x), ONE), x)
    ((name, _),) = gpu.launch.launched
    assert name == f"sum_pool<float, {vector}, int>"


@pytest.mark.parametrize(("width", "blocks"), [(1, 1), (256, 1), (257, 2), (2000, 2)])
def test_no_more_blocks_than_needed_and_than_the_device_takes(gpu, width, blocks):
    gpu.sum_pool2d(StrictArray(np.ones((1, 1, 1, width), "f")), ONE)
    assert gpu.launch.launched[-1][1] == (blocks, 1, 1)


def test_offsets_are_large_where_one_of_them_is(gpu, monkeypatch):
    """The images' reach, the size of the result, a stride, the padded width."""
    wide_apart = as_strided(np.ones(400, np.float32), (2, 1, 2, 2), (800, 4, 8, 4))
    for x, window, largest in [
        (wide_apart, ONE, 200 + 2 + 1),
        (np.ones((1, 1, 2, 2), np.float32), Window((1, 1), (1, 1), ((1, 2), (3, 4))), 5 * 9),
        (np.ones((1, 1, 2, 2), np.float32), Window((1, 1), (1, 70), ((0, 0), (50, 10))), 70),
        (np.ones((1, 1, 2, 2), np.float32), Window((1, 1), (1, 31), ((0, 0), (50, 10))), 62),
    ]:
        for small in (largest, largest + 1):
            monkeypatch.setattr(windows, "SMALL", small)
            gpu.sum_pool2d(StrictArray(x), window)
            name, _ = gpu.launch.launched[-1]
            assert name.endswith("int>") == (small > largest)


ARITHMETIC = """
extern "C" void walk_{kind}(const Index* box, Index thread, Index threads, Index steps, Index* found) {
    typedef {kind} I;
    Walk<I, 4> way({I(box[0]), I(box[1]), I(box[2]), I(box[3])}, I(thread), I(threads));
    for (Index i = 0; i < steps; i++) way.advance();
    for (int d = 0; d < 4; d++) found[d] = way.at[d];
    found[4] = way.position;
    found[5] = way.inside();
}
extern "C" Index offset_{kind}(const Strides* strides, const Index* at) {
    typedef {kind} I;
    return offset(*strides, I(at[0]), I(at[1]), I(at[2]), I(at[3]));
}
extern "C" Index pixel_{kind}(const Axis* axis, Index window, Index place) {
    return pixel(*axis, {kind}(window), {kind}(place));
}
extern "C" Index standing_{kind}(const Axis* axis, Index pixel, Index place) {
    Standing<{kind}> standing(*axis, {kind}(pixel));
    for (Index i = 0; i < place; i++) standing.next_place();
    return standing.stands() ? standing.window : -1;
}
"""


@pytest.fixture(params=[("int", 2**30), ("Index", 2**50)], ids=["int", "Index"])
def arithmetic(request):
    """The kernels' functions of positions, for a type of offsets; and the largest offset."""
    kind, most = request.param
    code = "".join(ARITHMETIC.replace("{kind}", kind) for kind in ("int", "Index"))
    library = emulator.library(source("windows.cu") + code)

    def call(name, *args):
        function = library[f"{name}_{kind}"]
        function.restype = ctypes.c_longlong
        return function(*[ctypes.c_longlong(a) if isinstance(a, int) else a for a in args])

    return call, most


def numbers(*values):
    return (ctypes.c_longlong * len(values))(*values)


def test_walks_and_offsets_in_large_boxes(rng, arithmetic):
    call, most = arithmetic
    for _ in range(300):
        sides = [int(most ** (share / 4) * 1.9) or 1 for share in rng.uniform(0, 1.5, 3)]
        if math.prod(sides) > most // 2:
            continue
        box = [most // math.prod(sides), *sides]
        threads = int(rng.integers(1, most // 4))
        thread, steps, found = int(rng.integers(threads)), int(rng.integers(4)), numbers(*[0] * 6)
        call("walk", numbers(*box), thread, threads, steps, found)
        position, expected = thread + steps * threads, []
        inside = position < math.prod(box)
        for side in box[:0:-1]:
            expected.insert(0, position % side)
            position //= side
        assert [*found] == [position, *expected, thread + steps * threads, inside]
        shares = rng.uniform(0, 1, 4)
        at = [int(most**share) for share in shares]
        strides = [int(most ** (1 - share) / 5) * (-1) ** i for i, share in enumerate(shares)]
        total = sum(a * s for a, s in zip(at, strides, strict=True))
        assert call("offset", numbers(*strides), numbers(*at)) == total


def test_windows_over_large_images(rng, arithmetic):
    """Pixels from windows, and windows from pixels, are each other's inverse."""
    call, most = arithmetic
    for _ in range(300):
        kernel, stride, dilation = (
            int(rng.integers(1, 5)) * n for n in (1, most // 64, most // 128)
        )
        if rng.integers(2):
            stride, dilation = stride // 10**6 + 1, dilation // 10**6 + 1
        padding, size = int(rng.integers(0, most // 16)), most // 2
        count = (size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
        axis = numbers(size, count, kernel, stride, padding, dilation)
        window, place = int(rng.integers(count)), int(rng.integers(kernel))
        pixel = window * stride + place * dilation - padding
        assert call("pixel", axis, window, place) == pixel
        if 0 <= pixel < size:
            assert call("standing", axis, pixel, place) == window
            assert stride == 1 or call("standing", axis, pixel + 1, place) == -1
