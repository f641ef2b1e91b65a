"""Initial values: functions of a shape and a ``numpy.random.Generator``, returning NumPy arrays (float32).

A weight's shape is (out, in, ...): fan_in is what one output sums over, fan_out what one input feeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.random import generator
from ..ops.shape import require_size

Shape = tuple[int, ...]
RNG = np.random.Generator
Init = Callable[[Shape, RNG], Any]


def normal(shape: Shape, rng: RNG | None = None, mean: float = 0.0, std: float = 0.01) -> Any:
    """Gaussian values.

    Examples
    --------
    >>> normal((2, 3), np.random.default_rng(0), std=0.1).shape
    (2, 3)
    """
    require_size("normal", shape)
    return (mean + std * generator(rng).standard_normal(shape)).astype(np.float32)


def uniform(shape: Shape, rng: RNG | None = None, low: float = -0.05, high: float = 0.05) -> Any:
    """Values evenly spread over [low, high)."""
    require_size("uniform", shape)
    return generator(rng).uniform(low, high, shape).astype(np.float32)


def constant(shape: Shape, rng: RNG | None = None, value: float = 0.0) -> Any:
    """The same value everywhere; ``rng`` is not used."""
    require_size("constant", shape)
    return np.full(shape, value, np.float32)


def zeros(shape: Shape, rng: RNG | None = None) -> Any:
    """Zeros; ``rng`` is not used."""
    return constant(shape, rng, 0.0)


def ones(shape: Shape, rng: RNG | None = None) -> Any:
    """Ones; ``rng`` is not used."""
    return constant(shape, rng, 1.0)


def glorot_uniform(shape: Shape, rng: RNG | None = None) -> Any:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 16)."""
    fan_in, fan_out = _fans(shape)
    limit = math.sqrt(6 / (fan_in + fan_out))
    return uniform(shape, rng, -limit, limit)


def glorot_normal(shape: Shape, rng: RNG | None = None) -> Any:
    """Gaussian with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 12)."""
    fan_in, fan_out = _fans(shape)
    return normal(shape, rng, std=math.sqrt(2 / (fan_in + fan_out)))


def he_uniform(shape: Shape, rng: RNG | None = None) -> Any:
    """Uniform with variance 2 / fan_in, for ReLU (He et al. 2015, equation 10)."""
    limit = math.sqrt(6 / _fans(shape)[0])
    return uniform(shape, rng, -limit, limit)


def he_normal(shape: Shape, rng: RNG | None = None) -> Any:
    """Gaussian with variance 2 / fan_in, for ReLU (He et al. 2015, equation 10)."""
    return normal(shape, rng, std=math.sqrt(2 / _fans(shape)[0]))


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"init: expected a weight of shape (out, in, ...), got {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def require_positive(layer: str, **sizes: int) -> None:
    """Raise ValueError for a size that is no positive integer, naming the layer."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{layer}: expected {name} to be a positive integer, got {size}")
        require_size(f"{layer}, {name}", (size,))
