"""The layers: ops with the state they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..op import Op
from ..ops.activation import relu, sigmoid
from ..ops.batch_norm import batch_norm, frozen_batch_norm, kept_axes
from ..ops.checks import require_dtype
from ..ops.elementwise import tanh
from ..ops.linear import linear
from ..ops.random import dropout, generator
from ..tensor import Tensor, apply
from . import init
from .module import Buffer, Module, Parameter

Init = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


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
        weight_init: Init = init.glorot_uniform,
        bias_init: Init = init.zeros,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        _require_positive("Linear", in_features=in_features, out_features=out_features)
        rng = generator(rng)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(weight_init((out_features, in_features), rng), dtype)
        self.bias = Parameter(bias_init((out_features,), rng), dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class BatchNorm(Module):
    """Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167).

    In training it normalizes by the statistics of the batch (``minigrad.batch_norm``, Algorithm 1) and moves the
    running ones, once per forward::

        running = momentum * running + (1 - momentum) * batch

    with the batch's variance corrected by m/(m-1) (Algorithm 2, line 10). In eval it normalizes by the running
    statistics (``minigrad.frozen_batch_norm``, Algorithm 2, line 11).

    Parameters
    ----------
    num_features : int or tuple of ints
        The sizes of the kept axes, in their order in the input.
    axis : int or tuple of ints
        The axes that keep statistics of their own, 1 by default.
    momentum : float in [0, 1], or None
        How much of the running statistics stays, 0.99 by default, as in TensorFlow, Keras and Flax; PyTorch's momentum
        is one minus it. None makes them the plain average over all batches so far.
    epsilon : float
        Added to the variance, under the square root.
    center, scale : bool
        Whether there is a ``beta``, and a ``gamma``.
    beta_init, gamma_init : callable of (shape, rng)
        Zeros and ones by default.
    dtype : NumPy dtype
        Of parameters and buffers, float32 by default, which also serves float16 inputs.

    Attributes
    ----------
    gamma, beta : Parameter, shape of ``num_features``, or None
    running_mean, running_var : Buffer, shape of ``num_features``
        0 and 1 at first.
    num_batches : Buffer, int64, shape ()
        Training batches seen.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm(2, momentum=0.5)
    >>> y = bn(mg.tensor([[1, 10], [3, 30]]))
    >>> bn.running_mean, bn.running_var
    (Tensor([ 1., 10.]), Tensor([  1.5, 100.5]))
    """

    def __init__(
        self,
        num_features: int | tuple[int, ...],
        axis: int | tuple[int, ...] = 1,
        momentum: float | None = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_init: Init = init.zeros,
        gamma_init: Init = init.ones,
        dtype: Any = np.float32,
    ) -> None:
        shape = num_features if isinstance(num_features, tuple) else (num_features,)
        for size in shape or (0,):
            _require_positive("BatchNorm", num_features=size)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm: expected momentum in [0, 1] or None, got {momentum}")
        if not epsilon > 0:
            raise ValueError(f"BatchNorm: expected epsilon > 0, got {epsilon}")
        axes = 1 if isinstance(axis, int) else len(axis)
        if axes != len(shape):
            raise ValueError(
                f"BatchNorm: expected one axis per feature dimension, got axis={axis} for "
                f"num_features={num_features}"
            )
        rng = generator(None)
        self.num_features = num_features
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma = Parameter(gamma_init(shape, rng), dtype) if scale else None
        self.beta = Parameter(beta_init(shape, rng), dtype) if center else None
        self.running_mean = Buffer(np.zeros(shape, dtype))
        self.running_var = Buffer(np.ones(shape, dtype))
        self.num_batches = Buffer(np.zeros((), np.int64))

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self._by_batch(x) if self.training else self._by_running(x)
        except ValueError:
            self._refuse(x)
            raise

    def _by_batch(self, x: Tensor) -> Tensor:
        y, mean, var = batch_norm(x, self.gamma, self.beta, self.axis, self.epsilon)
        running = self.running_mean._data
        if mean._data.shape != running.shape:
            raise ValueError
        if mean._data.dtype != running.dtype:
            require_dtype("BatchNorm", mean.dtype, running_mean=self.running_mean)
        move = move_statistics(self.momentum, x._data.size // running.size)
        apply(move, self.running_mean, self.running_var, self.num_batches, mean, var)
        return y

    def _by_running(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return frozen_batch_norm(x, self.gamma, self.beta, mean, var, self.axis, self.epsilon)

    def _refuse(self, x: Tensor) -> None:
        """Say in the layer's words what the op would call a wrong shape of gamma."""
        _, features, _ = kept_axes("BatchNorm", x.shape, self.axis)
        if features != self.running_mean.shape:
            raise ValueError(
                f"BatchNorm: expected {self.num_features} features along axis {self.axis}, "
                f"got an input of shape {x.shape}"
            ) from None

    def extra_repr(self) -> str:
        parts = [f"{self.num_features}", f"axis={self.axis}", f"momentum={self.momentum}"]
        parts += [f"epsilon={self.epsilon}"]
        parts += [] if self.beta is not None else ["center=False"]
        parts += [] if self.gamma is not None else ["scale=False"]
        return ", ".join(parts)


@lru_cache(maxsize=1024)
def move_statistics(momentum: float | None, m: int) -> MoveStatistics:
    """The op for batches of m values per channel."""
    return MoveStatistics(momentum, m / (m - 1))


class MoveStatistics(Op):
    """The running statistics, moved towards a batch's; ``correction`` makes its variance unbiased."""

    writes = 3
    __slots__ = ("correction", "momentum")

    def __init__(self, momentum: float | None, correction: float) -> None:
        self.momentum, self.correction = momentum, correction

    def forward(self, k: Any, *arrays: Any) -> None:
        k.move_statistics(*arrays, self.momentum, self.correction)


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
        if x.ndim < 2:
            raise ValueError(f"Flatten: expected at least 2 axes, got shape {x.shape}")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _require_positive(layer: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{layer}: expected {name} to be a positive integer, got {size}")
