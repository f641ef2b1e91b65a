"""What Python and NumPy make of a Tensor: numbers, text, iteration; and what they are told instead of arrays."""

from __future__ import annotations

import operator
import sys
from typing import Any

import numpy as np

#: NumPy's functions behind the operators of an array on the left, which it can't tell from calls of the functions
_OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "power": operator.pow,
    "matmul": operator.matmul,
}
_COMPARISONS = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
#: NumPy's names of what is called otherwise here
_OURS = {"absolute": "abs", "amax": "max", "amin": "min", "dot": "matmul"}
_OURS |= dict.fromkeys(("append", "hstack", "vstack"), "concatenate")


class Convertible:
    """The methods that a Tensor has from this file."""

    __slots__ = ()

    def __len__(self: Any) -> int:
        if not self.ndim:
            raise TypeError("len: a tensor of no axes has no length")
        return self.shape[0]

    def __iter__(self: Any) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self: Any) -> bool:
        if self.size != 1:
            raise ValueError(f"bool: the truth of a tensor of shape {self.shape} is ambiguous")
        return bool(self.item())

    def __float__(self: Any) -> float:
        return float(self.item())

    def __int__(self: Any) -> int:
        return int(self.item())

    def __format__(self: Any, spec: str) -> str:
        """As a Python number for one element: ``f"{loss:.4f}"``."""
        if not spec:
            return str(self)
        if self.size != 1:
            raise TypeError(
                f"format: expected one element for the format {spec!r}, got shape {self.shape}; "
                "format the elements of .numpy()"
            )
        return format(self.item(), spec)

    def __round__(self: Any, digits: int | None = None) -> float | int | bool:
        """As a Python number for one element."""
        if self.size != 1:
            raise TypeError(f"round: expected one element, got shape {self.shape}")
        return round(self.item(), digits)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "a Tensor is not converted to a NumPy array silently: call .numpy(); minigrad.stack and "
            "minigrad.concatenate join several Tensors"
        )

    def __array_ufunc__(self: Any, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        name = ufunc.__name__
        operate = _OPERATORS.get(name) or _COMPARISONS.get(name)
        if operate and method == "__call__" and not settings and not hasattr(inputs[0], "lift"):
            a, b = inputs
            if name in _COMPARISONS and isinstance(a, np.ndarray) and not a.ndim:
                a = a[()]  # of a scalar NumPy made an array
            return operate(self.lift(a, name), b)
        raise TypeError(_instead_of(name if method == "__call__" else f"{name}.{method}", self))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ in ("shape", "ndim", "size") and len(args) == 1 and not kwargs:
            return getattr(self, func.__name__)
        raise TypeError(_instead_of(func.__name__, self))


def _instead_of(name: str, t: Any) -> str:
    """What to say of a function of NumPy that was given a Tensor."""
    ours = _OURS.get(name, name)
    ways = ["an operator (x + y)"] if name in (*_OPERATORS, *_COMPARISONS, "negative") else []
    ways += [f"mg.{ours}"] if hasattr(sys.modules[__package__], ours) else []
    ways += [f".{ours}()"] if hasattr(t, ours) else []
    return f"numpy.{name}: expected arrays, got a minigrad Tensor: use {' or '.join([*ways, '.numpy()'])}"
