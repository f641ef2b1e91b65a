"""Tensors from a shape: zeros, ones, full, arange; and those that never change: constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tensor import Tensor, tensor, written_out


def full(
    shape: int | tuple[int, ...],
    value: float,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of ``shape`` filled with ``value``, float32 by default."""
    return written_out(tensor(np.full(shape, value, dtype), requires_grad, backend=backend))


def zeros(
    shape: int | tuple[int, ...],
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of zeros, float32 by default."""
    return full(shape, 0, requires_grad, dtype, backend)


def ones(
    shape: int | tuple[int, ...],
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of ones, float32 by default."""
    return full(shape, 1, requires_grad, dtype, backend)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """Values from ``start`` (0 if ``stop`` is left out) up to, not including, ``stop``; float32 by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.arange(3), mg.arange(2, 4, dtype="int64")
    (Tensor([0., 1., 2.]), Tensor([2, 3], dtype=int64))
    """
    if stop is None:
        start, stop = 0.0, start
    values = np.arange(float(start), stop, step).astype(dtype)
    return written_out(tensor(values, backend=backend))


def constant(data: Any, dtype: Any = None, backend: str | None = None) -> Tensor:
    """A tensor whose values belong to the program, as numbers written in it do: they are the same in every call.

    ``minigrad.capture`` refuses arrays that come in from outside, which might be others the next time. This says of one
    that it won't: a table of positions, a filter.

    Parameters
    ----------
    data, dtype, backend
        As for ``minigrad.tensor``.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> window = np.hanning(5)
    >>> graph = mg.capture(lambda x: x * mg.constant(window, dtype="float32"), mg.ones(5))
    >>> graph(mg.ones(5) * 2)
    Tensor([0., 1., 2., 1., 0.])
    """
    return written_out(tensor(data, dtype=dtype, backend=backend))
