"""Operators that work element by element, and over axes; see ``operators``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import numpy as np

from ...ops.activation import log_softmax, relu, sigmoid, softmax
from ...ops.arithmetic import maximum, minimum, where
from ...ops.elementwise import abs_, clip, exp, log, sqrt, tanh
from ...ops.random import dropout
from ...ops.reduction import argmax, max, mean, min, sum
from ...tensor import Tensor, tensor, written_out
from .room import Room, Scalar, Vector, each_axis, one_axis


def broadcast(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator of two inputs that broadcast."""

    def operator(a: Tensor, b: Tensor, *, room: Room) -> Tensor:
        room(np.broadcast_shapes(a.shape, b.shape), a.dtype)
        return function(a, b)

    return operator


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards 0, on the host."""
    if a.dtype.kind == "f":
        return a / b
    n, d = a.numpy(), b.numpy()
    if not d.all():
        raise ValueError("an integer is divided by 0")
    down = n // d
    return written_out(
        tensor(np.where((down < 0) & (down * d != n), down + 1, down), backend=a.backend)
    )


def extreme(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(*xs: Tensor, room: Room) -> Tensor:
        room((len(xs), *np.broadcast_shapes(*(x.shape for x in xs))), xs[0].dtype)
        return reduce(function, xs)

    return operator


def select(condition: Tensor, a: Tensor, b: Tensor, *, room: Room) -> Tensor:
    room(np.broadcast_shapes(condition.shape, a.shape, b.shape), a.dtype)
    return where(condition, a, b)


def rectified(x: Tensor) -> Tensor:
    return relu(x) if x.dtype.kind == "f" else maximum(x, 0)


def leaky_relu(x: Tensor, *, alpha: float = 0.01, room: Room) -> Tensor:
    room((3, *x.shape), x.dtype)
    return where(x < 0, x * alpha, x)


def elu(x: Tensor, *, alpha: float = 1.0, room: Room) -> Tensor:
    """exp(x) - 1 by the hyperbolic tangent, which keeps the digits of a small x."""
    room((8, *x.shape), x.dtype)
    t = tanh(minimum(x, 0) / 2)
    return where(x < 0, 2 * alpha * t / (1 - t), x)


def softplus(x: Tensor, *, room: Room) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    room((6, *x.shape), x.dtype)
    return maximum(x, 0) + (1 + (-abs_(x)).exp()).log()


@cache
def _scaled_erfc(degree: int) -> list[float]:
    """Chebyshev coefficients of exp(z^2) erfc(z) for z in [0, 6], as a function of 9 / (3 + z) - 2."""

    def scaled(u: Any) -> Any:
        return np.array([math.erfc(z) * math.exp(z * z) for z in (9 / (u + 2) - 3).tolist()])

    found: list[float] = np.polynomial.chebyshev.chebinterpolate(scaled, degree).tolist()
    return found


def gelu(x: Tensor, *, approximate: str = "none", room: Room) -> Tensor:
    """x times the normal distribution up to x (Hendrycks & Gimpel 2016, arXiv:1606.08415), by Clenshaw's rule."""
    room((12, *x.shape), x.dtype)
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
        return (0.5 * wide * (1 + tanh(inner))).astype(x.dtype)
    if approximate != "none":
        raise ValueError(f"expected approximate 'none' or 'tanh', got {approximate!r}")
    z = where(wide < 0, -wide, wide) * math.sqrt(0.5)
    u = 9 / (3 + minimum(z, 6)) - 2
    first, *others = _scaled_erfc(18 if x.dtype == np.float64 else 9)
    a: Any = 0.0
    b: Any = 0.0
    for c in reversed(others):
        a, b = 2 * u * a - b + c, a
    tail = 0.5 * (u * a - b + first) * (-z * z).exp()
    return (wide * where(wide < 0, tail, 1 - tail)).astype(x.dtype)


def clipped(x: Tensor, min: Scalar | None = None, max: Scalar | None = None) -> Tensor:
    if min is None and max is None:
        return x
    if min is not None and max is not None and min > max:
        return minimum(maximum(x, min), max)
    return clip(x, min, max)


def sign(x: Tensor) -> Tensor:
    """NaN and 0 are their own."""
    return where(x > 0, x.filled(1), where(x < 0, x.filled(0) - x.filled(1), x.detach()))


def cast(
    x: Tensor, *, to: np.dtype, saturate: int = 1, round_mode: str = "up", room: Room
) -> Tensor:
    """``saturate`` and ``round_mode`` are about dtypes that are not read."""
    room(x.shape, to)
    return x.astype(to)


def dropped(
    x: Tensor,
    ratio: Scalar | None = None,
    training_mode: Scalar | None = None,
    *,
    seed: int = 0,
    opset: int,
    room: Room,
) -> tuple[Tensor, Tensor]:
    """With the mask. In training it draws from minigrad's generator."""
    room((3, *x.shape), x.dtype)
    y, mask = x, x.filled(1)
    if training_mode:
        mask = dropout(mask, 0.5 if ratio is None else ratio)
        y = x * mask
    return y, mask.astype(np.bool_) if opset >= 10 else mask


def over_axis(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Before opset 13 all axes from the given one on count as one."""

    def operator(x: Tensor, *, axis: int, opset: int) -> Tensor:
        first = one_axis(axis, x.ndim)
        if not x.size:
            return x
        if opset >= 13:
            return function(x, first)
        rows = math.prod(x.shape[:first])
        return function(x.reshape(rows, x.size // rows), 1).reshape(x.shape)

    return operator


def over_axes(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A reduction; what it makes keeps the dtype."""

    def operator(
        x: Tensor,
        axes: Vector | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
        room: Room,
    ) -> Tensor:
        if not axes and noop_with_empty_axes:
            return x
        chosen = each_axis(axes or range(x.ndim), x.ndim)
        room(x.shape, x.dtype)
        room([n for i, n in enumerate(x.shape) if i not in chosen], x.dtype)
        return function(x, tuple(chosen), bool(keepdims)).astype(x.dtype)

    return operator


def average(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return mean(x if x.dtype.kind == "f" else x.astype(np.float64), axes, keepdims)


def arg_max(
    x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0, room: Room
) -> Tensor:
    axis = one_axis(axis, x.ndim)
    rest = x.shape[:axis], x.shape[axis + 1 :]
    room((*rest[0], *rest[1]), np.int64)
    if select_last_index:
        backwards = (*[slice(None)] * axis, slice(None, None, -1))
        found = x.shape[axis] - 1 - argmax(x[backwards], axis)
    else:
        found = argmax(x, axis)
    return found.reshape(*rest[0], 1, *rest[1]) if keepdims else found


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs": lambda x: abs_(x),
    "Add": broadcast(lambda a, b: a + b),
    "ArgMax": arg_max,
    "Cast": cast,
    "Clip": clipped,
    "Div": broadcast(divide),
    "Dropout": dropped,
    "Elu": elu,
    "Equal": broadcast(lambda a, b: a == b),
    "Exp": lambda x: exp(x),
    "Gelu": gelu,
    "Greater": broadcast(lambda a, b: a > b),
    "GreaterOrEqual": broadcast(lambda a, b: a >= b),
    "Identity": lambda x: x,
    "LeakyRelu": leaky_relu,
    "Less": broadcast(lambda a, b: a < b),
    "LessOrEqual": broadcast(lambda a, b: a <= b),
    "Log": lambda x: log(x),
    "LogSoftmax": over_axis(log_softmax),
    "Max": extreme(maximum),
    "Min": extreme(minimum),
    "Mul": broadcast(lambda a, b: a * b),
    "Neg": lambda x: -x,
    "Not": lambda x: x == x.filled(False),
    "Pow": broadcast(lambda a, b: (a**b).astype(a.dtype)),
    "ReduceMax": over_axes(max),
    "ReduceMean": over_axes(average),
    "ReduceMin": over_axes(min),
    "ReduceSum": over_axes(sum),
    "Relu": rectified,
    "Sigmoid": lambda x: sigmoid(x),
    "Sign": sign,
    "Softmax": over_axis(softmax),
    "Softplus": softplus,
    "Sqrt": lambda x: sqrt(x),
    "Sub": broadcast(lambda a, b: a - b),
    "Tanh": lambda x: tanh(x),
    "Where": select,
}
