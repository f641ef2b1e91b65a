"""The CUDA kernels of pools and patches, run on the CPU: against the generic ones, bit by bit."""

from __future__ import annotations

import ctypes
import math
from types import SimpleNamespace

import numpy as np
import pytest
from cuda import emulator
from numpy.lib.stride_tricks import as_strided
from strict import StrictArray, StrictModule

from minigrad.kernels.convolution import Window
from minigrad.kernels.cuda import source, wide, windows
from minigrad.kernels.cupy import CupyKernels
from minigrad.kernels.generic import Kernels

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")

PLAIN = Kernels(np)
NONE = (0, 0), (0, 0)
GUARD, FRAME = 64, 0xA5
CASES = {
    "one pixel": ((1, 1, 1, 1), Window((1, 1), (1, 1), NONE)),
    "one window": ((2, 2, 3, 4), Window((3, 4), (1, 1), NONE)),
    "odd sizes": ((3, 3, 17, 13), Window((3, 2), (2, 1), ((1, 0), (0, 1)))),
    "one channel": ((5, 1, 19, 23), Window((2, 3), (1, 2), ((1, 1), (0, 1)))),
    "far apart": ((2, 16, 11, 13), Window((2, 2), (3, 5), ((0, 1), (1, 0)))),
    "dilated": ((2, 6, 12, 11), Window((3, 2), (1, 1), ((2, 1), (1, 3)), (2, 3))),
    "dilated and apart": ((2, 8, 15, 17), Window((3, 3), (2, 3), ((3, 0), (1, 2)), (3, 2))),
    "many channels": ((2, 48, 6, 5), Window((3, 3), (2, 2), ((1, 1), (1, 1)))),
}
ORDERS = [(0, 1), (255, 255), (17, 77)]


def types():
    """float32, float64, float16, and bfloat16 where its package is installed."""
    found = [np.float32, np.float64, np.float16]
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return found
    return [*found, bfloat16]


class GuardedModule(StrictModule):
    """Memory with a frame around each array."""

    def __init__(self):
        self.frames = []

    def empty(self, shape, dtype):
        dtype = np.dtype(dtype)
        size = math.prod(np.atleast_1d(shape)) * dtype.itemsize
        memory = np.full(size + 2 * GUARD, FRAME, np.uint8)
        self.frames.append(memory)
        return StrictArray(memory[GUARD : GUARD + size].view(dtype).reshape(shape))

    def check(self):
        for memory in self.frames:
            assert (memory[:GUARD] == FRAME).all() and (memory[-GUARD:] == FRAME).all()


@pytest.fixture
def gpu(monkeypatch):
    """The kernels, with so few blocks that threads take many steps, and frames that are found untouched."""
    monkeypatch.setattr(windows, "BLOCKS", 1)
    kernels = CupyKernels(GuardedModule(), emulator.Emulator())
    yield kernels
    kernels.xp.check()


def layouts(values):
    """The same images, lying in memory in several ways, amid numbers that must not be read."""
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
    """Bit by bit, and ours lies channels last."""
    found = ours.hidden
    assert found.dtype == theirs.dtype and found.shape == theirs.shape
    assert found.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(found.view(f"u{found.itemsize}"), bits(theirs))


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


def ties(rng, shape, real):
    return rng.integers(1, 5, shape).astype(real)


def normal(rng, shape, real):
    return rng.standard_normal(shape).astype(real)


each_case = pytest.mark.parametrize(("shape", "window"), CASES.values(), ids=CASES)
each_type = pytest.mark.parametrize("real", types())


@each_case
@each_type
def test_max_pool(gpu, rng, real, shape, window):
    x = ties(rng, shape, real)
    y, place = PLAIN.max_pool2d(x, window)
    for _, a in layouts(x):
        ours, where = gpu.max_pool2d(a, window)
        alike(ours, y)
        alike(where, place)
    gy = normal(rng, y.shape, wide(np.dtype(real))).astype(real)
    gx = PLAIN.max_pool2d_grad(gy.astype(wide(gy.dtype)), place, window, shape[2:]).astype(real)
    picked = PLAIN.pick(x, place, window)
    for (_, g), (_, p), (_, a) in zip(*map(layouts, (gy, place, x)), strict=True):
        alike(gpu.max_pool2d_grad(g, p, window, shape[2:]), gx)
        alike(gpu.pick(a, p, window), picked)
    alike(gpu.max_pool2d_grad(StrictArray(gy), p, window, shape[2:]), gx)


@each_case
@each_type
def test_sum_pool(gpu, rng, real, shape, window):
    x = normal(rng, shape, real)
    y = PLAIN.sum_pool2d(x.astype(wide(x.dtype)), window).astype(real)
    for _, a in layouts(x):
        alike(gpu.sum_pool2d(a, window), y)
    gy = normal(rng, y.shape, real)
    gx = PLAIN.sum_pool2d_grad(gy.astype(wide(gy.dtype)), window, shape[2:]).astype(real)
    for _, g in layouts(gy):
        alike(gpu.sum_pool2d_grad(g, window, shape[2:]), gx)


@each_case
@each_type
@pytest.mark.parametrize("tile", [1, 500, 10**6])
def test_patches(gpu, rng, monkeypatch, real, shape, window, tile):
    """Some rows of an image, some images, and all: with groups too."""
    x, out = normal(rng, shape, real), window.output_size(shape[2:])
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


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_of_the_threads_matters(gpu, rng, order):
    shape, window = CASES["odd sizes"]
    x, gpu.launch.order = normal(rng, shape, np.float32), order
    y, place = PLAIN.max_pool2d(x, window)
    ours, where = gpu.max_pool2d(StrictArray(x), window)
    alike(ours, y)
    alike(where, place)
    alike(gpu.max_pool2d_grad(ours, where, window, shape[2:]),
          PLAIN.max_pool2d_grad(y, place, window, shape[2:]))  # fmt: skip
    alike(gpu.sum_pool2d_grad(ours, window, shape[2:]), PLAIN.sum_pool2d_grad(y, window, shape[2:]))
    out = window.output_size(shape[2:])
    (_, found), (_, expected) = (next(k._patches(a, out, window)) for k, a in
                                 ((gpu, StrictArray(x)), (PLAIN, x)))  # fmt: skip
    np.testing.assert_array_equal(found.hidden, expected)


def test_gradients_that_are_broadcast(gpu):
    """As those of a sum: one number in all places, or one per channel."""
    shape, window = CASES["odd sizes"]
    size = shape[0], shape[1], *window.output_size(shape[2:])
    for small in ((1, 1, 1, 1), (1, 3, 1, 1)):
        gy = np.broadcast_to(np.arange(1, 1 + math.prod(small), dtype="f").reshape(small), size)
        expected = PLAIN.sum_pool2d_grad(gy, window, shape[2:])
        alike(gpu.sum_pool2d_grad(StrictArray(gy), window, shape[2:]), expected)


def test_nan_goes_on_and_keeps_its_gradient(gpu):
    x = np.zeros((1, 1, 2, 6), np.float32)
    x[0, 0, :, 1:3] = np.nan
    x[0, 0, :, 4:] = -np.inf
    window = Window((2, 2), (2, 2), NONE)
    y, place = gpu.max_pool2d(StrictArray(x), window)
    np.testing.assert_array_equal(y.hidden[0, 0, 0], [np.nan, np.nan, -np.inf])
    np.testing.assert_array_equal(place.hidden[0, 0, 0], [1, 0, 0])


def test_padding_is_never_the_largest(gpu):
    x = StrictArray(np.full((1, 1, 2, 2), -np.inf, np.float32))
    window = Window((2, 2), (1, 1), ((1, 1), (1, 1)))
    y, place = gpu.max_pool2d(x, window)
    assert (y.hidden == -np.inf).all()
    gy = StrictArray(np.ones((1, 1, 3, 3), np.float32))
    assert gpu.max_pool2d_grad(gy, place, window, (2, 2)).hidden.sum() == 9


def test_nothing_is_launched_for_nothing(gpu):
    window = Window((2, 2), (1, 1), NONE)
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4)):
        x = StrictArray(np.empty(shape, np.float32))
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
    alike(gpu.sum_pool2d(StrictArray(x), Window((1, 1), (1, 1), NONE)), x)
    ((name, _),) = gpu.launch.launched
    assert name == f"sum_pool<float, {vector}, int>"


@pytest.mark.parametrize(("width", "blocks"), [(1, 1), (256, 1), (257, 2), (2000, 2)])
def test_no_more_blocks_than_needed_and_than_the_device_takes(gpu, width, blocks):
    gpu.sum_pool2d(StrictArray(np.ones((1, 1, 1, width), "f")), Window((1, 1), (1, 1), NONE))
    assert gpu.launch.launched[-1][1] == (blocks, 1, 1)


@each_case
def test_large_offsets_change_nothing(gpu, rng, monkeypatch, shape, window):
    x = StrictArray(normal(rng, shape, np.float32))

    def everything():
        y, place = gpu.max_pool2d(x, window)
        (_, patches), *_ = gpu._patches(x, window.output_size(shape[2:]), window)
        gradients = [gpu.max_pool2d_grad(y, place, window, shape[2:]),
                     gpu.sum_pool2d_grad(y, window, shape[2:])]  # fmt: skip
        return y, place, patches, *gradients, gpu.pick(x, place, window), gpu.sum_pool2d(x, window)

    small = everything()
    monkeypatch.setattr(windows, "SMALL", 0)
    gpu.launch.launched.clear()
    for ours, expected in zip(everything(), small, strict=True):
        np.testing.assert_array_equal(bits(ours.hidden), bits(expected.hidden))
    assert all(name.endswith("Index>") for name, _ in gpu.launch.launched)


def test_offsets_are_large_where_one_of_them_is(gpu, monkeypatch):
    """The images' reach, the size of the result, a stride, the padded width."""
    wide_apart = as_strided(np.ones(400, np.float32), (2, 1, 2, 2), (800, 4, 8, 4))
    for x, window, largest in [
        (wide_apart, Window((1, 1), (1, 1), NONE), 200 + 2 + 1),
        (np.ones((1, 1, 2, 2), np.float32), Window((1, 1), (1, 1), ((1, 2), (3, 4))), 5 * 9),
        (np.ones((1, 1, 2, 2), np.float32), Window((1, 1), (1, 70), ((0, 0), (50, 10))), 70),
        (np.ones((1, 1, 2, 2), np.float32), Window((1, 1), (1, 31), ((0, 0), (50, 10))), 62),
    ]:
        for small in (largest, largest + 1):
            monkeypatch.setattr(windows, "SMALL", small)
            gpu.sum_pool2d(StrictArray(x), window)
            name, _ = gpu.launch.launched[-1]
            assert name.endswith("int>") == (small > largest)


@pytest.fixture(scope="module")
def arithmetic():
    """What the kernels compute positions with, for both types of offsets."""
    functions = "".join(
        f"""
extern "C" void walk_{kind}(const Index* box, Index thread, Index threads, Index steps, Index* found) {{
    typedef {kind} I;
    Walk<I, 4> way({{I(box[0]), I(box[1]), I(box[2]), I(box[3])}}, I(thread), I(threads));
    for (Index i = 0; i < steps; i++) way.advance();
    for (int d = 0; d < 4; d++) found[d] = way.at[d];
    found[4] = way.position;
    found[5] = way.inside();
}}
extern "C" Index offset_{kind}(const Strides* strides, const Index* at) {{
    typedef {kind} I;
    return offset(*strides, I(at[0]), I(at[1]), I(at[2]), I(at[3]));
}}
extern "C" Index pixel_{kind}(const Axis* axis, Index window, Index place) {{
    return pixel(*axis, {kind}(window), {kind}(place));
}}
extern "C" Index standing_{kind}(const Axis* axis, Index pixel, Index place) {{
    Standing<{kind}> standing(*axis, {kind}(pixel));
    for (Index i = 0; i < place; i++) standing.next_place();
    return standing.stands() ? standing.window : -1;
}}
"""
        for kind in ("int", "Index")
    )
    library = emulator.library(source("windows.cu") + functions)

    def function(name):
        found = getattr(library, name)
        found.restype = ctypes.c_longlong
        return lambda *args: found(
            *[a if isinstance(a, ctypes.Array) else ctypes.c_longlong(a) for a in args]
        )

    return {
        kind: SimpleNamespace(
            **{name: function(f"{name}_{kind}") for name in ("walk", "offset", "pixel", "standing")}
        )
        for kind in ("int", "Index")
    }


def numbers(*values):
    return (ctypes.c_longlong * len(values))(*values)


each_kind = pytest.mark.parametrize(("kind", "most"), [("int", 2**30), ("Index", 2**50)])


@each_kind
def test_walks_through_large_boxes(rng, arithmetic, kind, most):
    for _ in range(300):
        sides = [int(most ** (share / 4) * 1.9) or 1 for share in rng.uniform(0, 1.5, 3)]
        if math.prod(sides) > most // 2:
            continue
        box = [most // math.prod(sides), *sides]
        threads = int(rng.integers(1, most // 4))
        thread, steps = int(rng.integers(threads)), int(rng.integers(4))
        found = numbers(*[0] * 6)
        arithmetic[kind].walk(numbers(*box), thread, threads, steps, found)
        position, expected = thread + steps * threads, []
        inside = position < math.prod(box)
        for side in box[:0:-1]:
            expected.insert(0, position % side)
            position //= side
        assert [*found] == [position, *expected, thread + steps * threads, inside]


@each_kind
def test_large_offsets(rng, arithmetic, kind, most):
    for _ in range(100):
        shares = rng.uniform(0, 1, 4)
        at = [int(most**share) for share in shares]
        strides = [int(most ** (1 - share) / 5) * (-1) ** i for i, share in enumerate(shares)]
        expected = sum(a * s for a, s in zip(at, strides, strict=True))
        assert arithmetic[kind].offset(numbers(*strides), numbers(*at)) == expected


@each_kind
def test_windows_over_large_images(rng, arithmetic, kind, most):
    """A place of a window is over a pixel where, seen from the pixel, the window stands with that place."""
    for _ in range(300):
        kernel, stride, dilation = (
            int(rng.integers(1, 5)) * n for n in (1, most // 64, most // 128)
        )
        if rng.integers(2):
            stride, dilation = stride // 10**6 + 1, dilation // 10**6 + 1
        padding = int(rng.integers(0, most // 16))
        size = most // 2
        count = (size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
        axis = numbers(size, count, kernel, stride, padding, dilation)
        window, place = int(rng.integers(count)), int(rng.integers(kernel))
        pixel = window * stride + place * dilation - padding
        assert arithmetic[kind].pixel(axis, window, place) == pixel
        if 0 <= pixel < size:
            assert arithmetic[kind].standing(axis, pixel, place) == window
            if stride > 1:
                assert arithmetic[kind].standing(axis, pixel + 1, place) == -1
