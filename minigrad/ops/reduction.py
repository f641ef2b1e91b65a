"""Sums, products, means, variances and extremes over axes."""

from __future__ import annotations

import math
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np

from ..dtypes import floating, half
from ..messages import require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .arithmetic import where
from .methods import Axes, method
from .shape import concatenate


class Reduction(Op):
    """Base of the reductions: the axes (non-negative), and the shape of the input."""

    __slots__ = ("axes", "keepdims", "shape")

    def __init__(self, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> None:
        if not isinstance(keepdims, (bool, np.bool_)):
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


class CumSum(Op):
    saves_inputs = False
    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, k: Any, x: Any) -> Any:
        if half(x.dtype):
            return k.xp.cumsum(x, axis=self.axis, dtype="float32").astype(x.dtype)
        return k.xp.cumsum(x, axis=self.axis)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        backwards = (*[slice(None)] * self.axis, slice(None, None, -1))
        return apply(self, gy[backwards])[backwards]


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
    axes = normalize_axes(axis, x.ndim, "mean")
    x = x.floating()
    wide = x.widened()
    return (sum(wide, axes, keepdims) / _count(x, axes, "mean")).astype(x.dtype)


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
    axes = normalize_axes(axis, x.ndim, name)
    count = _count(x, axes, name)
    if x.size and count <= ddof:
        raise ValueError(f"{name}: expected more than ddof={ddof} values, got shape {x.shape}")
    wide = x.floating().widened()
    deviation = wide - mean(wide, axes, keepdims=True)
    return sum(deviation * deviation, axes, keepdims) / (count - ddof)


@method()
def max(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Largest value over ``axis``, given by name; ties share the gradient equally."""
    axes = normalize_axes(axis, x.ndim, "max")
    _count(x, axes, "max")
    return apply(Max(axes, keepdims, x.shape), x)


@method()
def min(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Smallest value over ``axis``, given by name; ties share the gradient equally."""
    axes = normalize_axes(axis, x.ndim, "min")
    _count(x, axes, "min")
    return apply(Min(axes, keepdims, x.shape), x)


@method()
def argmax(x: Tensor, axis: int | None = None) -> Tensor:
    """Index of the largest value along ``axis`` (of the flattened Tensor for None), int64, not differentiable."""
    _count(x, normalize_axes(axis, x.ndim, "argmax"), "argmax")
    return apply(ArgMax(axis), x)


@method()
def argmin(x: Tensor, axis: int | None = None) -> Tensor:
    """Index of the smallest value along ``axis`` (of the flattened Tensor for None), int64, not differentiable."""
    _count(x, normalize_axes(axis, x.ndim, "argmin"), "argmin")
    return apply(ArgMin(axis), x)


@method()
def logsumexp(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over ``axis``, computed from the largest element down so that nothing overflows.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tensor([1e4, 1e4]).logsumexp()
    Tensor(10000.693)
    """
    axes = normalize_axes(axis, x.ndim, "logsumexp")
    _count(x, axes, "logsumexp")
    wide = x.floating().widened()
    top = max(wide.detach(), axis=axes, keepdims=True)
    top = where(abs(top) == math.inf, 0.0, top)  # inf - inf is no number
    y = sum((wide - top).exp(), axes, keepdims=True).log() + top
    return (y if keepdims else y.reshape(_kept(x, axes))).astype(x.floating().dtype)


@method()
def prod(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Product over ``axis``, in pairs; its gradient is right where elements are 0 too.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor([2, 0, 3], requires_grad=True)
    >>> mg.grad(x.prod(), x)
    Tensor([0., 6., 0.])
    """
    axes = normalize_axes(axis, x.ndim, "prod")
    kept, n = _kept(x, axes), math.prod(x.shape[i] for i in axes)
    wide = x.widened() if floating(x.dtype) else x.astype(np.ones(0, x.dtype).prod().dtype)
    order = (*(i for i in range(x.ndim) if i not in axes), *axes)
    y = wide.transpose(order).reshape(*kept, n) if n else sum(wide, axes).reshape(*kept, 1) + 1
    while y.shape[-1] > 1:
        even = y.shape[-1] // 2 * 2
        pairs = y[..., :even:2] * y[..., 1::2]
        y = concatenate([pairs, y[..., even:]], -1) if even < y.shape[-1] else pairs
    shape = tuple(1 if i in axes else m for i, m in enumerate(x.shape)) if keepdims else kept
    return y.reshape(shape).astype(x.dtype if floating(x.dtype) else y.dtype)


@method()
def cumsum(x: Tensor, axis: int | None = None) -> Tensor:
    """Cumulative sum along ``axis`` (of the flattened Tensor for None); float16 and bfloat16 are summed in float32."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    (axis,) = normalize_axes((axis,), x.ndim, "cumsum")
    return apply(CumSum(axis), x)


def _kept(x: Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that is left of x without these axes."""
    return tuple(n for i, n in enumerate(x.shape) if i not in axes)


def _count(x: Tensor, axes: tuple[int, ...], name: str) -> int:
    """How many values each result is of; none is an error, unless there are no results."""
    count = math.prod(x.shape[i] for i in axes)
    if count == 0 and all(n for i, n in enumerate(x.shape) if i not in axes):
        raise ValueError(f"{name}: expected at least one value along {axes}, got shape {x.shape}")
    return count
