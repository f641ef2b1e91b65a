"""Convolutions beside Conv2d: along one axis, and transposed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..kernels.convolution import Pair
from ..ops.conv import Padding, conv1d, conv_transpose2d, pair
from . import init
from .layers import Conv2d


class Conv1d(Conv2d):
    """``minigrad.conv1d`` with a weight (out_channels, in_channels / groups, kernel) and a bias; otherwise as Conv2d.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.Conv1d(3, 16, 5, dilation=2)(mg.ones((2, 3, 20))).shape
    (2, 16, 12)
    """

    function = staticmethod(conv1d)

    def _kernel(self, kernel_size: Any) -> tuple[int, ...]:
        init.require_positive("Conv1d", kernel_size=kernel_size)
        return (kernel_size,)


class ConvTranspose2d(Conv2d):
    """``minigrad.conv_transpose2d`` with a weight (in_channels, out_channels / groups, kernel) and a bias.

    Padding is an int or pairs, not "same" or "valid".

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.ConvTranspose2d(16, 3, 2, stride=2)(mg.ones((2, 16, 4, 4))).shape
    (2, 3, 8, 8)
    """

    function = staticmethod(conv_transpose2d)
    transposed = True
    settings: Mapping[str, Any] = {**Conv2d.settings, "output_padding": 0}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        **settings: Any,
    ) -> None:
        pair(type(self).__name__, "output_padding", output_padding, 0)
        self.output_padding = output_padding
        sizes = kernel_size, stride, padding, dilation
        super().__init__(in_channels, out_channels, *sizes, groups, bias, **settings)
