"""Kernels of 2-D convolution and pooling for any array module: patches laid out as rows, and matrix products.

Arrays have the shape NCHW; in memory they are channels-last, which made everything but the smallest convolutions
faster (a patch is then a few long runs, and the product's rows are the output as it lies in memory). Inputs in other
layouts are copied tile by tile. A tile is some images, or some rows of one, whose patches take up to ``Kernels.tile``
numbers: whatever the batch, no more of its patches are in memory at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .halves import in_float32

Array = Any
Pair = tuple[int, int]

#: channels up to which patches are laid out place by place: runs of memory along a row instead of along the channels
FEW = 4


class Window(NamedTuple):
    """How a window moves over the last two axes: of a kernel, or of a pool."""

    size: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair = (1, 1)
    groups: int = 1

    def output_size(self, size: Pair) -> Pair:
        """How often the window fits into an input of ``size``, padded; less than 1 where it doesn't."""
        axes = zip(size, self.size, self.stride, self.padding, self.dilation, strict=True)
        height, width = ((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in axes)
        return height, width


class Tile(NamedTuple):
    """Images ``images`` and, of them, the output rows ``rows``, whose windows see the padded input's rows ``seen``."""

    images: slice
    rows: slice
    seen: slice


@lru_cache(maxsize=1024)
def tiles(n: int, patch: int, out: Pair, window: Window, most: int) -> tuple[Tile, ...]:
    """Tiles over n images of ``out`` windows each, for patches of ``patch`` numbers, ``most`` of them in a tile."""
    height, width = out
    per_row = max(width * patch, 1)
    rows = min(max(most // per_row, 1), height)
    images = max(most // (per_row * height), 1)
    found = []
    for a in range(0, n, images):
        for r in range(0, height, rows):
            last = min(r + rows, height)
            seen = slice(
                r * window.stride[0],
                (last - 1) * window.stride[0] + (window.size[0] - 1) * window.dilation[0] + 1,
            )
            found.append(Tile(slice(a, min(a + images, n)), slice(r, last), seen))
    return tuple(found)


@lru_cache(maxsize=1024)
def positions(out: Pair, window: Window) -> tuple[tuple[int, int, slice, slice], ...]:
    """For each place in the window, the elements that lie there, of ``out`` windows over one padded input."""
    (h, w), (sh, sw), (dh, dw) = out, window.stride, window.dilation
    return tuple(
        (
            i,
            j,
            slice(i * dh, i * dh + (h - 1) * sh + 1, sh),
            slice(j * dw, j * dw + (w - 1) * sw + 1, sw),
        )
        for i in range(window.size[0])
        for j in range(window.size[1])
    )


@lru_cache(maxsize=1024)
def first_inside(size: Pair, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Along each axis, the first place of each window that is not over padding; -1 where there is none."""
    found = []
    for n, out, k, s, (p, _), d in zip(size, window.output_size(size), *window[:4], strict=True):
        start = np.arange(out) * s - p
        place = np.maximum(-(start // d), 0)
        found.append(np.where((place < k) & (start + place * d < n), place, -1))
    return found[0], found[1]


@lru_cache(maxsize=1024)
def way_back(out: int, size: int, axis: int, window: Window) -> tuple[slice, Pair, int, int]:
    """Along one axis, the outputs that ``size`` gradients come from, with padding; the first stride and how many."""
    stride, before = window.stride[axis], window.padding[axis][0]
    reach = (-(-window.size[axis] // stride) - 1) * window.dilation[axis]
    first, last = before // stride, (before + size - 1) // stride
    seen = slice(min(max(first - reach, 0), out), max(min(last + 1, out), 0))
    padding = max(reach - first, 0), max(last + 1 - max(out, first - reach), 0)
    return seen, padding, first, last + 1 - first


class ConvolutionKernels:
    """The part of a kernel set that has windows."""

    xp: ModuleType | Any
    #: numbers in the patches of a tile: 2 MiB of float32, what stays in a core's second cache
    tile = 2**19

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array with whatever its memory holds."""
        return self.xp.empty(shape, dtype)

    @in_float32
    def matmul(self, a: Array, b: Array) -> Array:
        """Products over the last two axes."""
        return a @ b

    def add_product(self, a: Array, b: Array, total: Array) -> None:
        """total += a @ b."""
        total += self.matmul(a, b)

    @in_float32
    def conv2d(self, x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
        out, k = window.output_size(x.shape[2:]), self._matrix(weight, window)
        y = self.empty((len(x), *out, len(weight)), x.dtype)
        for tile, patches in self._patches(x, out, window):
            target = y[tile.images, tile.rows]
            if window.groups == 1:
                self.multiply_rows(patches[0], k[0], target)
            else:
                products = self.matmul(patches, k).reshape(window.groups, *target.shape[:3], -1)
                target[...] = self.xp.moveaxis(products, 0, 3).reshape(target.shape)
        if bias is not None:
            y += bias
        return y.transpose(0, 3, 1, 2)

    @in_float32
    def conv2d_weight_grad(self, x: Array, gy: Array, window: Window) -> Array:
        groups, out, (kh, kw) = window.groups, gy.shape[2:], window.size
        inputs, outputs = x.shape[1] // groups, gy.shape[1] // groups
        total = self.xp.zeros((groups, outputs, kh * kw * inputs), x.dtype)
        for tile, patches in self._patches(x, out, window):
            self.add_product(self._rows(gy, tile, window).swapaxes(1, 2), patches, total)
        g = total.reshape(groups, outputs, kh, kw, inputs).transpose(0, 1, 4, 2, 3)
        return self.xp.ascontiguousarray(g.reshape(groups * outputs, inputs, kh, kw))

    @in_float32
    def conv2d_input_grad(self, gy: Array, weight: Array, window: Window, size: Pair) -> Array:
        """A convolution of gy, in which the gradients of a stride are computed together, as channels.

        With padded positions s q + a and places a + s u of the window, gx[s q + a] is the sum of w[a + s u] gy[q - u]
        over u: for each a a kernel of every s-th place, backwards.
        """
        # Where there is one window, no stride has an effect, and a large one would make large kernels.
        height, width = (
            1 if n == 1 else s for n, s in zip(gy.shape[2:], window.stride, strict=True)
        )
        window = window._replace(stride=(height, width))
        if max(window.stride) > 1 and max(window.dilation) > 1:
            weight, window = self._undilated(weight, window)
        groups, (sh, sw), (o, c, kh, kw) = window.groups, window.stride, weight.shape
        taps = -(-kh // sh), -(-kw // sw)
        places = self.xp.zeros((o, c, taps[0] * sh, taps[1] * sw), weight.dtype)
        places[:, :, :kh, :kw] = weight
        places = places.reshape(groups, o // groups, c, taps[0], sh, taps[1], sw)
        kernel = places[:, :, :, ::-1, :, ::-1].transpose(0, 4, 6, 2, 1, 3, 5)
        kernel = kernel.reshape(groups * sh * sw * c, o // groups, *taps)
        down, right = (way_back(gy.shape[2 + i], size[i], i, window) for i in range(2))
        gy = gy[:, :, down[0], right[0]]
        back = Window(taps, (1, 1), (down[1], right[1]), window.dilation, groups)
        if sh == sw == 1:
            return self.conv2d(gy, kernel, None, back)
        (_, _, top, height), (_, _, left, width) = down, right
        gx = self.empty((len(gy), height, sh, width, sw, groups, c), gy.dtype)
        images = max(self.tile // max(gx[:1].size, 1), 1)
        for i in range(0, len(gy), images):
            found = self.conv2d(gy[i : i + images], kernel, None, back).transpose(0, 2, 3, 1)
            found = found.reshape(-1, height, width, groups, sh, sw, c)
            gx[i : i + images] = found.transpose(0, 1, 4, 2, 5, 3, 6)
        gx = gx.reshape(len(gy), height * sh, width * sw, groups * c)
        top, left = window.padding[0][0] - top * sh, window.padding[1][0] - left * sw
        gx = gx[:, top : top + size[0], left : left + size[1]]
        return self.xp.ascontiguousarray(gx).transpose(0, 3, 1, 2)

    def _undilated(self, weight: Array, window: Window) -> tuple[Array, Window]:
        """The same convolution with zeros in the kernel instead of a dilation."""
        (kh, kw), (dh, dw) = window.size, window.dilation
        kernel = (kh - 1) * dh + 1, (kw - 1) * dw + 1
        spread = self.xp.zeros((*weight.shape[:2], *kernel), weight.dtype)
        spread[:, :, ::dh, ::dw] = weight
        return spread, window._replace(size=kernel, dilation=(1, 1))

    # --- pooling: the same windows, channel by channel ---

    def max_pool2d(self, x: Array, window: Window) -> tuple[Array, Array]:
        """The largest value of each window, and at which of its places it stands, the first of equals."""
        padded = self._pad(x.transpose(0, 2, 3, 1), window, -math.inf)
        (_, _, across, along), *others = positions(window.output_size(x.shape[2:]), window)
        values = padded[:, across, along].copy()
        rows, columns = first_inside(x.shape[2:], window)
        first = (rows[:, None] * window.size[1] + columns)[:, :, None].astype("int16")
        place = self.xp.zeros(values.shape, "int16") + self.xp.asarray(first)
        for index, (_, _, across, along) in enumerate(others, 1):
            candidate = padded[:, across, along]
            # Neither a NaN that comes is passed over, nor one that is there replaced.
            stays = (candidate <= values) | (values != values)
            place = self.xp.where(stays, place, index)
            self.xp.maximum(values, candidate, out=values)
        return values.transpose(0, 3, 1, 2), place.transpose(0, 3, 1, 2)

    @in_float32
    def max_pool2d_grad(self, gy: Array, place: Array, window: Window, size: Pair) -> Array:
        gy, place = gy.transpose(0, 2, 3, 1), place.transpose(0, 2, 3, 1)
        gx = self._padded((len(gy), *size, gy.shape[3]), window, gy.dtype)
        for index, (_, _, across, along) in enumerate(positions(gy.shape[1:3], window)):
            gx[:, across, along] += self.xp.where(place == index, gy, 0)
        return self._unpadded(gx, window, size).transpose(0, 3, 1, 2)

    def pick(self, x: Array, place: Array, window: Window) -> Array:
        """The value at a place of each window."""
        padded, place = self._pad(x.transpose(0, 2, 3, 1), window, 0), place.transpose(0, 2, 3, 1)
        y = self.xp.zeros(place.shape, x.dtype)
        for index, (_, _, across, along) in enumerate(positions(place.shape[1:3], window)):
            y += self.xp.where(place == index, padded[:, across, along], 0)
        return y.transpose(0, 3, 1, 2)

    @in_float32
    def sum_pool2d(self, x: Array, window: Window) -> Array:
        padded = self._pad(x.transpose(0, 2, 3, 1), window, 0)
        out = window.output_size(x.shape[2:])
        (_, _, across, along), *others = positions(out, window)
        y = padded[:, across, along].copy()
        for _, _, across, along in others:
            y += padded[:, across, along]
        return y.transpose(0, 3, 1, 2)

    @in_float32
    def sum_pool2d_grad(self, gy: Array, window: Window, size: Pair) -> Array:
        gy = gy.transpose(0, 2, 3, 1)
        gx = self._padded((len(gy), *size, gy.shape[3]), window, gy.dtype)
        for _, _, across, along in positions(gy.shape[1:3], window):
            gx[:, across, along] += gy
        return self._unpadded(gx, window, size).transpose(0, 3, 1, 2)

    # --- layouts ---

    def _patches(self, x: Array, out: Pair, window: Window) -> Iterator[tuple[Tile, Array]]:
        """Each tile with its patches, (groups, windows, numbers of a patch); the array is used again for the next."""
        groups, (kh, kw) = window.groups, window.size
        n, c = x.shape[:2]
        found = tiles(n, kh * kw * c, out, window, self.tile)
        rows = found[0].rows.stop if found else 0
        images = found[0].images.stop if found else 0
        few = c <= FEW and groups == 1
        windows = (images, rows, out[1])
        buffer = self.empty(
            (kh, kw, c, *windows) if few else (groups, *windows, kh, kw, c // groups), x.dtype
        )
        for tile in found:
            source = self._pad(x[tile.images].transpose(0, 2, 3, 1), window, 0)[:, tile.seen]
            height = tile.rows.stop - tile.rows.start
            if few:
                patches = buffer[:, :, :, : len(source), :height]
                for i, j, across, along in positions((height, out[1]), window):
                    patches[i, j] = source[:, across, along].transpose(3, 0, 1, 2)
                yield tile, patches.reshape(1, kh * kw * c, -1).swapaxes(1, 2)
                continue
            source = source.reshape(*source.shape[:3], groups, c // groups)
            patches = buffer[:, : len(source), :height]
            self.fill_patches(patches, source, window)
            yield tile, patches.reshape(groups, -1, kh * kw * (c // groups))

    def fill_patches(self, patches: Array, source: Array, window: Window) -> None:
        """Copy what each window sees of ``source`` (images, height, width, groups, channels of a group)."""
        for i, j, across, along in positions(patches.shape[2:4], window):
            patches[..., i, j, :] = self.xp.moveaxis(source[:, across, along], 3, 0)

    def multiply_rows(self, rows: Array, k: Array, target: Array) -> None:
        """target = rows @ k, for rows along the first axes of ``target``, which has no gaps."""
        self.xp.matmul(rows, k, out=target.reshape(len(rows), -1))

    def _rows(self, gy: Array, tile: Tile, window: Window) -> Array:
        """A tile of gradients of outputs, (groups, windows, channels of a group)."""
        g = gy[tile.images, :, tile.rows].transpose(0, 2, 3, 1)
        g = g.reshape(-1, window.groups, g.shape[3] // window.groups)
        return g.swapaxes(0, 1)

    def _matrix(self, weight: Array, window: Window) -> Array:
        """The kernels as (groups, numbers of a patch, outputs of a group)."""
        groups, (o, c, kh, kw) = window.groups, weight.shape
        k = weight.reshape(groups, o // groups, c, kh, kw).transpose(0, 3, 4, 2, 1)
        return self.xp.ascontiguousarray(k.reshape(groups, kh * kw * c, o // groups))

    def _pad(self, x: Array, window: Window, value: float) -> Array:
        """Images NHWC, with a frame of ``value``."""
        if window.padding == ((0, 0), (0, 0)):
            return x
        padded = self._padded(x.shape, window, x.dtype)
        if value:
            padded += value
        self._unpadded(padded, window, x.shape[1:3])[...] = x
        return padded

    def _padded(self, shape: tuple[int, ...], window: Window, dtype: Any) -> Array:
        (top, bottom), (left, right) = window.padding
        n, h, w, c = shape
        return self.xp.zeros((n, top + h + bottom, left + w + right, c), dtype)

    def _unpadded(self, x: Array, window: Window, size: Pair) -> Array:
        (top, _), (left, _) = window.padding
        return x[:, top : top + size[0], left : left + size[1]]
