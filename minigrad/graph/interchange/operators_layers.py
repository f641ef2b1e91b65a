"""Products, convolutions, pools and batch norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...kernels.convolution import Pair, Window
from ...ops.batch_norm import batch_norm, frozen_batch_norm, statistics_dtype
from ...ops.conv import conv2d, conv_transpose2d
from ...ops.linear import linear
from ...ops.matmul import matmul
from ...ops.pool import MaxPool2d, SumPool2d
from ...ops.reduction import max, mean
from ...tensor import Tensor, apply, tensor, written_out
from .schema import Ints

Sides = list[tuple[int, int]]


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected two matrices, got shapes {a.shape} and {b.shape}")
    a = a.T if transA else a
    plain = transB and alpha == beta == 1 and a.dtype.kind == "f"
    if plain and (c is None or c.shape == b.shape[:1]):
        return linear(a, b, c)
    y = matmul(a, b.T if transB else b)
    y = y if alpha == 1 else y * alpha
    if c is None:
        return y
    return y + (c if beta == 1 else c * beta)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Ints | None = None,
    strides: Ints | None = None,
    pads: Ints | None = None,
    dilations: Ints | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    kernel = _kernel(weight, kernel_shape)
    window = _window(x, kernel, strides, pads, dilations, auto_pad)
    y = conv2d(
        _image(x),
        _image(weight),
        bias,
        window.stride,
        window.padding,
        window.dilation,
        group,
    )
    return _as(y, x)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Ints | None = None,
    strides: Ints | None = None,
    pads: Ints | None = None,
    dilations: Ints | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
) -> Tensor:
    """A wanted output shape becomes padding, and where that is negative, output padding."""
    kernel = _kernel(weight, kernel_shape)
    n = len(kernel)
    stride, dilation = _ints(strides, n, 1, "strides"), _ints(dilations, n, 1, "dilations")
    extra = _ints(output_padding, n, 0, "output_padding")
    sides = _sides(pads, n)
    if output_shape is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = tuple(m * s for m, s in zip(x.shape[2:], stride, strict=True))
    if output_shape is not None:
        wanted = _ints(output_shape, n, 0, "output_shape")
        for i in range(n):
            full = (x.shape[2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
            over = full + extra[i] - wanted[i]
            if over < 0:
                extra[i], over = extra[i] - over, 0
            half = over // 2 if auto_pad == "SAME_UPPER" else over - over // 2
            sides[i] = half, over - half
    if n == 1:
        stride, dilation, extra, sides = [1, *stride], [1, *dilation], [0, *extra], [(0, 0), *sides]
    y = conv_transpose2d(
        _image(x),
        _image(weight),
        bias,
        (stride[0], stride[1]),
        (sides[0], sides[1]),
        (extra[0], extra[1]),
        (dilation[0], dilation[1]),
        group,
    )
    return _as(y, x)


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    pads: Ints | None = None,
    dilations: Ints | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
) -> Tensor:
    """``storage_order`` is about the output of indices, which is not read."""
    window, last = _pool(x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    window = _longer(window, last)
    images = _image(x).floating()
    y, _ = apply(MaxPool2d(window, _size(images)), images)
    return _as(y, x).astype(x.dtype)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    pads: Ints | None = None,
    dilations: Ints | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    """The sum of each window over how many elements it has, padding among them or not."""
    window, last = _pool(x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    images = _image(x).widened()
    wide, size = _longer(window, last), _size(images)
    total = apply(SumPool2d(wide, size), images)
    if not any(map(any, wide.padding)):
        return _as(total / math.prod(window.size), x).astype(x.dtype)
    rows, columns = (
        _counts(i, window, size, wide.output_size(size), count_include_pad) for i in (0, 1)
    )
    counts = tensor(np.outer(rows, columns), dtype=total.dtype, backend=x.backend)
    return _as(total / written_out(counts), x).astype(x.dtype)


def _counts(axis: int, window: Window, size: Pair, out: Pair, padding_too: int) -> np.ndarray:
    """How many elements each window has along an axis."""
    n, (before, after) = size[axis], window.padding[axis]
    first = np.arange(out[axis]) * window.stride[axis] - before
    places = first[:, None] + np.arange(window.size[axis]) * window.dilation[axis]
    low, high = (-before, n + after) if padding_too else (0, n)
    return ((places >= low) & (places < high)).sum(1)


def global_pool(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x: reduce(x, tuple(range(2, x.ndim)), True)


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Any:
    """In training mode also the running statistics, moved by the batch's, whose variance is biased in ONNX."""
    if not spatial:
        raise ValueError("statistics for each activation (spatial=0) are not read")
    dtype = statistics_dtype(x.dtype)
    scale, bias, mean, var = (t.astype(dtype) for t in (scale, bias, mean, var))
    if not training_mode:
        return frozen_batch_norm(x, scale, bias, mean, var, eps=epsilon)
    y, own_mean, own_var = batch_norm(x, scale, bias, eps=epsilon)
    stays, new = momentum, 1 - momentum
    return y, mean * stays + own_mean * new, var * stays + own_var * new


def _kernel(weight: Tensor, kernel_shape: Ints | None) -> tuple[int, ...]:
    kernel = weight.shape[2:]
    if kernel_shape is not None and tuple(kernel_shape) != kernel:
        raise ValueError(f"kernel_shape {kernel_shape} is not that of the weight {weight.shape}")
    return kernel


def _image(x: Tensor) -> Tensor:
    """(n, channels, length) as images one pixel high."""
    return x.reshape(*x.shape[:2], 1, x.shape[2]) if x.ndim == 3 else x


def _size(images: Tensor) -> Pair:
    return images.shape[2], images.shape[3]


def _longer(window: Window, last: list[int]) -> Window:
    """The window with more padding at the ends."""
    (top, bottom), (left, right) = window.padding
    return window._replace(padding=((top, bottom + last[0]), (left, right + last[1])))


def _as(y: Tensor, x: Tensor) -> Tensor:
    return y.reshape(*y.shape[:2], y.shape[3]) if x.ndim == 3 else y


def _ints(given: Ints | None, n: int, otherwise: int, name: str) -> list[int]:
    if given is not None and len(given) != n:
        raise ValueError(f"expected {n} {name}, got {given}")
    return [otherwise] * n if given is None else list(given)


def _sides(pads: Ints | None, n: int) -> Sides:
    flat = _ints(pads, 2 * n, 0, "pads")
    return list(zip(flat[:n], flat[n:], strict=True))


def _window(
    x: Tensor,
    kernel: Sequence[int],
    strides: Ints | None,
    pads: Ints | None,
    dilations: Ints | None,
    auto_pad: str,
) -> Window:
    """The window over the last two axes, also of what has only one."""
    n = len(kernel)
    if x.ndim != n + 2 or n not in (1, 2):
        raise ValueError(
            f"expected one or two axes after the channels, as the kernel {tuple(kernel)} has, got x {x.shape}"
        )
    stride, dilation = _ints(strides, n, 1, "strides"), _ints(dilations, n, 1, "dilations")
    if min(*kernel, *stride, *dilation) < 1:
        raise ValueError(f"expected positive sizes, got {kernel}, {stride} and {dilation}")
    sides = _sides(pads, n)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for i, (m, k, s, d) in enumerate(zip(x.shape[2:], kernel, stride, dilation, strict=True)):
            over = (-(-m // s) - 1) * s + (k - 1) * d + 1 - m
            half = over // 2 if auto_pad == "SAME_UPPER" else over - over // 2
            sides[i] = (half, over - half) if over > 0 else (0, 0)
    elif auto_pad not in ("NOTSET", "VALID"):
        raise ValueError(f"expected auto_pad NOTSET, VALID or SAME_..., got {auto_pad!r}")
    if min(map(min, sides)) < 0:
        raise ValueError(f"expected pads >= 0, got {sides}")
    one = [1] * (2 - n)
    sides = [(0, 0)] * (2 - n) + sides
    window = ([*one, *kernel], [*one, *stride], sides, [*one, *dilation])
    return Window(*(tuple(part) for part in window))  # type: ignore[arg-type]


def _pool(
    x: Tensor,
    kernel_shape: Ints,
    strides: Ints | None,
    pads: Ints | None,
    dilations: Ints | None,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[Window, list[int]]:
    """The window, and what has to be added to its padding at the ends for one that hangs over (``ceil_mode``)."""
    window = _window(x, kernel_shape, strides, pads, dilations, auto_pad)
    last = []
    axes = zip(
        _image(x).shape[2:],
        window.size,
        window.stride,
        window.padding,
        window.dilation,
        strict=True,
    )
    for n, k, s, (before, after), d in axes:
        free = n + before + after - (k - 1) * d - 1
        if free < 0:
            raise ValueError(f"a window of {kernel_shape} does not fit into x {x.shape}")
        over = -free % s if ceil_mode else 0
        # One that would begin after the images and what is before them is left out.
        last.append(over if over and free + over < n + before else 0)
    return window, last


LAYERS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool(mean),
    "GlobalMaxPool": global_pool(max),
    "MatMul": lambda a, b: matmul(a, b),
    "MaxPool": max_pool,
}
