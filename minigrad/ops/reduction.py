"""Sums, products, means, variances and extremes over axes."""

from __future__ import annotations

import math
from functools import lru_cache
from operator import index
from typing import Any

from ..messages import require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .arithmetic import where
from .methods import Axes, method


class Reduction(Op):
    """Base of the reductions: the axes (non-negative), and the shape of the input."""

    __slots__ = ("axes", "keepdims", "shape")

    def __init__(self, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> None:
        if not isinstance(keepdims, bool):
            name = type(self).__name__.lower()
            raise TypeError(f"{name}: expected keepdims as a bool, got {keepdims!r}")
        self.axes, self.keepdims, self.shape = axes, keepdims, shape

    def expand(self, y: Tensor) -> Tensor:
        """Broadcast a result of this reduction to the shape of the input."""
        if not self.keepdims:
            wide = tuple(1 if i in self.axes else n for i, n in enumerate(self.shape))
            y = y.reshape(wide)
        return y.broadcast_to(self.shape)


class Sum(Reduction):
    saves_inputs = False

    def forward(self, k: Any, x: Any) -> Any:
        return k.sum(x, self.axes, self.keepdims)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return self.expand(gy)


class Max(Reduction):
    """Equal extremes share the gradient equally."""

    saves_outputs = (0,)
    extreme = "max"

    def forward(self, k: Any, x: Any) -> Any:
        if not x.size:  # NumPy refuses it, though there are no results; a sum has their shape
            return x.sum(axis=self.axes, keepdims=self.keepdims).astype(x.dtype)
        return getattr(x, self.extreme)(axis=self.axes, keepdims=self.keepdims)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,), (y,), g = node.inputs, node.outputs, gy.widened()
        chosen = (x == self.expand(y)).astype(g.dtype)
        return (self.expand(g) * (chosen / chosen.sum(self.axes, keepdims=True))).astype(gy.dtype)


class Min(Max):
    """As Max."""

    extreme = "min"


class ArgMax(Op):
    differentiable = False
    extreme = "argmax"
    __slots__ = ("axis",)

    def __init__(self, axis: int | None) -> None:
        self.axis = axis

    def forward(self, k: Any, x: Any) -> Any:
        if not x.size:
            return x.sum(axis=self.axis).astype("int64")
        return getattr(x, self.extreme)(axis=self.axis)


class ArgMin(ArgMax):
    extreme = "argmin"


def normalize_axes(axis: Axes, ndim: int, name: str) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of non-negative axes; None means all of them.

    Raises
    ------
    ValueError
        If an axis is out of range or given twice, naming ``name``.
    TypeError
        If it is neither an int nor a tuple of ints.
    """
    if axis is None:
        return tuple(range(ndim))
    try:
        given = axis if isinstance(axis, (tuple, list)) else (axis,)
        axes = tuple(map(index, given))
        if bool in map(type, given):  # PyTorch's unbiased
            raise TypeError
    except TypeError:
        raise TypeError(
            f"{name}: expected axis as an int or a tuple of ints, got {axis!r}"
        ) from None
    return _normalized(axes, ndim, name)


@lru_cache(maxsize=1024)
def _normalized(axes: tuple[int, ...], ndim: int, name: str) -> tuple[int, ...]:
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"{name}: axis {a} is out of range for {ndim} dimensions")
    positive = sorted(a % ndim for a in axes)
    if len(set(positive)) < len(positive):
        raise ValueError(f"{name}: an axis is given twice in {axes}")
    return tuple(positive)


@method()
def sum(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum over ``axis`` (an int, a tuple of ints, or None for all); float16 and bfloat16 are summed in float32.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.ones((2, 3)).sum(axis=1)
    Tensor([3., 3.])
    """
    return apply(Sum(normalize_axes(axis, x.ndim, "sum"), keepdims, x.shape), x)


@method()
def mean(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean over ``axis`` (an int, a tuple of ints, or None for all); float16 and bfloat16 are summed in float32."""
    axes, count = counted(x, axis, "mean")
    x = x.floating()
    return (sum(x.widened(), axes, keepdims) / count).astype(x.dtype)


@method()
def var(x: Tensor, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Variance over ``axis``: squared deviations from the mean, summed and divided by count - ddof.

    ``ddof=0``, the default, is NumPy's and the biased variance of batch normalization; PyTorch's default is 1.
    """
    return _variance("var", x, axis, ddof, keepdims).astype(x.floating().dtype)


@method()
def std(x: Tensor, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Standard deviation over ``axis``, the root of ``var``; the gradient of equal values is 0."""
    variance = _variance("std", x, axis, ddof, keepdims)
    constant = variance == 0
    root = where(constant, 1.0, variance).sqrt() * (1 - constant.astype(variance.dtype))
    return root.astype(x.floating().dtype)


def _variance(name: str, x: Tensor, axis: Axes, ddof: int, keepdims: bool) -> Tensor:
    require_numbers(name, ddof=ddof)
    axes, count = counted(x, axis, name)
    if x.size and count <= ddof:
        raise ValueError(f"{name}: expected more than ddof={ddof} values, got shape {x.shape}")
    wide = x.floating().widened()
    deviation = wide - mean(wide, axes, keepdims=True)
    return sum(deviation * deviation, axes, keepdims) / (count - ddof)


@method()
def max(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Largest value over ``axis``, given by name; ties share the gradient equally."""
    return apply(Max(counted(x, axis, "max")[0], keepdims, x.shape), x)


@method()
def min(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Smallest value over ``axis``, given by name; ties share the gradient equally."""
    return apply(Min(counted(x, axis, "min")[0], keepdims, x.shape), x)


@method()
def argmax(x: Tensor, axis: int | None = None) -> Tensor:
    """Index of the largest value along ``axis`` (of the flattened Tensor for None), int64, not differentiable."""
    counted(x, axis, "argmax")
    return apply(ArgMax(axis), x)


@method()
def argmin(x: Tensor, axis: int | None = None) -> Tensor:
    """Index of the smallest value along ``axis`` (of the flattened Tensor for None), int64, not differentiable."""
    counted(x, axis, "argmin")
    return apply(ArgMin(axis), x)


def counted(x: Tensor, axis: Axes, name: str) -> tuple[tuple[int, ...], int]:
    """The axes, and how many values each result is of; none is an error, unless there are no results."""
    axes = normalize_axes(axis, x.ndim, name)
    count = math.prod(x.shape[i] for i in axes)
    if count == 0 and all(n for i, n in enumerate(x.shape) if i not in axes):
        raise ValueError(f"{name}: expected at least one value along {axes}, got shape {x.shape}")
    return axes, count
