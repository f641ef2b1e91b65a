"""Convolutions and pools as layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..kernels.convolution import Pair
from ..ops.conv import conv1d, conv2d, conv_transpose2d
from ..ops.pool import avg_pool2d, global_avg_pool2d, max_pool2d
from ..ops.random import generator
from ..ops.windows import Padding, edges_of, pair
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


class Conv2d(Module):
    """``minigrad.conv2d`` with a weight and a bias.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation, groups
        As for ``minigrad.conv2d``; the kernel may be an int for a square.
    bias : bool
        Leave it out before a BatchNorm, whose ``beta`` does its work (arXiv:1502.03167, section 3.2).
    weight_init, bias_init : callable of (shape, rng)
        He uniform and zeros by default.
    rng : numpy.random.Generator, optional
        The default generator, set by ``minigrad.manual_seed``, if left out.
    dtype : NumPy dtype
        float32 by default.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels / groups, kernel height, kernel width)
    bias : Parameter, shape (out_channels,), or None

    Examples
    --------
    >>> import minigrad as mg
    >>> layer = mg.nn.Conv2d(3, 16, 3, padding=1, bias=False)
    >>> layer
    Conv2d(3, 16, kernel_size=(3, 3), stride=1, padding=1, bias=False)
    >>> layer(mg.ones((2, 3, 8, 8))).shape
    (2, 16, 8, 8)
    """

    #: axes of the weight after the first two
    dims = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        weight_init: init.Init = init.he_uniform,
        bias_init: init.Init = init.zeros,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        init.require_positive(
            name, in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: expected groups to divide {in_channels} and {out_channels} channels, got {groups}"
            )
        for setting, value in (("stride", stride), ("dilation", dilation)):
            pair(name, setting, value, 1)
        if padding not in ("same", "valid"):
            edges_of(name, padding)
        rng = generator(rng)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = self._kernel(kernel_size)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        drawn = partial(init.drawn, name, rng=rng, dtype=init.floating_dtype(name, dtype))
        self.weight = Parameter(drawn(weight_init, self._shape()))
        self.bias = Parameter(drawn(bias_init, (out_channels,))) if bias else None

    def _kernel(self, kernel_size: Any) -> tuple[int, ...]:
        return pair(type(self).__name__, "kernel_size", kernel_size, 1)

    def _shape(self) -> tuple[int, ...]:
        return self.out_channels, self.in_channels // self.groups, *self.kernel_size

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, *self._settings())

    def _settings(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}"]
        parts.append(f"stride={self.stride}")
        defaults = {"padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        for name, default in defaults.items():
            if (value := getattr(self, name, default)) != default:
                parts.append(f"{name}={value!r}")
        return ", ".join([*parts, *([] if self.bias is not None else ["bias=False"])])


class Conv1d(Conv2d):
    """``minigrad.conv1d`` with a weight (out_channels, in_channels / groups, kernel) and a bias; as Conv2d else.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.Conv1d(3, 16, 5, dilation=2)(mg.ones((2, 3, 20))).shape
    (2, 16, 12)
    """

    dims = 1

    def _kernel(self, kernel_size: Any) -> tuple[int, ...]:
        init.require_positive("Conv1d", kernel_size=kernel_size)
        return (kernel_size,)

    def forward(self, x: Tensor) -> Tensor:
        return conv1d(x, self.weight, self.bias, *self._settings())


class ConvTranspose2d(Conv2d):
    """``minigrad.conv_transpose2d`` with a weight (in_channels, out_channels / groups, kernel) and a bias.

    Parameters are those of Conv2d, without "same" and "valid", and ``output_padding``.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.ConvTranspose2d(16, 3, 2, stride=2)(mg.ones((2, 16, 4, 4))).shape
    (2, 3, 8, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        output_padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        **settings: Any,
    ) -> None:
        pair(type(self).__name__, "output_padding", output_padding, 0)
        self.output_padding = output_padding
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, **settings
        )

    def _shape(self) -> tuple[int, ...]:
        return self.in_channels, self.out_channels // self.groups, *self.kernel_size

    def forward(self, x: Tensor) -> Tensor:
        stride, padding, *others = self._settings()
        return conv_transpose2d(
            x, self.weight, self.bias, stride, padding, self.output_padding, *others
        )


class MaxPool2d(Module):
    """``minigrad.max_pool2d``.

    Parameters
    ----------
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        ``kernel_size`` if left out.
    padding : int or pair of ints
    """

    function = staticmethod(max_pool2d)

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        least = {"kernel_size": 1, "stride": 1, "padding": 0}
        for setting, smallest in least.items():
            pair(type(self).__name__, setting, getattr(self, setting), smallest)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(MaxPool2d):
    """``minigrad.avg_pool2d``; parameters as MaxPool2d."""

    function = staticmethod(avg_pool2d)


class GlobalAvgPool2d(Module):
    """``minigrad.global_avg_pool2d``: (n, channels, height, width) to (n, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return global_avg_pool2d(x)
