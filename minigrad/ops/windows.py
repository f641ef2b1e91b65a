"""Window settings of convolutions and pools: checked, with errors that name the axis."""

from __future__ import annotations

from typing import Any

from ..kernels.convolution import Pair, Window
from ..tensor import Tensor
from .checks import require_floating
from .shape import require_size

Padding = int | str | tuple[Any, Any]

#: the largest stride, padding, dilation, kernel and padded size
LARGEST = 2**31 - 1


def make_window(
    name: str,
    shape: tuple[int, ...],
    kernel: Pair,
    stride: int | Pair,
    padding: Padding,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Window:
    """The window of a convolution or a pool over images of ``shape`` (..., height, width).

    Raises
    ------
    ValueError
        For settings that are no positive ints, a window that does not fit, with the numbers that do not, or padding
        that makes images too large.
    """
    size = shape[-2], shape[-1]
    strides, dilations = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
    if padding == "same":
        edges = tuple(
            (total // 2, total - total // 2)
            for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
            for total in [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)]
        )
    else:
        edges = edges_of(name, 0 if padding == "valid" else padding)
    window = Window(kernel, strides, (edges[0], edges[1]), dilations, groups)
    for axis, n, k, p, d, out in zip(
        ("height", "width"), size, kernel, edges, dilations, window.output_size(size), strict=True
    ):
        if out < 1:
            raise ValueError(
                f"{name}: the window does not fit into the {axis}: it spans {(k - 1) * d + 1} "
                f"(kernel {k}, dilation {d}), the input has {n} + {sum(p)} of padding"
            )
    require_padded(name, shape, window)
    return window


def require_padded(name: str, shape: tuple[int, ...], window: Window) -> None:
    """Raise ValueError for images (..., height, width) that are empty, or too large with the padding."""
    padded = [n + sum(p) for n, p in zip(shape[-2:], window.padding, strict=True)]
    for axis, n, whole in zip(("height", "width"), shape[-2:], padded, strict=True):
        if n < 1 or whole > LARGEST:
            raise ValueError(
                f"{name}: expected a {axis} of 1 to {LARGEST}, padding included, got {n} + {whole - n}"
            )
    require_size(f"{name}, padding included", (*shape[:-2], *padded))


def require_images(name: str, x: Tensor) -> None:
    """Raise TypeError or ValueError unless x is a floating Tensor of shape (n, channels, height, width)."""
    require_floating(name, x)
    if x.ndim != 4:
        raise ValueError(f"{name}: expected x of shape (n, channels, height, width), got {x.shape}")


def pair(name: str, argument: str, value: Any, least: int) -> Pair:
    """An argument for height and width: an int for both, or a pair of ints, each at least ``least``."""
    both = (value, value) if hasattr(value, "__index__") else value
    if (
        not isinstance(both, (tuple, list))
        or len(both) != 2
        or not all(hasattr(n, "__index__") and n >= least for n in both)
    ):
        raise ValueError(
            f"{name}: expected {argument} as an int >= {least} or a pair of them, got {value!r}"
        )
    if max(both) > LARGEST:
        raise ValueError(f"{name}: expected {argument} of at most {LARGEST}, got {value!r}")
    return int(both[0]), int(both[1])


def edges_of(name: str, padding: Any) -> tuple[Pair, Pair]:
    """(before, after) along height and width."""
    if isinstance(padding, str):
        raise ValueError(
            f"{name}: expected padding 'same', 'valid', an int or pairs of ints, got {padding!r}"
        )
    sequence = isinstance(padding, (tuple, list)) and len(padding) == 2
    if not (sequence and any(isinstance(p, (tuple, list)) for p in padding)):
        padding = pair(name, "padding", padding, 0)
    return pair(name, "padding", padding[0], 0), pair(name, "padding", padding[1], 0)
