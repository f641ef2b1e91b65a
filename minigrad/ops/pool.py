"""Pooling: one number for each window of an image, channel by channel.

Max pooling takes the largest value, the first of equals, and its gradient goes there; average pooling takes the mean,
and its gradient is spread evenly. Both are linear once the position of each maximum is known, so the ops come in pairs,
each the derivative of the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.convolution import Pair, Window, first_inside
from ..tensor import Tensor, apply, literal, tensor
from .conv import Windowed, make_window, pair, require_images

#: positions in a window are saved as int16
PLACES = 2**15 - 1


class MaxPool2d(Windowed):
    """The maxima, and their positions in the windows."""

    num_outputs = 2
    saves_inputs = False
    saves_outputs = (1,)

    def __init__(self, window: Window, size: Pair) -> None:
        super().__init__(window, size)
        places = window.size[0] * window.size[1]
        if places > PLACES:
            raise ValueError(
                f"max_pool2d: expected windows of at most {PLACES} values, got {places}; pool rows, then columns"
            )
        for axis, first in zip(("height", "width"), first_inside(size, window), strict=True):
            if (first < 0).any():
                raise ValueError(
                    f"max_pool2d: a window covers only padding along the {axis}: images of {size}, {window}"
                )

    def forward(self, k: Any, x: Any) -> Any:
        return k.max_pool2d(x, self.window)

    def backward(self, node: Any, needs: Any, gy: Tensor | None, gplace: Tensor | None) -> Any:
        (place,) = node.outputs
        grad = MaxPool2dGrad(self.window, self.size)
        return None if gy is None else apply(grad, gy, place.detach())


class MaxPool2dGrad(Windowed):
    """Scatter: each number goes to a position in its window; numbers at the same pixel are added up."""

    saves_inputs = slice(1, 2)

    def forward(self, k: Any, gy: Any, place: Any) -> Any:
        return k.max_pool2d_grad(gy, place, self.window, self.size)

    def backward(self, node: Any, needs: Any, gx: Tensor) -> Any:
        (place,) = node.inputs
        return apply(MaxPool2dGather(self.window, self.size), gx, place), None


class MaxPool2dGather(Windowed):
    """Gather: the number at a position in each window."""

    saves_inputs = slice(1, 2)

    def forward(self, k: Any, x: Any, place: Any) -> Any:
        return k.pick(x, place, self.window)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (place,) = node.inputs
        return apply(MaxPool2dGrad(self.window, self.size), gy, place), None


class SumPool2d(Windowed):
    saves_inputs = False

    def forward(self, k: Any, x: Any) -> Any:
        return k.sum_pool2d(x, self.window)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return apply(SumPool2dGrad(self.window, self.size), gy)


class SumPool2dGrad(Windowed):
    """Each number goes to all positions in its window."""

    saves_inputs = False

    def forward(self, k: Any, gy: Any) -> Any:
        return k.sum_pool2d_grad(gy, self.window, self.size)

    def backward(self, node: Any, needs: Any, gx: Tensor) -> Any:
        return apply(SumPool2d(self.window, self.size), gx)


def max_pool2d(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window; of equal values the first gets the gradient, as in PyTorch.

    Parameters
    ----------
    x : Tensor, shape (n, channels, height, width)
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        ``kernel_size``, so that windows do not overlap, if left out.
    padding : int or pair of ints
        A frame of minus infinity, at most half of the window; none by default.
    dilation : int or pair of ints
        The distance of neighbours in a window.
    ceil_mode : bool
        Whether there are also windows that reach beyond the frame, if they start before its end.

    Returns
    -------
    Tensor, shape (n, channels, output height, output width)

    Raises
    ------
    ValueError
        If the window does not fit, saying along which axis, is half padding, or has more than 32,767 values.
    TypeError
        If x is not a Tensor of floating dtype.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.max_pool2d(mg.arange(16).reshape(1, 1, 4, 4), 2)[0, 0]
    Tensor([[ 5.,  7.],
            [13., 15.]])
    """
    window, _ = _window("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    y, _ = apply(MaxPool2d(window, (x.shape[2], x.shape[3])), x)
    return y


def avg_pool2d(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window. Arguments and errors are ``max_pool2d``'s, but for the dilation, and for

    Parameters
    ----------
    count_include_pad : bool
        Whether padding counts as zeros, as by default in PyTorch, or not at all. What ``ceil_mode`` adds never counts.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.avg_pool2d(mg.arange(16).reshape(1, 1, 4, 4), 2)[0, 0]
    Tensor([[ 2.5,  4.5],
            [10.5, 12.5]])
    """
    window, frame = _window("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    size = x.shape[2], x.shape[3]
    total = apply(SumPool2d(window, size), x.widened())
    counted = frame if count_include_pad else (0, 0)
    edges = [(b - c, a - c) for c, (b, a) in zip(counted, window.padding, strict=True)]
    if edges == [(0, 0), (0, 0)]:
        return (total / (window.size[0] * window.size[1])).astype(x.dtype)
    # What counts are ones, in images that are larger by the counted frame; the rest of the padding counts as zeros.
    size = size[0] + 2 * counted[0], size[1] + 2 * counted[1]
    ones = literal(tensor(np.ones((1, 1, *size)), dtype=total.dtype, backend=x.backend))
    counts = apply(SumPool2d(window._replace(padding=(edges[0], edges[1])), size), ones)
    return (total / counts).astype(x.dtype)


def global_avg_pool2d(x: Tensor) -> Tensor:
    """The mean of each channel, (n, channels, height, width) to (n, channels) (Lin et al. 2014, arXiv:1312.4400)."""
    require_images("global_avg_pool2d", x)
    return x.mean((2, 3))


def _window(
    name: str, x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> tuple[Window, Pair]:
    """The window, and the padding without what ``ceil`` adds at the ends."""
    require_images(name, x)
    kernel = pair(name, "kernel_size", kernel_size, 1)
    frame = pair(name, "padding", padding, 0)
    spread = pair(name, "dilation", dilation, 1)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, spread, strict=True)]
    if any(2 * p > span for p, span in zip(frame, spans, strict=True)):
        raise ValueError(
            f"{name}: expected padding of at most half of the window, got {frame} for {kernel}"
        )
    strides = pair(name, "stride", kernel if stride is None else stride, 1)
    edges = [(p, p) for p in frame]
    for i, (n, span, s, p) in enumerate(zip(x.shape[2:], spans, strides, frame, strict=True)):
        last = -(-(n + 2 * p - span) // s) * s  # where the last window starts in the padded image
        last -= s if last >= n + p else 0
        if ceil and last >= 0:
            edges[i] = p, p + max(last + span - n - 2 * p, 0)
    return make_window(name, x.shape, kernel, strides, (edges[0], edges[1]), spread), frame
