"""Reductions by steps: logsumexp, prod, cumsum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import floating, half
from ..op import Op
from ..tensor import Tensor, apply
from .arithmetic import where
from .methods import Axes, method
from .reduction import counted, max, normalize_axes, sum
from .shape import concatenate


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


@method()
def logsumexp(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over ``axis``, computed from the largest element down so that nothing overflows.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tensor([1e4, 1e4]).logsumexp()
    Tensor(10000.693)
    """
    axes, _ = counted(x, axis, "logsumexp")
    wide = x.floating().widened()
    top = max(wide.detach(), axis=axes, keepdims=True)
    top = where(abs(top) == math.inf, 0.0, top)  # inf - inf is no number
    y = sum((wide - top).exp(), axes, keepdims=True).log() + top
    return (y if keepdims else sum(y, axes)).astype(x.floating().dtype)


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
    others = [i for i in range(x.ndim) if i not in axes]
    kept, n = [x.shape[i] for i in others], math.prod(x.shape[i] for i in axes)
    wide = x.widened() if floating(x.dtype) else x.astype(np.ones(0, x.dtype).prod().dtype)
    y = wide.transpose((*others, *axes)) if n else sum(wide, axes) + 1
    y = y.reshape(*kept, n or 1)
    while y.shape[-1] > 1:
        even = y.shape[-1] // 2 * 2
        pairs = y[..., :even:2] * y[..., 1::2]
        y = concatenate([pairs, y[..., even:]], -1) if even < y.shape[-1] else pairs
    shape = [1 if i in axes else m for i, m in enumerate(x.shape)] if keepdims else kept
    return y.reshape(shape).astype(x.dtype if floating(x.dtype) else y.dtype)


@method()
def cumsum(x: Tensor, axis: int | None = None) -> Tensor:
    """Cumulative sum along ``axis`` (of the flattened Tensor for None); float16 and bfloat16 are summed in float32."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    (axis,) = normalize_axes((axis,), x.ndim, "cumsum")
    return apply(CumSum(axis), x)
