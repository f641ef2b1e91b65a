"""Operators that work element by element, and over axes.

A function here is an operator's schema too: its positional parameters are the inputs, those by keyword the attributes,
with ONNX's defaults, and annotations say what a file must give; see ``schema``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ...ops.activation import log_softmax, relu, sigmoid, softmax
from ...ops.arithmetic import maximum, minimum, where
from ...ops.elementwise import SIGN, abs_, clip, exp, log, sqrt, tanh
from ...ops.random import DropoutMask
from ...ops.reduction import argmax, max, mean, min, sum
from ...tensor import Tensor, apply
from .schema import Dtype, Ints, Static


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards 0."""
    if a.dtype.kind == "f":
        return a / b
    return (a.astype(np.float64) / b.astype(np.float64)).astype(a.dtype)


def power(a: Tensor, b: Tensor) -> Tensor:
    return (a**b).astype(a.dtype)


def largest(*xs: Tensor) -> Tensor:
    return reduce(maximum, xs)


def smallest(*xs: Tensor) -> Tensor:
    return reduce(minimum, xs)


def total(*xs: Tensor) -> Tensor:
    return reduce(lambda a, b: a + b, xs)


def average(*xs: Tensor) -> Tensor:
    return total(*xs) / len(xs)


def rectified(x: Tensor) -> Tensor:
    return relu(x) if x.dtype.kind == "f" else maximum(x, 0)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return where(x < 0, x * alpha, x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return maximum(x, 0) + (1 + (-abs_(x)).exp()).log()


def clipped(
    x: Tensor,
    low: Static | None = None,
    high: Static | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Tensor:
    lower, upper = (b if s is None else s.item() for s, b in ((low, min), (high, max)))
    if lower is None and upper is None:
        return x
    if lower is not None and upper is not None and lower > upper:
        return minimum(maximum(x, lower), upper)
    return clip(x, lower, upper)


def cast(x: Tensor, *, to: Dtype, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """``saturate`` and ``round_mode`` are about dtypes that are not read."""
    return x.astype(to)


def dropout(
    x: Tensor,
    share: Static | None = None,
    training: Static | None = None,
    *,
    ratio: float = 0.5,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """With the mask. In training it draws from minigrad's generator."""
    if training is None or not training.item():
        return x, x.filled(1).astype(np.bool_)
    p = ratio if share is None else float(share.item())
    if not 0 <= p < 1:
        raise ValueError(f"expected a ratio in [0, 1), got {p}")
    mask = apply(DropoutMask(p, None), x)
    return x * mask, mask > 0


def over_axis(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Before opset 13 all axes from the given one on count as one."""

    def operator(x: Tensor, *, axis: int | None = None, opset: int) -> Tensor:
        if opset >= 13:
            return function(x, -1 if axis is None else axis)
        first = 1 if axis is None else axis % x.ndim
        rows = int(np.prod(x.shape[:first]))
        return function(x.reshape(rows, x.size // rows), 1).reshape(x.shape)

    return operator


def over_axes(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A reduction; what it makes keeps the dtype."""

    def operator(
        x: Tensor,
        over: Static | None = None,
        *,
        axes: Ints | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        chosen = tuple((axes or ()) if over is None else over.tolist())
        if not chosen and noop_with_empty_axes:
            return x
        return function(x, chosen or None, bool(keepdims)).astype(x.dtype)

    return operator


def arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    axis %= x.ndim
    if select_last_index:
        backwards = (*[slice(None)] * axis, slice(None, None, -1))
        found = x.shape[axis] - 1 - argmax(x[backwards], axis)
    else:
        found = argmax(x, axis)
    return found.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :]) if keepdims else found


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs": lambda x: abs_(x),
    "Add": lambda a, b: a + b,
    "And": lambda a, b: a * b,
    "ArgMax": arg_max,
    "Cast": cast,
    "Clip": clipped,
    "Div": divide,
    "Dropout": dropout,
    "Equal": lambda a, b: a == b,
    "Exp": lambda x: exp(x),
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Identity": lambda x: x,
    "LeakyRelu": leaky_relu,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Log": lambda x: log(x),
    "LogSoftmax": over_axis(log_softmax),
    "Max": largest,
    "Mean": average,
    "Min": smallest,
    "Mul": lambda a, b: a * b,
    "Neg": lambda x: -x,
    "Not": lambda x: x == x.filled(False),
    "Or": lambda a, b: a + b,
    "Pow": power,
    "Reciprocal": lambda x: 1 / x,
    "ReduceMax": over_axes(max),
    "ReduceMean": over_axes(mean),
    "ReduceMin": over_axes(min),
    "ReduceSum": over_axes(sum),
    "Relu": rectified,
    "Sigmoid": lambda x: sigmoid(x),
    "Sign": lambda x: apply(SIGN, x),
    "Softmax": over_axis(softmax),
    "Softplus": softplus,
    "Sqrt": lambda x: sqrt(x),
    "Sub": lambda a, b: a - b,
    "Sum": total,
    "Tanh": lambda x: tanh(x),
    "Where": lambda condition, a, b: where(condition, a, b),
    "Xor": lambda a, b: a != b,
}
