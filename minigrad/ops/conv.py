"""Convolution over two axes, its transpose, and the windows that pooling shares.

With stride s, padding p and dilation d, for each image and output channel o::

    y[o, i, j] = b[o] + sum over c, a, b of w[o, c, a, b] x[c, s i + d a - p, s j + d b - p]

a small pattern is searched for at every position. (Signal processing calls it a cross-correlation; LeCun et al. 1998.)
The sum is linear in x and in w, so <gy, conv(x, w)> is a trilinear form, and the three ops below are its derivatives:
the backward pass of each consists of the other two.
"""

from __future__ import annotations

from typing import Any

from ..kernels.convolution import Pair, Window, positions
from ..op import Op
from ..tensor import Tensor, apply
from .checks import require_dtype, require_floating, require_tensor
from .shape import pad, require_size

Padding = int | str | tuple[Any, Any]

#: the largest stride, padding, dilation, kernel and padded size
LARGEST = 2**31 - 1


class Windowed(Op):
    """Base of the ops of convolution and pooling: the window, and the size of the images.

    Kernels get at least one product to add up; without images, channels or outputs the result is zeros.
    """

    __slots__ = ("size", "window")

    def __init__(self, window: Window, size: Pair) -> None:
        self.window, self.size = window, size


class Conv2d(Windowed):
    def reference(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The sum over the positions in the window, each a product of matrices."""
        window, (n, c), o = self.window, x.shape[:2], weight.shape[0]
        padded = pad(x, [(0, 0), (0, 0), *window.padding])
        (h, w), groups = window.output_size(self.size), window.groups
        y: Any = 0
        for i, j, rows, columns in positions((h, w), window):
            seen = padded[:, :, rows, columns].reshape(n, groups, c // groups, h * w)
            y = y + weight[:, :, i, j].reshape(groups, o // groups, c // groups) @ seen
        y = y.reshape(n, o, h, w)
        return y if bias is None else y + bias.reshape(-1, 1, 1)

    def forward(self, k: Any, x: Any, weight: Any, bias: Any) -> Any:
        if x.size and weight.size:
            return k.conv2d(x, weight, bias, self.window)
        y = k.xp.zeros((len(x), len(weight), *self.window.output_size(self.size)), x.dtype)
        return y if bias is None else y + bias.reshape(-1, 1, 1)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        x, weight, _ = node.inputs
        gx = apply(InputGrad(self.window, self.size), gy, weight) if needs[0] else None
        gweight = apply(WeightGrad(self.window, self.size), x, gy) if needs[1] else None
        return gx, gweight, gy.sum((0, 2, 3)) if needs[2] else None


class InputGrad(Windowed):
    """The gradient for x, or transposed convolution: each output's gradient is spread over its window."""

    def forward(self, k: Any, gy: Any, weight: Any) -> Any:
        if gy.size and weight.size:
            return k.conv2d_input_grad(gy, weight, self.window, self.size)
        channels = weight.shape[1] * self.window.groups
        return k.xp.zeros((len(gy), channels, *self.size), gy.dtype)

    def backward(self, node: Any, needs: Any, gx: Tensor) -> Any:
        gy, weight = node.inputs
        ggy = apply(Conv2d(self.window, self.size), gx, weight, None) if needs[0] else None
        gweight = apply(WeightGrad(self.window, self.size), gx, gy) if needs[1] else None
        return ggy, gweight


class WeightGrad(Windowed):
    """The gradient for the weight: the correlation of each position in the window with each output."""

    def forward(self, k: Any, x: Any, gy: Any) -> Any:
        if x.size and gy.size:
            return k.conv2d_weight_grad(x, gy, self.window)
        channels = x.shape[1] // self.window.groups
        return k.xp.zeros((gy.shape[1], channels, *self.window.size), x.dtype)

    def backward(self, node: Any, needs: Any, gweight: Tensor) -> Any:
        x, gy = node.inputs
        gx = apply(InputGrad(self.window, self.size), gy, gweight) if needs[0] else None
        ggy = apply(Conv2d(self.window, self.size), x, gweight, None) if needs[1] else None
        return gx, ggy


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of images.

    Before a batch norm leave the bias out: the mean takes it away again (arXiv:1502.03167, section 3.2).

    Parameters
    ----------
    x : Tensor, shape (n, channels, height, width)
    weight : Tensor, shape (out, channels / groups, kernel height, kernel width)
    bias : Tensor, shape (out,), optional
    stride, dilation : int or pair of ints
        Steps of the window, and of the positions within it: 1 by default.
    padding : int, pair of ints, pair of (before, after) pairs, "same" or "valid"
        Zeros around the images, none by default. "same" makes the output ceil(size / stride), and puts the odd zero
        after, as TensorFlow does; "valid" is 0.
    groups : int
        The number of groups into which channels and outputs are divided, each convolved separately;
        ``groups=channels`` is a depthwise convolution.

    Returns
    -------
    Tensor, shape (n, out, output height, output width)
        With size + padding - dilation (kernel - 1) - 1, divided by stride and rounded down, plus 1.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the window is larger than the padded image, saying along which axis.
    TypeError
        If an argument is no Tensor or the dtypes differ.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.conv2d(mg.ones((1, 1, 3, 3)), mg.ones((1, 1, 2, 2)), stride=1).shape
    (1, 1, 2, 2)
    >>> mg.conv2d(mg.ones((1, 1, 3, 3)), mg.ones((1, 1, 2, 2)), padding="same")[0, 0]
    Tensor([[4., 4., 2.],
            [4., 4., 2.],
            [2., 2., 1.]])
    """
    return _convolved("conv2d", x, weight, bias, stride, padding, dilation, groups)


def _convolved(name: str, x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    """``conv2d`` for the function ``name``."""
    outputs = _checked(name, x, weight, bias, settings[-1], transposed=False)
    window = make_window(name, x.shape, (weight.shape[2], weight.shape[3]), *settings)
    size = x.shape[2], x.shape[3]
    require_size(name, (len(x), outputs, *window.output_size(size)))
    return apply(Conv2d(window, size), x, weight, bias)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of sequences: x (n, channels, length), weight (out, channels / groups, kernel).

    ``padding`` is an int, a (before, after) pair, "same" or "valid"; else as ``conv2d``.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.conv1d(mg.arange(5).reshape(1, 1, 5), mg.tensor([[[1, -1]]]), stride=2)
    Tensor([[[-1., -1.]]])
    """
    for name, t in (("x", x), ("weight", weight)):
        require_floating("conv1d", t)
        if t.ndim != 3:
            raise ValueError(f"conv1d: expected {name} of three axes, got shape {t.shape}")
    flat = padding if isinstance(padding, str) else ((0, 0), pair("conv1d", "padding", padding, 0))
    rows, kernels = (t.reshape(*t.shape[:2], 1, t.shape[2]) for t in (x, weight))
    y = _convolved("conv1d", rows, kernels, bias, (1, stride), flat, (1, dilation), groups)
    return y.reshape(*y.shape[:2], y.shape[3])


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | tuple[Any, Any] = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Tensor:
    """The transpose of a convolution, which spreads each value over a window: images become larger.

    It is the gradient for its input of the ``conv2d`` with the same weight, stride, padding and dilation.

    Parameters
    ----------
    x : Tensor, shape (n, channels, height, width)
    weight : Tensor, shape (channels, out / groups, kernel height, kernel width)
    bias : Tensor, shape (out,), optional
    stride, padding, dilation, groups
        As for ``conv2d``, without "same" and "valid"; the padding is cut off from the output.
    output_padding : int or pair of ints
        Rows and columns more at the end, less than the stride or the dilation: several sizes of an input convolve to
        one, and this chooses among them.

    Returns
    -------
    Tensor, shape (n, out, output height, output width)
        With (size - 1) stride - padding + dilation (kernel - 1) + output_padding + 1.

    Raises
    ------
    ValueError, TypeError
        As ``conv2d``; also for padding that leaves nothing.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.conv_transpose2d(mg.ones((1, 1, 2, 2)), mg.ones((1, 1, 2, 2)), stride=2).shape
    (1, 1, 4, 4)
    """
    name = "conv_transpose2d"
    outputs = _checked(name, x, weight, bias, groups, transposed=True)
    extra = pair(name, "output_padding", output_padding, 0)
    strides, dilations = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
    edges = edges_of(name, padding)
    size = []
    for i, axis in enumerate(("height", "width")):
        if extra[i] >= max(strides[i], dilations[i]):
            raise ValueError(
                f"{name}: expected output_padding below the stride or the dilation, got {extra[i]} "
                f"with stride {strides[i]} and dilation {dilations[i]} along the {axis}"
            )
        reach = (weight.shape[2 + i] - 1) * dilations[i]
        size.append((x.shape[2 + i] - 1) * strides[i] - sum(edges[i]) + reach + extra[i] + 1)
        if x.shape[2 + i] < 1 or size[i] < 1:
            raise ValueError(
                f"{name}: padding {edges[i]} leaves nothing of the {axis} of x {x.shape}"
            )
    window = Window((weight.shape[2], weight.shape[3]), strides, edges, dilations, groups)
    require_padded(name, (len(x), outputs, *size), window)
    if bias is None:
        return _spread(x, weight, window, size, extra)
    y = _spread(x.widened(), weight.widened(), window, size, extra)
    return (y + bias.reshape(-1, 1, 1).widened()).astype(x.dtype)


def _spread(x: Tensor, weight: Tensor, window: Window, size: list[int], extra: Pair) -> Tensor:
    """The transposed convolution of x: images of ``size``, ``extra`` rows and columns of it included."""
    (top, bottom), (left, right) = window.padding
    if all(e < s for e, s in zip(extra, window.stride, strict=True)):
        return apply(InputGrad(window, (size[0], size[1])), x, weight)
    # A convolution of this size would have more windows than x has values, so the rows and columns beyond all windows
    # are added afterwards.
    whole = size[0] - extra[0] + top + bottom, size[1] - extra[1] + left + right
    y = apply(InputGrad(window._replace(padding=((0, 0), (0, 0))), whole), x, weight)
    y = pad(y, [(0, 0), (0, 0), (0, extra[0]), (0, extra[1])])
    return y[:, :, top : top + size[0], left : left + size[1]]


def _checked(
    name: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, transposed: bool
) -> int:
    """The number of output channels; TypeError or ValueError for arguments that do not fit together."""
    require_images(name, x)
    require_tensor(name, weight=weight, bias=bias)
    channels = x.shape[1]
    shape = () if weight is None else weight.shape
    if len(shape) != 4 or 0 in shape[2:] or (transposed and shape[0] != channels):
        first = f"{channels}, out / groups" if transposed else "out, channels / groups"
        raise ValueError(
            f"{name}: expected weight of shape ({first}, kernel height, kernel width)"
            f"{f' for x {x.shape}' if transposed else ''}, got {None if weight is None else shape}"
        )
    if not hasattr(groups, "__index__") or groups < 1 or shape[0] % groups:
        raise ValueError(
            f"{name}: expected groups to divide the {shape[0]} of weight's first axis, got {groups}"
        )
    if not transposed and channels != shape[1] * groups:
        raise ValueError(
            f"{name}: expected x of {shape[1] * groups} channels for weight {shape} and groups={groups}, "
            f"got x {x.shape}"
        )
    outputs = shape[1] * groups if transposed else shape[0]
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"{name}: expected bias of shape ({outputs},), got {bias.shape}")
    require_dtype(name, x, weight=weight, bias=bias)
    return outputs


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
