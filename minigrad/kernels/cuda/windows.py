"""Launching the kernels that move windows over images: the patches of convolutions, and pools.

Results have their channels next to each other in memory, as those of all kernel sets; what is read may lie in any way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..convolution import Pair, Tile, Window, tiles
from . import THREADS, TYPES, Kernel, LaunchedKernels

Array = Any

PATCHES = Kernel("windows.cu", "patches")
MAX_POOL = Kernel("windows.cu", "max_pool")
SUM_POOL = Kernel("windows.cu", "sum_pool")
MAX_POOL_GRAD = Kernel("windows.cu", "max_pool_grad")
SUM_POOL_GRAD = Kernel("windows.cu", "sum_pool_grad")
PICK = Kernel("windows.cu", "pick")

#: the structs that the sources call Strides and Shape, with its two Axis
STRIDES = np.dtype([(name, "i8") for name in ("image", "channel", "row", "column")])
SHAPE = np.dtype(
    [(name, "i8") for name in ("batch", "channels", "groups")]
    + [(name, "i8", 6) for name in ("rows", "columns")]
)
#: blocks per multiprocessor, of which it runs some at once
BLOCKS = 32
#: below this, positions and offsets are ints: half of what fits, as a thread's last step goes beyond the end
SMALL = 2**30


@lru_cache(maxsize=4096)
def lying(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[Any, int, int]:
    """How an array lies: the struct Strides, how far it reaches, and how many channels begin where one access may."""
    moves = [s // itemsize if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
    reach = sum(abs(move) * (n - 1) for move, n in zip(moves, shape, strict=True))
    image, channel, row, column = moves
    together = math.gcd(shape[1], image, row, column) if channel == 1 else 1
    return np.array([tuple(moves)], STRIDES), reach, together


@lru_cache(maxsize=4096)
def described(
    batch: int, channels: int, size: Pair, out: Pair, window: Window
) -> tuple[np.ndarray, int]:
    """The struct Shape of images of ``size`` with ``out`` windows each, and the largest number along an axis."""
    (top, bottom), (left, right) = window.padding
    numbers = size, out, window.size, window.stride, (top, left), window.dilation
    rows, columns = zip(*numbers, strict=True)
    largest = max(size[0] + top + bottom, size[1] + left + right, *window.stride, *window.dilation)
    return np.array([(batch, channels, window.groups, rows, columns)], SHAPE), largest


class WindowKernels(LaunchedKernels):
    """Pools, and patches written straight from images that lie in any way, without a frame of zeros around them."""

    #: 128 MiB of float32: few launches, and products that fill the device
    tile = 2**25

    def max_pool2d(self, x: Array, window: Window) -> tuple[Array, Array]:
        out = window.output_size(x.shape[2:])
        y, place = (self._channels_last(x, out, dtype) for dtype in (x.dtype, "int16"))
        self._run(MAX_POOL, [x], [y, place], x.shape[2:], out, window)
        return y.transpose(0, 3, 1, 2), place.transpose(0, 3, 1, 2)

    def sum_pool2d(self, x: Array, window: Window) -> Array:
        out = window.output_size(x.shape[2:])
        y = self._channels_last(x, out, x.dtype)
        self._run(SUM_POOL, [x], [y], x.shape[2:], out, window)
        return y.transpose(0, 3, 1, 2)

    def pick(self, x: Array, place: Array, window: Window) -> Array:
        y = self._channels_last(x, place.shape[2:], x.dtype)
        self._run(PICK, [x, place], [y], x.shape[2:], place.shape[2:], window)
        return y.transpose(0, 3, 1, 2)

    def max_pool2d_grad(self, gy: Array, place: Array, window: Window, size: Pair) -> Array:
        gx = self._channels_last(gy, size, gy.dtype)
        self._run(MAX_POOL_GRAD, [gy, place], [gx], size, gy.shape[2:], window)
        return gx.transpose(0, 3, 1, 2)

    def sum_pool2d_grad(self, gy: Array, window: Window, size: Pair) -> Array:
        gx = self._channels_last(gy, size, gy.dtype)
        self._run(SUM_POOL_GRAD, [gy], [gx], size, gy.shape[2:], window)
        return gx.transpose(0, 3, 1, 2)

    def _patches(self, x: Array, out: Pair, window: Window) -> Iterator[tuple[Tile, Array]]:
        patch, groups = window.size[0] * window.size[1] * x.shape[1], window.groups
        (top, bottom), across = window.padding
        buffer = None
        for tile in tiles(len(x), patch, out, window, self.tile):
            images, height = x[tile.images], tile.rows.stop - tile.rows.start
            count = len(images) * height * out[1]
            if buffer is None:  # no tile is larger than the first one
                buffer = self.xp.empty(count * patch, x.dtype)
            patches = buffer[: count * patch].reshape(groups, count, patch // groups)
            above = top - tile.rows.start * window.stride[0], bottom
            here = window._replace(padding=(above, across))
            self._run(PATCHES, [images], [patches], x.shape[2:], (height, out[1]), here)
            yield tile, patches

    def add_product(self, a: Array, b: Array, total: Array) -> None:
        # CuPy multiplies a transposed matrix as it lies; stacks of matrices it copies first.
        if len(total) == 1:
            a, b, total = a[0], b[0], total[0]
        total += self.xp.matmul(a, b)

    def _channels_last(self, like: Array, size: Pair, dtype: Any) -> Array:
        return self.xp.empty((len(like), *size, like.shape[1]), dtype)

    def _run(
        self,
        kernel: Kernel,
        inputs: list[Array],
        outputs: list[Array],
        size: Pair,
        out: Pair,
        window: Window,
    ) -> None:
        """Launch a kernel for images of ``size`` with ``out`` windows; the first input and output have one dtype."""
        x, y = inputs[0], outputs[0]
        if not y.size:
            return
        lies = [lying(a.shape, a.strides, a.itemsize) for a in inputs]
        shape, largest = described(*x.shape[:2], size, out, window)
        together = math.gcd(x.shape[1] // window.groups, *(channels for _, _, channels in lies))
        vector = self.vector(together, *inputs, y)
        small = max(largest, y.size, *(reach for _, reach, _ in lies)) < SMALL
        parameters = TYPES[x.dtype.name], vector, "int" if small else "Index"
        blocks = -(-y.size // (vector * THREADS))
        grid = (min(blocks, self.launch.multiprocessors * BLOCKS),)
        first = [self.launch.address(a) for a in inputs]
        strides = [struct for struct, _, _ in lies]
        self.launch(kernel, parameters, grid, (*first, *outputs, *strides, shape))
