"""Random tensors: rand, randn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import floating, real
from .messages import explained
from .ops.random import generator
from .ops.shape import sizes as checked
from .tensor import Tensor, tensor


@explained
def rand(
    *sizes: int | Sequence[int],
    rng: np.random.Generator | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """Random numbers, uniform in [0, 1), of a shape given as ints or one tuple; float32 by default.

    They come from ``rng``, by default the generator that ``manual_seed`` seeds. ``minigrad.capture`` refuses functions
    that draw them, since a graph would repeat the same ones.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    >>> mg.rand(2, 3).shape
    (2, 3)
    """
    return _drawn("random", "rand", sizes, rng, requires_grad, dtype, backend)


@explained
def randn(
    *sizes: int | Sequence[int],
    rng: np.random.Generator | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """Random numbers from the standard normal distribution; otherwise as ``rand``."""
    return _drawn("standard_normal", "randn", sizes, rng, requires_grad, dtype, backend)


def _drawn(
    kind: str, name: str, shape: Any, rng: Any, requires_grad: bool, dtype: Any, backend: Any
) -> Tensor:
    dtype = real(dtype)
    if not floating(dtype):
        raise TypeError(f"{name}: expected a floating dtype, got {dtype}")
    draw = getattr(generator(rng), kind)
    values = draw(checked(name, shape), np.float64 if dtype == np.float64 else np.float32)
    values = np.asarray(values).astype(dtype)
    if kind == "random":
        values[values == 1] = 0  # rounded up to float16 or bfloat16
    return tensor(values, requires_grad=requires_grad, backend=backend)
