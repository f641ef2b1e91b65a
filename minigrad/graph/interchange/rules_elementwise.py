"""Element by element, and over axes: most ops here are one ONNX operator of the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...autograd import AddInto, Alias, Copy
from ...ops.activation import LogSoftmax, Relu, Sigmoid, Softmax
from ...ops.arithmetic import (
    Add,
    Comparison,
    Divide,
    Maximum,
    Minimum,
    Multiply,
    Negative,
    Power,
    PowerScalar,
    Subtract,
    Where,
)
from ...ops.elementwise import Abs, Cast, Clip, Exp, Log, Sign, Sqrt, Tanh
from ...ops.in_place import Assign
from ...ops.loss import OneHot
from ...ops.random import DropoutMask
from ...ops.reduction import ArgMax, Max, Min, Sum

if TYPE_CHECKING:
    from .writer import Step, Writer

Rule = Callable[..., Any]


def same(kind: str) -> Rule:
    """An op that is one operator without attributes."""
    return lambda to, step: to.node(kind, *step.inputs)


def over_axis(kind: str) -> Rule:
    return lambda to, step: to.node(kind, *step.inputs, axis=step.op.axis)


def reduction(kind: str) -> Rule:
    """Sums of narrow integers and booleans are wider, as NumPy's."""

    def rule(to: Writer, step: Step) -> str:
        (x,), op, dtype = step.inputs, step.op, step.outputs[0][1]
        wide: Any = x if x.dtype == dtype else to.cast(x, dtype)
        if not op.axes:  # which to ONNX are all
            return to.node("Identity", wide)
        return to.node(kind, wide, to.integers(op.axes), keepdims=int(op.keepdims))

    return rule


def comparison(to: Writer, step: Step) -> str:
    a, b = step.inputs
    if step.op.ufunc == "not_equal":
        return to.node("Not", to.node("Equal", a, b))
    kinds = {"equal": "Equal", "less": "Less", "less_equal": "LessOrEqual"}
    kinds |= {"greater": "Greater", "greater_equal": "GreaterOrEqual"}
    return to.node(kinds[step.op.ufunc], a, b)


def power_scalar(to: Writer, step: Step) -> str:
    (x,) = step.inputs
    return to.node("Pow", x, to.constant(step.op.exponent, x.dtype))


def assign(to: Writer, step: Step) -> str:
    return to.node("Identity", step.inputs[1])


def clip(to: Writer, step: Step) -> str:
    (x,), bounds = step.inputs, (step.op.low, step.op.high)
    return to.node("Clip", x, *(None if b is None else to.constant(b, x.dtype) for b in bounds))


def cast(to: Writer, step: Step) -> str:
    return to.cast(step.inputs[0], step.op.dtype)


def arg_max(to: Writer, step: Step) -> str:
    (x,), axis = step.inputs, step.op.axis
    if axis is None:
        return to.node("ArgMax", to.node("Reshape", x, to.integers([-1])), axis=0, keepdims=0)
    return to.node("ArgMax", x, axis=axis, keepdims=0)


def one_hot(to: Writer, step: Step) -> str:
    labels, like = step.inputs
    column = to.node("Reshape", to.cast(labels, np.dtype(np.int64)), to.integers([-1, 1]))
    return to.cast(to.node("Equal", column, to.integers(range(like.shape[1]))), like.dtype)


def dropout_mask(to: Writer, step: Step) -> str:
    """Dropout of ones is its mask."""
    (x,) = step.inputs
    ones = to.node("Expand", to.constant(1, x.dtype), to.integers(x.shape))
    return to.node("Dropout", ones, to.constant(step.op.p, np.float32), to.constant(True))


ELEMENTWISE: dict[type, Rule] = {
    Add: same("Add"),
    Subtract: same("Sub"),
    Multiply: same("Mul"),
    Divide: same("Div"),
    Negative: same("Neg"),
    Power: same("Pow"),
    PowerScalar: power_scalar,
    Maximum: same("Max"),
    Minimum: same("Min"),
    Comparison: comparison,
    Where: same("Where"),
    Assign: assign,
    Exp: same("Exp"),
    Log: same("Log"),
    Sqrt: same("Sqrt"),
    Tanh: same("Tanh"),
    Abs: same("Abs"),
    Sign: same("Sign"),
    Clip: clip,
    Cast: cast,
    Sigmoid: same("Sigmoid"),
    Relu: same("Relu"),
    Softmax: over_axis("Softmax"),
    LogSoftmax: over_axis("LogSoftmax"),
    Sum: reduction("ReduceSum"),
    Max: reduction("ReduceMax"),
    Min: reduction("ReduceMin"),
    ArgMax: arg_max,
    OneHot: one_hot,
    DropoutMask: dropout_mask,
    Copy: same("Identity"),
    Alias: same("Identity"),
    AddInto: same("Add"),
}
