"""Creating tensors: from a shape (zeros, full, eye, ...), of numbers in a row, or as a constant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import backend as backends
from .dtypes import real
from .messages import explained, not_a_tensor, require_numbers
from .ops.shape import require_size
from .ops.shape import sizes as checked
from .tensor import Tensor, literal, tensor


@explained
def full(
    shape: int | Sequence[int],
    value: float,
    *,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of ``shape``, an int or a tuple of them, filled with ``value``; float32 by default.

    Raises
    ------
    TypeError
        For a shape that is not made of integers.
    ValueError
        For negative sizes.
    """
    if not isinstance(value, (np.ndarray, np.generic)):
        require_numbers("full", value=value)
    return _filled("full", (shape,), value, requires_grad, dtype, backend)


@explained
def zeros(
    *sizes: int | Sequence[int],
    shape: int | Sequence[int] | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of zeros, of a shape given as ints or one tuple; float32 by default. It raises as ``full`` does.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.zeros(2, 3).shape, mg.zeros((2, 3)).shape, mg.zeros(()).shape
    ((2, 3), (2, 3), ())
    """
    sizes = sizes if shape is None else (*sizes, shape)
    return _filled("zeros", sizes, 0, requires_grad, dtype, backend)


@explained
def ones(
    *sizes: int | Sequence[int],
    shape: int | Sequence[int] | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of ones, of a shape given as ints or one tuple; float32 by default. It raises as ``full`` does."""
    sizes = sizes if shape is None else (*sizes, shape)
    return _filled("ones", sizes, 1, requires_grad, dtype, backend)


def _filled(
    name: str, shape: Any, value: float, requires_grad: bool, dtype: Any, backend: str | None
) -> Tensor:
    array = np.full(checked(name, shape), value, real(dtype))
    return literal(tensor(array, requires_grad=requires_grad, backend=backend))


def zeros_like(x: Tensor, *, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """Zeros in the shape of x and on its backend; of its dtype by default."""
    return _like("zeros_like", x, 0, requires_grad, dtype)


def ones_like(x: Tensor, *, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """Ones in the shape of x and on its backend; of its dtype by default."""
    return _like("ones_like", x, 1, requires_grad, dtype)


def _like(name: str, x: Any, value: float, requires_grad: bool, dtype: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: {not_a_tensor(x)}")
    dtype = x.dtype if dtype is None else dtype
    with backends.beside(x._data):
        return _filled(name, x.shape, value, requires_grad, dtype, x.backend)


@explained
def eye(
    n: int, m: int | None = None, *, dtype: Any = np.float32, backend: str | None = None
) -> Tensor:
    """A matrix of n rows and m columns (n by default) with ones on its diagonal; float32 by default."""
    shape = checked("eye", (n, n if m is None else m))
    return literal(tensor(np.eye(*shape, dtype=real(dtype)), backend=backend))


@explained
def linspace(
    start: float, stop: float, num: int = 50, *, dtype: Any = np.float32, backend: str | None = None
) -> Tensor:
    """``num`` values at equal distances from ``start`` to ``stop``, both included; float32 by default."""
    require_numbers("linspace", start=start, stop=stop)
    (count,) = checked("linspace, num", (num,))
    return literal(tensor(np.linspace(start, stop, count).astype(real(dtype)), backend=backend))


@explained
def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
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
    require_numbers("arange", start=start, stop=stop, step=step)
    count = (stop - start) / step if step else math.nan
    if not math.isfinite(count):
        raise ValueError(
            f"arange: expected finite numbers and step != 0, got {start}, {stop}, {step}"
        )
    require_size("arange", (math.ceil(count),))
    values = np.arange(float(start), stop, step).astype(dtype)
    return literal(tensor(values, backend=backend))


def constant(data: Any, *, dtype: Any = None, backend: str | None = None) -> Tensor:
    """A tensor that is a constant under capture, like a number in the program: its values are the same in every call.

    ``minigrad.capture`` refuses arrays from outside, since they may differ in the next call. This declares that one
    does not: a table of positions, a filter.

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
    return literal(tensor(data, dtype=dtype, backend=backend))
