"""Activations with settings, and the newer ones; ``layers`` has Sigmoid, ReLU and Tanh."""

from __future__ import annotations

from typing import Any

from ..ops.activation import gelu, leaky_relu, silu, softmax, softplus
from ..tensor import Tensor
from .module import Module


class Identity(Module):
    """Return the input; arguments are ignored, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class LeakyReLU(Module):
    """``minigrad.leaky_relu``: x where it is positive, ``negative_slope`` x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """``minigrad.gelu``, exact or by ``approximate="tanh"``."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return silu(x)


class Softplus(Module):
    """``minigrad.softplus``: log(1 + exp(beta x)) / beta."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return softplus(x, self.beta)

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class Softmax(Module):
    """``minigrad.softmax`` along ``axis``, the last one by default; losses here take logits, so it is rarely needed."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"
