"""Arithmetic and comparison with broadcasting: the operators of a Tensor.

Broadcasting and dtype promotion are steps of their own, taken before the op and only for an operand that needs
them, so the gradient rules below are those of equal shapes and read like a page of maths.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..dtypes import floating, half
from ..messages import explained, not_a_tensor
from ..op import Op
from ..tensor import Tensor, apply
from .methods import Operand, method, of_tensor
from .shape import broadcast_to


class Add(Op):
    elementwise = True
    saves_inputs = False

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.add(a, b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return gy, gy


class Subtract(Op):
    elementwise = True
    saves_inputs = False

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.subtract(a, b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return gy, -gy if needs[1] else None


class Multiply(Op):
    elementwise = True

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.multiply(a, b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        return gy * b if needs[0] else None, gy * a if needs[1] else None


class Divide(Op):
    elementwise = True

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.divide(a, b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        ga = gy / b
        return ga, -ga * (a / b) if needs[1] else None


class Negative(Op):
    elementwise = True
    saves_inputs = False

    def forward(self, k: Any, x: Any) -> Any:
        return k.negative(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return -gy


class Power(Op):
    elementwise = True

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return a**b

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        ga = gb = None
        if needs[0]:  # at 0**0 the derivative b a**(b - 1) is 0, not 0 * inf
            flat = (a == 0) * (b == 0)
            ga = where(flat, 0.0, gy * b * a ** where(flat, 0.0, b - 1))
        if needs[1]:  # 0**b is flat in b for b >= 0, where a**b log(a) would be 0 * -inf
            flat = (a == 0) * (b >= 0)
            gb = gy * a**b * where(flat, 1.0, a).log()
        return ga, gb


class PowerScalar(Op):
    """x ** exponent for a Python number, whose derivatives end in zeros instead of 0 * inf at x = 0."""

    elementwise = True
    __slots__ = ("exponent",)

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def forward(self, k: Any, x: Any) -> Any:
        y = x**self.exponent
        return y if y.dtype == x.dtype else y.astype(x.dtype)  # of bfloat16 NumPy makes float32

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        if self.exponent == 0:
            return gy * 0
        (x,) = node.inputs
        return gy * (self.exponent * x ** (self.exponent - 1))


class Maximum(Op):
    """Operands that are equal get half of the gradient each; with a NaN each gets all of it, as in PyTorch."""

    elementwise = True
    ufunc, loses = "maximum", staticmethod(operator.lt)

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return getattr(k.xp, self.ufunc)(a, b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        most = 1 - 0.5 * (a == b).astype(gy.dtype)
        to_a = gy * (most - self.loses(a, b).astype(gy.dtype)) if needs[0] else None
        return to_a, gy * (most - self.loses(b, a).astype(gy.dtype)) if needs[1] else None


class Minimum(Maximum):
    """As Maximum."""

    ufunc, loses = "minimum", staticmethod(operator.gt)


class Comparison(Op):
    differentiable = False
    saves_inputs = False
    __slots__ = ("ufunc",)

    def __init__(self, ufunc: str) -> None:
        self.ufunc = ufunc

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return getattr(k.xp, self.ufunc)(a, b)


class Where(Op):
    saves_inputs = slice(0, 1)

    def forward(self, k: Any, condition: Any, a: Any, b: Any) -> Any:
        return k.xp.where(condition, a, b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (condition,), zero = node.inputs, gy.lift(0.0, self)
        return None, apply(self, condition, gy, zero), apply(self, condition, zero, gy)


ADD, SUBTRACT, MULTIPLY, DIVIDE = Add(), Subtract(), Multiply(), Divide()
NEGATIVE, POWER, WHERE = Negative(), Power(), Where()
MAXIMUM, MINIMUM = Maximum(), Minimum()
EQUAL, NOT_EQUAL = Comparison("equal"), Comparison("not_equal")
broadcast_shapes = lru_cache(maxsize=1024)(np.broadcast_shapes)


def _binary(op: Op, a: Tensor, b: Any) -> Any:
    if (
        type(a) is not type(b)
        or a._data.shape != b._data.shape
        or a._data.dtype is not b._data.dtype
    ):
        b = a.lift(b, op)
        dtype = promoted(a.dtype, b.dtype)
        if half(dtype) and op.saves_inputs and (_summed(a, b) or _summed(b, a)):
            # The terms of that sum are products, which must not be rounded first.
            a, b = (t.astype(np.float32) for t in (a, b))
            return apply(op, *align(op, a, b)).astype(dtype)
        a, b = align(op, a, b)
    return apply(op, a, b)


def _summed(x: Tensor, other: Tensor) -> bool:
    """Whether x is broadcast against ``other`` and requires a gradient, which is then a sum."""
    sizes = zip(reversed(x.shape), reversed(other.shape), strict=False)
    return x.requires_grad and (x.ndim < other.ndim or any(m == 1 != n for m, n in sizes))


def align(op: Op, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Cast two Tensors to one dtype and, where they require a gradient, broadcast them to their common shape."""
    if a.dtype != b.dtype:
        dtype = promoted(a.dtype, b.dtype)
        a, b = a.astype(dtype), b.astype(dtype)
    if a.shape != b.shape:
        a, b = broadcast(op, a, b)
    return a, b


def broadcast(op: Op, *tensors: Tensor) -> list[Tensor]:
    """Broadcast the Tensors that require a gradient to the common shape of all; kernels broadcast the others."""
    shapes = [t._data.shape for t in tensors]
    try:
        shape = broadcast_shapes(*shapes)
    except ValueError:
        listed = f"{', '.join(map(str, shapes[:-1]))} and {shapes[-1]}"
        raise ValueError(f"{type(op).__name__.lower()}: shapes {listed} do not broadcast") from None
    return [t if t._ref is None else broadcast_to(t, shape) for t in tensors]


def promoted(a: np.dtype, b: np.dtype) -> np.dtype:
    """The common dtype of two; a floating one is never widened by integers or booleans."""
    if floating(a) != floating(b):
        return a if floating(a) else b
    return np.promote_types(a, b)


@method("__truediv__")
def divide(a: Tensor, b: Operand) -> Tensor:
    """a / b; integers are divided as float32."""
    b = a.lift(b, DIVIDE)
    if not floating(a.dtype) and not floating(b.dtype):
        a = a.astype(np.float32)
    return _binary(DIVIDE, a, b)


@method("__pow__")
def power(a: Tensor, b: Operand) -> Tensor:
    """a ** b; the gradient for b is defined where a > 0 (and is 0 at a = 0)."""
    if isinstance(b, (int, float)):
        if not floating(a.dtype) and (isinstance(b, float) or b < 0):
            a = a.astype(np.float32)
        # A NumPy float64 is a float too, but one that would widen a.
        return apply(PowerScalar(float(b) if isinstance(b, float) else b), a)
    return power(a, b.item()) if isinstance(b, np.generic) else _binary(POWER, a, b)


@of_tensor
def maximum(a: Tensor, b: Operand) -> Tensor:
    """The larger of a and b, element by element; ties share the gradient equally.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.maximum(mg.tensor([1, 5]), mg.tensor([3, 2]))
    Tensor([3., 5.])
    """
    return _binary(MAXIMUM, a, b)


@of_tensor
def minimum(a: Tensor, b: Operand) -> Tensor:
    """The smaller of a and b, element by element; ties share the gradient equally."""
    return _binary(MINIMUM, a, b)


@explained
def where(condition: Tensor, a: Operand, b: Operand) -> Tensor:
    """a where condition holds, b elsewhere; at least one of the three is a Tensor.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor([-1, 2])
    >>> mg.where(x > 0, x, 0)
    Tensor([0., 2.])
    """
    tensor: Any = next((t for t in (a, b, condition) if isinstance(t, Tensor)), None)
    if tensor is None:
        raise TypeError(f"where: {not_a_tensor(condition)}")
    condition = tensor.lift_index(condition, "where")
    if condition.dtype.kind != "b":
        raise TypeError(f"where: expected a boolean condition, got dtype {condition.dtype}")
    like = tensor if tensor is a or tensor is b else tensor.lift(0.0, WHERE)
    a, b = align(WHERE, like.lift(a, WHERE), like.lift(b, WHERE))
    return apply(WHERE, *broadcast(WHERE, condition, a, b))


def _operator(op: Op) -> Callable[[Tensor, Any], Any]:
    def operate(a: Tensor, b: Any) -> Any:
        return _binary(op, a, b)

    return operate


_OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": _operator(ADD),
    "__radd__": _operator(ADD),
    "__sub__": _operator(SUBTRACT),
    "__rsub__": lambda a, b: a.lift(b, SUBTRACT) - a,
    "__mul__": _operator(MULTIPLY),
    "__rmul__": _operator(MULTIPLY),
    "__rtruediv__": lambda a, b: a.lift(b, DIVIDE) / a,
    "__rpow__": lambda a, b: a.lift(b, POWER) ** a,
    "__neg__": lambda x: apply(NEGATIVE, x),
    "__eq__": lambda a, b: NotImplemented if b is None else _binary(EQUAL, a, b),
    "__ne__": lambda a, b: NotImplemented if b is None else _binary(NOT_EQUAL, a, b),
    "__lt__": _operator(Comparison("less")),
    "__le__": _operator(Comparison("less_equal")),
    "__gt__": _operator(Comparison("greater")),
    "__ge__": _operator(Comparison("greater_equal")),
}
for _name, _code in _OPERATORS.items():
    method(_name)(_code)
