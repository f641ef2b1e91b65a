"""Functions of one Tensor, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dtypes import floating, real
from ..messages import require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .methods import method

Gradient = Callable[[Tensor, Tensor], Tensor]


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


ABS, SIGN = Abs(), Sign()


def _function(
    name: str, summary: str, *, of_x: Gradient | None = None, of_y: Gradient | None = None
) -> Callable[[Tensor], Tensor]:
    """Make an op of NumPy's function of that name, and return the function that applies it.

    The gradient is a function of that of y, and of x or y, which is then saved.
    """

    def forward(self: Op, k: Any, x: Any) -> Any:
        return getattr(k.xp, name)(x)

    def backward(self: Op, node: Any, needs: Any, gy: Tensor) -> Any:
        return of_x(gy, *node.inputs) if of_x else of_y(gy, *node.outputs)  # type: ignore[misc]

    saved = {"saves_inputs": False, "saves_outputs": (0,)} if of_y else {}
    code = {"__module__": __name__, "__slots__": (), "forward": forward, "backward": backward}
    op = type(name.capitalize(), (Op,), code | saved | {"elementwise": True})()

    def function(x: Tensor) -> Tensor:
        return apply(op, x.floating())

    function.__name__ = function.__qualname__ = name
    function.__doc__ = summary
    return method()(function)


exp = _function("exp", "e ** x.", of_y=lambda gy, y: gy * y)
log = _function("log", "Natural logarithm.", of_x=lambda gy, x: gy / x)
log1p = _function("log1p", "log(1 + x), accurate near 0.", of_x=lambda gy, x: gy / (1 + x))
expm1 = _function("expm1", "exp(x) - 1, accurate near 0.", of_y=lambda gy, y: gy * (y + 1))
sin = _function("sin", "Sine of x in radians.", of_x=lambda gy, x: gy * x.cos())
cos = _function("cos", "Cosine of x in radians.", of_x=lambda gy, x: -gy * x.sin())
sqrt = _function(
    "sqrt", "Square root; its gradient at 0 is infinite.", of_y=lambda gy, y: gy / (2 * y)
)
tanh = _function("tanh", "Hyperbolic tangent.", of_y=lambda gy, y: gy * (1 - y * y))


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
