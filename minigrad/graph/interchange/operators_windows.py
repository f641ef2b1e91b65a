"""Convolutions and pools; see ``operators``. Windows over one axis are those over two, one row high."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ops.conv import conv2d, conv_transpose2d
from ...ops.pool import avg_pool2d, max_pool2d
from ...ops.reduction import mean
from ...ops.shape import pad
from ...tensor import Tensor, tensor, written_out
from .room import Room, Vector

#: bytes and multiplications that a place of a window and one of its elements count as
PLACE, POOLED = 1024, 32


class Axis(NamedTuple):
    """A window along one axis of n elements: its size, stride, padding and dilation."""

    n: int
    size: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def span(self) -> int:
        return (self.size - 1) * self.dilation + 1

    @property
    def padded(self) -> int:
        return self.n + self.before + self.after

    @property
    def out(self) -> int:
        """How many windows there are."""
        return max((self.padded - self.span) // self.stride + 1, 0)

    def elements(self, low: int, high: int) -> np.ndarray:
        """How many places each window has in [low, high), where 0 is the first element."""
        first = np.arange(self.out) * self.stride - self.before
        ends = [(-((first - end) // self.dilation)).clip(0, self.size) for end in (low, high)]
        return ends[1] - ends[0]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Vector | None = None,
    strides: Vector | None = None,
    pads: Vector | None = None,
    dilations: Vector | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
    room: Room,
) -> Tensor:
    kernel = _kernel(x, weight, kernel_shape)
    axes = _axes(x, kernel, strides, pads, dilations, auto_pad)
    _require_room(room, x, axes, weight.shape[0], weight.shape[1])
    stride, padding, dilation = _settings(axes)
    y = conv2d(_image(x), _image(weight), bias, stride, padding, dilation, group)
    return _as(y, x)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Vector | None = None,
    strides: Vector | None = None,
    pads: Vector | None = None,
    dilations: Vector | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_padding: Vector | None = None,
    output_shape: Vector | None = None,
    room: Room,
) -> Tensor:
    kernel, same = _kernel(x, weight, kernel_shape), _same(auto_pad, pads)
    axes = _axes(x, kernel, strides, pads, dilations, "NOTSET")
    extra = [0] * (2 - len(kernel)) + _ints(output_padding, len(kernel), 0, "output_padding")
    if output_shape is None and same:
        output_shape = tuple(a.n * a.stride for a in axes[-len(kernel) :])
    if output_shape is not None:
        sizes = [1] * (2 - len(kernel)) + _ints(output_shape, len(kernel), 0, "output_shape")
        for i, size in enumerate(sizes):
            axes[i], extra[i] = _fitted(axes[i], extra[i], size, auto_pad)
    # It is computed as a convolution over a kernel that is filled up with zeros.
    back = [
        Axis(a.n * a.stride + a.span + e, a.span if a.dilation > 1 < a.stride else a.size)
        for a, e in zip(axes, extra, strict=True)
    ]
    filled = [b.size + a.stride for a, b in zip(axes, back, strict=True)]
    room((*weight.shape[:2], *filled), x.dtype)
    _require_room(room, x, back, weight.shape[1] * group, weight.shape[0] // max(group, 1))
    stride, padding, dilation = _settings(axes)
    y = conv_transpose2d(
        _image(x), _image(weight), bias, stride, padding, (extra[0], extra[1]), dilation, group
    )
    return _as(y, x)


def _fitted(axis: Axis, extra: int, size: int, auto_pad: str) -> tuple[Axis, int]:
    """A wanted output size becomes padding, and where that is negative, output padding."""
    full = (axis.n - 1) * axis.stride + axis.span
    over = full + extra - size
    if over < 0 and _same(auto_pad):
        raise ValueError(f"auto_pad={auto_pad} asks for {size}, more than the {full} there are")
    extra, over = extra - min(over, 0), max(over, 0)
    half = over // 2 if auto_pad == "SAME_UPPER" else over - over // 2
    return axis._replace(before=half, after=over - half), extra


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Vector,
    strides: Vector | None = None,
    pads: Vector | None = None,
    dilations: Vector | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
    room: Room,
) -> Tensor:
    """``storage_order`` is about the output of indices, which is not read."""
    settings = strides, pads, dilations, auto_pad
    _, whole = _pool_axes(room, x, kernel_shape, ceil_mode, *settings)
    for a in whole:
        _require_elements(a.elements(0, a.n), a)
    return _as(_pooled(max_pool2d, _image(x).floating(), whole, -math.inf), x).astype(x.dtype)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Vector,
    strides: Vector | None = None,
    pads: Vector | None = None,
    dilations: Vector | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    room: Room,
) -> Tensor:
    """The mean over as many elements as a window has, padding among them or not, but never what hangs over."""
    settings = strides, pads, dilations, auto_pad
    axes, whole = _pool_axes(room, x, kernel_shape, ceil_mode, *settings)
    counts = []
    for a, w in zip(axes, whole, strict=True):
        low, high = (-a.before, a.n + a.after) if count_include_pad else (0, a.n)
        counts.append(_require_elements(w.elements(low, high), w) / w.size)
    y = _pooled(avg_pool2d, _image(x).widened(), whole, 0.0)
    if any((share < 1).any() for share in counts):
        shares = tensor(np.outer(*counts), dtype=y.dtype, backend=x.backend)
        y = y / written_out(shares)
    return _as(y, x).astype(x.dtype)


def global_average_pool(x: Tensor) -> Tensor:
    if x.ndim < 3:
        raise ValueError(f"expected x of shape (n, channels, ...), got {x.shape}")
    return mean(x, tuple(range(2, x.ndim)), True)


def _kernel(x: Tensor, weight: Tensor, kernel_shape: Vector | None) -> Vector:
    kernel = weight.shape[2:]
    if weight.ndim != x.ndim or kernel_shape not in (None, kernel):
        raise ValueError(
            f"weight {weight.shape} does not go with x {x.shape} and kernel_shape {kernel_shape}"
        )
    return kernel


def _axes(
    x: Tensor,
    kernel: Sequence[int],
    strides: Vector | None,
    pads: Vector | None,
    dilations: Vector | None,
    auto_pad: str,
) -> list[Axis]:
    """Windows along the last two axes."""
    n = len(kernel)
    if x.ndim != n + 2 or n not in (1, 2):
        raise ValueError(
            f"expected one or two axes after the channels, as the kernel {tuple(kernel)} has, got x {x.shape}"
        )
    stride, dilation = _ints(strides, n, 1, "strides"), _ints(dilations, n, 1, "dilations")
    if min(*kernel, *stride, *dilation) < 1:
        raise ValueError(f"expected positive sizes, got {kernel}, {stride} and {dilation}")
    flat = _ints(pads, 2 * n, 0, "pads")
    if min(flat) < 0:
        raise ValueError(f"expected pads >= 0, got {pads}")
    axes = [Axis(1)] * (2 - n)
    axes += map(Axis, x.shape[2:], kernel, stride, flat[:n], flat[n:], dilation)
    if _same(auto_pad, pads):
        for i, a in enumerate(axes):
            over = max((-(-a.n // a.stride) - 1) * a.stride + a.span - a.n, 0)
            half = over // 2 if auto_pad == "SAME_UPPER" else over - over // 2
            axes[i] = a._replace(before=half, after=over - half)
    return axes


def _same(auto_pad: str, pads: Vector | None = None) -> bool:
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"expected auto_pad NOTSET, VALID or SAME_..., got {auto_pad!r}")
    if auto_pad != "NOTSET" and any(pads or ()):
        raise ValueError(f"expected auto_pad or pads, got {auto_pad} and {pads}")
    return auto_pad.startswith("SAME")


def _pool_axes(
    room: Room, x: Tensor, kernel: Vector, ceil_mode: int, *settings: Any
) -> list[list[Axis]]:
    """Windows along the last two axes without and with what hangs over."""
    *_, dilations, auto_pad = settings
    axes = _axes(x, kernel, *settings)
    dilated = any(a.dilation > 1 for a in axes)
    if _same(auto_pad) and (ceil_mode or dilated):
        raise ValueError(f"auto_pad={auto_pad} with {ceil_mode=} and {dilations=} is not read")
    whole = _with_overhang(axes) if ceil_mode else axes
    _require_room(room, x, whole, x.shape[1], POOLED)
    if dilated:
        room((2, *x.shape[:2], *(a.out * a.size for a in whole)), np.float32)
    return [axes, whole]


def _with_overhang(axes: list[Axis]) -> list[Axis]:
    """More padding at the ends, for windows that hang over, but begin before the padding there."""
    over = [-(a.padded - a.span) % a.stride for a in axes]
    return [
        a._replace(after=a.after + o) if a.padded - a.span + o < a.before + a.n else a
        for a, o in zip(axes, over, strict=True)
    ]


def _require_room(room: Room, x: Tensor, axes: list[Axis], channels: int, depth: int) -> None:
    """Count the padded input, the patches of a row, a step for each place of a window, and the output."""
    (n, c), out = x.shape[:2], [a.out for a in axes]
    places, dtype = [a.size for a in axes], np.promote_types(x.dtype, np.float32)
    room((n, c, *(a.padded for a in axes)), dtype)
    room((PLACE, *places))
    room((out[1], c, *places), dtype)
    room((n, channels, *out), dtype, math.prod((n, channels, *out, depth, *places)))
    room((2, *out), np.float64)


def _require_elements(counts: np.ndarray, axis: Axis) -> np.ndarray:
    if axis.out < 1:
        raise ValueError(
            f"a window that spans {axis.span} does not fit into {axis.padded} elements"
        )
    if not counts.all():
        raise ValueError(
            f"a window of {axis.size} is all padding, of {axis.before} before and {axis.after} after {axis.n} elements"
        )
    return counts


def _pooled(pool: Callable[..., Tensor], x: Tensor, axes: list[Axis], value: float) -> Tensor:
    """Padding that the pool does not take is written out, and so are windows with a dilation."""
    a, b = axes
    kernel, steps = (a.size, b.size), (a.stride, b.stride)
    if all(a.before == a.after and 2 * a.after <= a.size and a.dilation == 1 for a in axes):
        return pool(x, kernel, steps, (a.before, b.before))
    x = pad(x, [(0, 0), (0, 0), *((a.before, a.after) for a in axes)], value)
    if all(a.dilation == 1 for a in axes):
        return pool(x, kernel, steps)
    for i, a in enumerate(axes):
        first = np.arange(a.out)[:, None] * a.stride
        places = (first + np.arange(a.size) * a.dilation).reshape(-1).tolist()
        key = (*[slice(None)] * (2 + i), places)
        x = x[key]
    return pool(x, kernel, kernel)


def _settings(axes: list[Axis]) -> Any:
    """Stride, padding and dilation, as convolutions take them."""
    a, b = axes
    padding = (a.before, a.after), (b.before, b.after)
    return (a.stride, b.stride), padding, (a.dilation, b.dilation)


def _image(x: Tensor) -> Tensor:
    """(n, channels, length) as images one pixel high."""
    return x.reshape(*x.shape[:2], 1, x.shape[2]) if x.ndim == 3 else x


def _as(y: Tensor, x: Tensor) -> Tensor:
    return y.reshape(*y.shape[:2], y.shape[3]) if x.ndim == 3 else y


def _ints(given: Vector | None, n: int, otherwise: int, name: str) -> list[int]:
    if given is not None and len(given) != n:
        raise ValueError(f"expected {n} {name}, got {given}")
    return [otherwise] * n if given is None else list(given)


WINDOWS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": global_average_pool,
    "MaxPool": max_pool,
}
