"""Initial values: functions of a shape and a ``numpy.random.Generator``, returning NumPy arrays.

float32 by default; layers pass their own dtype. A user's initializer needs no ``dtype`` parameter: its values are cast.
A weight's shape is (out, in, ...): fan_in is the number of values that one output sums over, fan_out the number of
outputs that one input contributes to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from ..dtypes import floating, real
from ..messages import missing
from ..ops.random import generator
from ..ops.shape import require_size
from ..tensor import Tensor, tensor

__getattr__ = missing(__name__)
Shape = tuple[int, ...]
RNG = np.random.Generator
Init = Callable[..., Any]


def normal(
    shape: Shape,
    rng: RNG | None = None,
    mean: float = 0.0,
    std: float = 0.01,
    dtype: Any = np.float32,
) -> Any:
    """Gaussian values.

    Examples
    --------
    >>> normal((2, 3), np.random.default_rng(0), std=0.1).shape
    (2, 3)
    """
    require_size("normal", shape)
    return (mean + std * generator(rng).standard_normal(shape)).astype(dtype)


def uniform(
    shape: Shape,
    rng: RNG | None = None,
    low: float = -0.05,
    high: float = 0.05,
    dtype: Any = np.float32,
) -> Any:
    """Values evenly spread over [low, high)."""
    require_size("uniform", shape)
    return generator(rng).uniform(low, high, shape).astype(dtype)


def constant(
    shape: Shape, rng: RNG | None = None, value: float = 0.0, dtype: Any = np.float32
) -> Any:
    """The same value everywhere; ``rng`` is not used."""
    require_size("constant", shape)
    return np.full(shape, value, dtype)


def zeros(shape: Shape, rng: RNG | None = None, dtype: Any = np.float32) -> Any:
    """Zeros; ``rng`` is not used."""
    return constant(shape, rng, 0.0, dtype)


def ones(shape: Shape, rng: RNG | None = None, dtype: Any = np.float32) -> Any:
    """Ones; ``rng`` is not used."""
    return constant(shape, rng, 1.0, dtype)


def glorot_uniform(shape: Shape, rng: RNG | None = None, dtype: Any = np.float32) -> Any:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 16)."""
    fan_in, fan_out = _fans(shape)
    limit = math.sqrt(6 / (fan_in + fan_out))
    return uniform(shape, rng, -limit, limit, dtype)


def glorot_normal(shape: Shape, rng: RNG | None = None, dtype: Any = np.float32) -> Any:
    """Gaussian with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 12)."""
    fan_in, fan_out = _fans(shape)
    return normal(shape, rng, std=math.sqrt(2 / (fan_in + fan_out)), dtype=dtype)


def he_uniform(shape: Shape, rng: RNG | None = None, dtype: Any = np.float32) -> Any:
    """Uniform with variance 2 / fan_in, for ReLU (He et al. 2015, equation 10)."""
    limit = math.sqrt(6 / _fans(shape)[0])
    return uniform(shape, rng, -limit, limit, dtype)


def he_normal(shape: Shape, rng: RNG | None = None, dtype: Any = np.float32) -> Any:
    """Gaussian with variance 2 / fan_in, for ReLU (He et al. 2015, equation 10)."""
    return normal(shape, rng, std=math.sqrt(2 / _fans(shape)[0]), dtype=dtype)


def _fans(shape: Shape) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) < 2 or 0 in shape:
        raise ValueError(f"init: expected a weight of shape (out, in, ...), got {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def drawn(layer: str, init: Init, shape: Shape, rng: RNG, dtype: Any) -> Tensor:
    """Call an initializer for a layer's parameter; raise if it is not callable or returns another shape."""
    if not callable(init):
        raise TypeError(
            f"{layer}: expected an initializer, a function of (shape, rng), got {init!r}; "
            "functools.partial(nn.init.constant, value=0.1) is one"
        )
    dtype = real(dtype)
    settings = {"dtype": dtype} if "dtype" in signature(init).parameters else {}
    values = tensor(init(shape, rng, **settings), dtype=dtype)
    if values.shape != shape:
        raise ValueError(f"{layer}: expected an initial value of shape {shape}, got {values.shape}")
    return values


def floating_dtype(layer: str, dtype: Any) -> np.dtype:
    """``dtype`` as a NumPy dtype; TypeError unless it is a floating one, naming the layer."""
    found = real(dtype)
    if not floating(found):
        raise TypeError(f"{layer}: expected a floating dtype, got {found}")
    return found


def require_positive(layer: str, **sizes: int) -> None:
    """Raise ValueError for a size that is not a positive integer, naming the layer."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{layer}: expected {name} to be a positive integer, got {size!r}")
        require_size(f"{layer}, {name}", (size,))
