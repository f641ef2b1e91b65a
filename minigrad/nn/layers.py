"""The layers: ops with the state they need."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..messages import require_numbers
from ..ops.activation import relu, sigmoid
from ..ops.elementwise import tanh
from ..ops.linear import linear
from ..ops.random import dropout, generator
from ..ops.shape import flatten
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


class Linear(Module):
    """y = x W^T + b over the last axis.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Leave it out before a BatchNorm, whose ``beta`` does its work (arXiv:1502.03167, section 3.2).
    weight_init, bias_init : callable of (shape, rng)
        Glorot uniform and zeros by default.
    rng : numpy.random.Generator, optional
        The default generator, set by ``minigrad.manual_seed``, if left out.
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
        rng = generator(rng)
        self.in_features, self.out_features = in_features, out_features
        drawn = partial(init.drawn, "Linear", rng=rng, dtype=init.floating_dtype("Linear", dtype))
        self.weight = Parameter(drawn(weight_init, (out_features, in_features)))
        self.bias = Parameter(drawn(bias_init, (out_features,))) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return relu(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Dropout(Module):
    """Zeros elements with probability ``p`` in training, scaling the rest by 1/(1-p); does nothing in eval.

    Parameters
    ----------
    p : float in [0, 1)
    rng : numpy.random.Generator, optional
        The default generator at the time of each call, if left out.
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None) -> None:
        require_numbers("Dropout", p=p)
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected 0 <= p < 1, got {p}")
        self.p, self.rng = p, rng

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.rng) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """(n, ...) to (n, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return flatten(x)


class Maxout(Module):
    """The largest of several linear maps (Goodfellow et al. 2013, arXiv:1302.4389): an activation that is learned.

    Parameters
    ----------
    in_features, out_features : int
    pieces : int
        How many maps there are for each output, 2 by default.
    **settings
        As for Linear.

    Attributes
    ----------
    linear : Linear
        With out_features * pieces outputs.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.Maxout(3, 2, pieces=4)(mg.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, pieces: int = 2, **settings: Any
    ) -> None:
        init.require_positive("Maxout", out_features=out_features, pieces=pieces)
        self.pieces = pieces
        self.linear = Linear(in_features, out_features * pieces, **settings)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y.reshape(*x.shape[:-1], y.shape[-1] // self.pieces, self.pieces).max(-1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"
