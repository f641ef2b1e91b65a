"""Layers: ops together with their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..kernels.convolution import Pair
from ..messages import require_numbers
from ..ops.activation import relu, sigmoid
from ..ops.conv import Padding, conv2d, edges_of, pair
from ..ops.elementwise import tanh
from ..ops.linear import linear
from ..ops.pool import avg_pool2d, global_avg_pool2d, max_pool2d
from ..ops.random import dropout, generator
from ..ops.shape import flatten
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

#: settings of all pools
WINDOW = {"kernel_size": None, "stride": None, "padding": None}


class Function(Module):
    """Base of layers that call a function of x and of attributes."""

    function: Any
    #: these attributes, keywords of the function, with values that ``repr`` does not show (None if it shows all)
    settings: Mapping[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self._keywords())

    def _keywords(self) -> dict[str, Any]:
        return {name: getattr(self, name, default) for name, default in self.settings.items()}

    def extra_repr(self) -> str:
        shown = {k: v for k, v in self._keywords().items() if v != self.settings[k]}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


class Weighted(Module):
    """Base of layers with a weight and perhaps a bias."""

    weight: Parameter
    bias: Parameter | None

    def _draw(
        self, shape: tuple[int, ...], outputs: int, bias: bool, inits: Any, rng: Any, dtype: Any
    ) -> None:
        """Draw the weight of ``shape``, then the bias, from one generator."""
        name, rng = type(self).__name__, generator(rng)
        drawn = partial(init.drawn, name, rng=rng, dtype=init.floating_dtype(name, dtype))
        self.weight = Parameter(drawn(inits[0], shape))
        self.bias = Parameter(drawn(inits[1], (outputs,))) if bias else None


class Linear(Weighted):
    """y = x W^T + b over the last axis.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Leave it out before a BatchNorm, whose ``beta`` takes its place (arXiv:1502.03167, section 3.2).
    weight_init, bias_init
        Glorot uniform and zeros by default.
    rng : numpy.random.Generator, optional
        By default the one that ``minigrad.manual_seed`` seeds.
    dtype : NumPy dtype
        float32 by default.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.Linear(3, 2)(mg.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        weight_init: init.Init = init.glorot_uniform,
        bias_init: init.Init = init.zeros,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        init.require_positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        shape = out_features, in_features
        self._draw(shape, out_features, bias, (weight_init, bias_init), rng, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Conv2d(Weighted, Function):
    """``minigrad.conv2d`` with a weight and a bias.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation, groups
        As for ``minigrad.conv2d``; the kernel may be an int for a square.
    bias, weight_init, bias_init, rng, dtype
        As for ``Linear``, but He uniform.

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

    function: Any = staticmethod(conv2d)
    #: whether the weight's first axis is the input's channels
    transposed = False
    settings: Mapping[str, Any] = {"stride": None, "padding": 0, "dilation": 1, "groups": 1}

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
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = self._kernel(kernel_size)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        channels = out_channels, in_channels
        outer, inner = channels[::-1] if self.transposed else channels
        shape = outer, inner // groups, *self.kernel_size
        self._draw(shape, out_channels, bias, (weight_init, bias_init), rng, dtype)

    def _kernel(self, kernel_size: Any) -> tuple[int, ...]:
        return pair(type(self).__name__, "kernel_size", kernel_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, self.bias, **self._keywords())

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        bias = "" if self.bias is not None else ", bias=False"
        return f"{sizes}, {super().extra_repr()}{bias}"


class MaxPool2d(Function):
    """``minigrad.max_pool2d``.

    Parameters
    ----------
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        ``kernel_size`` by default.
    padding, dilation : int or pair of ints
    ceil_mode : bool
    """

    function: Any = staticmethod(max_pool2d)
    settings: Mapping[str, Any] = WINDOW | {"dilation": 1, "ceil_mode": False}

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        stride = kernel_size if stride is None else stride
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode
        for setting in ("kernel_size", "stride", "dilation", "padding"):
            least = 0 if setting == "padding" else 1
            pair(type(self).__name__, setting, getattr(self, setting), least)


class AvgPool2d(MaxPool2d):
    """``minigrad.avg_pool2d``; parameters as MaxPool2d without dilation, and whether padding counts."""

    function = staticmethod(avg_pool2d)
    settings = WINDOW | {"ceil_mode": False, "count_include_pad": True}

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad


class GlobalAvgPool2d(Function):
    """``minigrad.global_avg_pool2d``: (n, channels, height, width) to (n, channels)."""

    function = staticmethod(global_avg_pool2d)


class Flatten(Function):
    """(n, ...) to (n, product of the rest)."""

    function, settings = staticmethod(flatten), {"start_axis": 1}


class Sigmoid(Function):
    """1 / (1 + exp(-x))."""

    function = staticmethod(sigmoid)


class ReLU(Function):
    """max(x, 0)."""

    function = staticmethod(relu)


class Tanh(Function):
    """Hyperbolic tangent."""

    function = staticmethod(tanh)


class Dropout(Module):
    """Zero elements with probability ``p`` in training and scale the rest by 1/(1-p); the identity in eval.

    Parameters
    ----------
    p : float in [0, 1)
    rng : numpy.random.Generator, optional
        By default the default generator at the time of each call.
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None) -> None:
        require_numbers("Dropout", p=p)
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected 0 <= p < 1, got {p}")
        generator(rng)  # raises for what is none
        self.p, self.rng = p, rng

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.rng) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
