"""Activations with settings, and the newer ones; ``layers`` has Sigmoid, ReLU and Tanh."""

from __future__ import annotations

from typing import Any

from ..ops.activation import softmax
from ..ops.rectifiers import gelu, leaky_relu, silu, softplus
from ..tensor import Tensor
from .layers import Function
from .module import Module


class Identity(Module):
    """Return the input; arguments are ignored, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class LeakyReLU(Function):
    """``minigrad.leaky_relu``: x where it is positive, ``negative_slope`` x elsewhere."""

    function, settings = staticmethod(leaky_relu), {"negative_slope": None}

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope


class GELU(Function):
    """``minigrad.gelu``, exact or by ``approximate="tanh"``."""

    function, settings = staticmethod(gelu), {"approximate": None}

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate


class SiLU(Function):
    """x sigmoid(x)."""

    function = staticmethod(silu)


class Softplus(Function):
    """``minigrad.softplus``: log(1 + exp(beta x)) / beta."""

    function, settings = staticmethod(softplus), {"beta": None}

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta


class Softmax(Function):
    """``minigrad.softmax`` along ``axis``, the last one by default; losses here take logits, so it is rarely needed."""

    function, settings = staticmethod(softmax), {"axis": None}

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis
