"""Arithmetic and comparison with broadcasting: the operators of a Tensor.

Broadcasting and dtype promotion are steps of their own, taken before the op and only by an operand that needs
them, so the gradient rules below are those of equal shapes and read like a page of maths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import floating, half
from ..messages import not_a_tensor
from ..op import Op, of_tensor
from .in_place import copy_, in_place
from .shape import broadcast_to

if TYPE_CHECKING:
    from ..tensor import Operand, Tensor


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
    """Where both are equal each gets half of the gradient; beside a NaN each gets all of it, as in PyTorch."""

    elementwise = True

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.xp.maximum(a, b)

    def loses(self, a: Tensor, b: Tensor) -> Tensor:
        return a < b

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        most = 1 - 0.5 * (a == b).astype(gy.dtype)
        to_a = gy * (most - self.loses(a, b).astype(gy.dtype)) if needs[0] else None
        return to_a, gy * (most - self.loses(b, a).astype(gy.dtype)) if needs[1] else None


class Minimum(Maximum):
    """As Maximum."""

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.xp.minimum(a, b)

    def loses(self, a: Tensor, b: Tensor) -> Tensor:
        return a > b


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
        return None, gy.apply(self, condition, gy, zero), gy.apply(self, condition, zero, gy)


ADD, SUBTRACT, MULTIPLY, DIVIDE = Add(), Subtract(), Multiply(), Divide()
NEGATIVE, POWER, WHERE = Negative(), Power(), Where()
MAXIMUM, MINIMUM = Maximum(), Minimum()
EQUAL, NOT_EQUAL = Comparison("equal"), Comparison("not_equal")
LESS, LESS_EQUAL = Comparison("less"), Comparison("less_equal")
GREATER, GREATER_EQUAL = Comparison("greater"), Comparison("greater_equal")


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
            return a.apply(op, *align(op, a, b)).astype(dtype)
        a, b = align(op, a, b)
    return a.apply(op, a, b)


def _summed(x: Tensor, other: Tensor) -> bool:
    """Whether x is broadcast beside another operand and requires a gradient, which is then a sum."""
    sizes = zip(reversed(x.shape), reversed(other.shape), strict=False)
    return x.requires_grad and (x.ndim < other.ndim or any(m == 1 != n for m, n in sizes))


def align(op: Op, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two Tensors to one dtype and, where a gradient will come back, to their common shape."""
    if a.dtype != b.dtype:
        dtype = promoted(a.dtype, b.dtype)
        a, b = a.astype(dtype), b.astype(dtype)
    if a.shape != b.shape:
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            name = type(op).__name__.lower()
            raise ValueError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast") from None
        # An operand without a gradient broadcasts inside the kernel, at no cost.
        a = broadcast_to(a, shape) if a.requires_grad else a
        b = broadcast_to(b, shape) if b.requires_grad else b
    return a, b


def promoted(a: np.dtype, b: np.dtype) -> np.dtype:
    """The common dtype of two; a floating one is never widened by integers or booleans."""
    if floating(a) != floating(b):
        return a if floating(a) else b
    return np.promote_types(a, b)


def add(a: Tensor, b: Operand) -> Tensor:
    """a + b."""
    return _binary(ADD, a, b)


def subtract(a: Tensor, b: Operand) -> Tensor:
    """a - b."""
    return _binary(SUBTRACT, a, b)


def multiply(a: Tensor, b: Operand) -> Tensor:
    """a * b, element by element."""
    return _binary(MULTIPLY, a, b)


def divide(a: Tensor, b: Operand) -> Tensor:
    """a / b; integers are divided as float32."""
    b = a.lift(b, DIVIDE)
    if not floating(a.dtype) and not floating(b.dtype):
        a = a.astype(np.float32)
    return _binary(DIVIDE, a, b)


def power(a: Tensor, b: Operand) -> Tensor:
    """a ** b; the gradient for b is defined where a > 0 (and is 0 at a = 0)."""
    if isinstance(b, (int, float)):
        if not floating(a.dtype) and (isinstance(b, float) or b < 0):
            a = a.astype(np.float32)
        # A NumPy float64 is a float too, but one that would widen a.
        return a.apply(PowerScalar(float(b) if isinstance(b, float) else b), a)
    return power(a, b.item()) if isinstance(b, np.generic) else _binary(POWER, a, b)


def negative(x: Tensor) -> Tensor:
    """-x."""
    return x.apply(NEGATIVE, x)


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


def where(condition: Tensor, a: Operand, b: Operand) -> Tensor:
    """a where condition holds, b elsewhere; at least one of the three is a Tensor.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor([-1, 2])
    >>> mg.where(x > 0, x, 0)
    Tensor([0., 2.])
    """
    tensor: Any = next((t for t in (a, b, condition) if hasattr(t, "lift")), None)
    if tensor is None:
        raise TypeError(f"where: {not_a_tensor(condition)}")
    condition = tensor.lift_index(condition, "where")
    if condition.dtype.kind != "b":
        raise TypeError(f"where: expected a boolean condition, got dtype {condition.dtype}")
    like = a if hasattr(a, "lift") else b if hasattr(b, "lift") else tensor.lift(0.0, WHERE)
    a, b = align(WHERE, like.lift(a, WHERE), like.lift(b, WHERE))
    try:
        shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"where: shapes {condition.shape}, {a.shape} and {b.shape} do not broadcast"
        ) from None
    a = broadcast_to(a, shape) if a.requires_grad else a
    b = broadcast_to(b, shape) if b.requires_grad else b
    return condition.apply(WHERE, condition, a, b)


class Arithmetic:
    """The operators. A reflected one lifts its left operand to a Tensor first."""

    __slots__ = ()

    __add__ = add
    __radd__ = add
    __sub__ = subtract
    __mul__ = multiply
    __rmul__ = multiply
    __truediv__ = divide
    __pow__ = power
    __neg__ = negative
    __iadd__ = in_place("+=", add)
    __isub__ = in_place("-=", subtract)
    __imul__ = in_place("*=", multiply)
    __itruediv__ = in_place("/=", divide)
    __ipow__ = in_place("**=", power)
    copy_ = copy_

    def __rsub__(self: Any, other: Operand) -> Any:
        return subtract(self.lift(other, SUBTRACT), self)

    def __rtruediv__(self: Any, other: Operand) -> Any:
        return divide(self.lift(other, DIVIDE), self)

    def __rpow__(self: Any, other: Operand) -> Any:
        return power(self.lift(other, POWER), self)

    def __eq__(self: Any, other: object) -> Any:
        return NotImplemented if other is None else _binary(EQUAL, self, other)

    def __ne__(self: Any, other: object) -> Any:
        return NotImplemented if other is None else _binary(NOT_EQUAL, self, other)

    def __lt__(self: Any, other: Operand) -> Any:
        return _binary(LESS, self, other)

    def __le__(self: Any, other: Operand) -> Any:
        return _binary(LESS_EQUAL, self, other)

    def __gt__(self: Any, other: Operand) -> Any:
        return _binary(GREATER, self, other)

    def __ge__(self: Any, other: Operand) -> Any:
        return _binary(GREATER_EQUAL, self, other)

    __hash__ = object.__hash__
