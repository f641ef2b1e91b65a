"""Functions of one Tensor, element by element."""

from __future__ import annotations

from typing import Any

from ..dtypes import floating, real
from ..messages import require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .methods import method


class OfOutput(Op):
    """Base of functions whose derivative is one of their output, so that no input is saved."""

    elementwise = True
    saves_inputs = False
    saves_outputs = (0,)


class Exp(OfOutput):
    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.exp(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return gy * y


class Log(Op):
    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.log(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return gy / x


class Log1p(Op):
    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.log1p(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return gy / (1 + x)


class Expm1(OfOutput):
    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.expm1(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return gy * (y + 1)


class Sin(Op):
    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.sin(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return gy * cos(x)


class Cos(Op):
    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.cos(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return -gy * sin(x)


class Sqrt(OfOutput):
    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.sqrt(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return gy / (2 * y)


class Tanh(OfOutput):
    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.tanh(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return gy * (1 - y * y)


class Abs(Op):
    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        return abs(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return gy * apply(SIGN, x)


class Sign(Op):
    differentiable = False

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.sign(x)


class Clip(Op):
    __slots__ = ("high", "low")

    def __init__(self, low: float | None, high: float | None) -> None:
        self.low, self.high = low, high

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.clip(x, self.low, self.high).astype(x.dtype, copy=False)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        if self.low is not None:
            gy = gy * (x >= self.low).astype(gy.dtype)
        if self.high is not None:
            gy = gy * (x <= self.high).astype(gy.dtype)
        return gy


class Cast(Op):
    elementwise = True
    saves_inputs = False
    __slots__ = ("dtype", "old")

    def __init__(self, old: Any, dtype: Any) -> None:
        self.old, self.dtype = old, dtype

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        return floating(self.dtype)

    def forward(self, k: Any, x: Any) -> Any:
        return x.astype(self.dtype)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return apply(Cast(self.dtype, self.old), gy)


EXP, LOG, SQRT, TANH, ABS, SIGN = Exp(), Log(), Sqrt(), Tanh(), Abs(), Sign()
EXPM1, LOG1P, SIN, COS = Expm1(), Log1p(), Sin(), Cos()


@method()
def exp(x: Tensor) -> Tensor:
    """e ** x."""
    return apply(EXP, x.floating())


@method()
def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return apply(LOG, x.floating())


@method()
def log1p(x: Tensor) -> Tensor:
    """log(1 + x), accurate near 0."""
    return apply(LOG1P, x.floating())


@method()
def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, accurate near 0."""
    return apply(EXPM1, x.floating())


@method()
def sin(x: Tensor) -> Tensor:
    """Sine of x in radians."""
    return apply(SIN, x.floating())


@method()
def cos(x: Tensor) -> Tensor:
    """Cosine of x in radians."""
    return apply(COS, x.floating())


@method()
def sqrt(x: Tensor) -> Tensor:
    """Square root; its gradient at 0 is infinite."""
    return apply(SQRT, x.floating())


@method()
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return apply(TANH, x.floating())


@method("abs", "__abs__")
def abs_(x: Tensor) -> Tensor:
    """Absolute value; its gradient at 0 is 0."""
    return apply(ABS, x)


@method()
def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Limit x to [low, high]; outside of the interval the gradient is 0.

    Raises
    ------
    ValueError
        If both bounds are missing, or low > high.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tensor([-2, 0.5, 2]).clip(-1, 1)
    Tensor([-1. ,  0.5,  1. ])
    """
    if low is None and high is None:
        raise ValueError("clip: expected a lower bound, an upper bound or both, got neither")
    require_numbers("clip", **{k: b for k, b in (("low", low), ("high", high)) if b is not None})
    if low is not None and high is not None and low > high:
        raise ValueError(f"clip: expected low <= high, got low={low} and high={high}")
    # A NumPy float64 is a float too, but one that would widen x; and a float bound makes integers floats.
    bounds = [float(b) if isinstance(b, float) else b for b in (low, high)]
    if any(isinstance(b, float) for b in bounds):
        x = x.floating()
    return apply(Clip(*bounds), x)


@method()
def astype(self: Tensor, dtype: Any) -> Tensor:
    """The values in another dtype; differentiable from floating to floating."""
    own = self._data.dtype
    if dtype is own:
        return self
    dtype = real(dtype)
    return self if dtype == own else apply(Cast(own, dtype), self)
