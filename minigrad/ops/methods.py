"""The operators and methods with which a Tensor computes, each with its type: one table.

``Tensor`` inherits the table. The code of a method is the function of its name in the file that the table names:
``@method`` makes it one. Those files import ``Tensor``, so imports run one way, and editors and type checkers see
every method all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..messages import explain, explained, no_attribute, not_a_tensor

Function = TypeVar("Function", bound=Callable[..., Any])
#: the class Tensor, which inherits this table
Tensor = TypeVar("Tensor")
Self = TypeVar("Self")
#: the other operand of an operator: a Tensor, a number, an array or a list
Operand = Any
#: one axis, several, or all
Axes = int | tuple[int, ...] | None

#: methods of optional modules, which are functions of ``minigrad`` too
LATER = {
    "ops.accumulation": "cumsum logsumexp prod",
    "ops.rearrange": "ravel repeat split squeeze swapaxes tile unsqueeze",
}


class Methods(Generic[Tensor]):
    """Base class of Tensor."""

    __slots__ = ()

    if TYPE_CHECKING:
        # arithmetic.py and linear.py; those of one kind have the type of the first
        def __add__(self, other: Operand) -> Tensor: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = __add__
        __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __add__
        __lt__ = __le__ = __gt__ = __ge__ = __add__

        # elementwise.py
        def exp(self) -> Tensor: ...
        def clip(self, low: float | None = None, high: float | None = None) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...

        log = log1p = expm1 = sin = cos = sqrt = tanh = abs = __abs__ = __neg__ = exp

        # reduction.py, and accumulation.py
        def sum(self, axis: Axes = None, keepdims: bool = False) -> Tensor: ...
        def var(self, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: int | None = None) -> Tensor: ...

        def max(self, *, axis: Axes = None, keepdims: bool = False) -> Tensor: ...

        mean = logsumexp = prod = sum
        min = max
        std = var
        argmin = cumsum = argmax

        # shape.py, and rearrange.py
        def reshape(self, *shape: int | Sequence[int]) -> Tensor: ...
        def transpose(self, *axes: int | Sequence[int]) -> Tensor: ...
        def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor: ...
        def squeeze(self, axis: Axes = None) -> Tensor: ...
        def unsqueeze(self, axis: int) -> Tensor: ...
        def swapaxes(self, axis1: int, axis2: int) -> Tensor: ...
        def repeat(self, *repeats: int, axis: Any = ...) -> Tensor: ...
        def tile(self, *reps: int | Sequence[int]) -> Tensor: ...
        def split(self, sizes: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]: ...

        view = broadcast_to = reshape
        permute = transpose
        ravel = exp

        # indexing.py
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Operand) -> None: ...
        def copy_(self, source: Operand) -> Tensor: ...
        def __iadd__(self: Self, other: Operand) -> Self: ...

        __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = __iadd__

        # autograd.py
        def clone(self) -> Tensor: ...
        def backward(self, grad: Any = None, create_graph: bool = False, **others: Any) -> None: ...

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(no_attribute(f"{type(self).__name__!r} object", name))

    __hash__ = object.__hash__

    @property
    def T(self) -> Tensor:
        """Axes reversed."""
        return self.transpose()


class Later:
    """A method whose module replaces it, imported when the method is first looked up."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __get__(self, tensor: Any, owner: Any) -> Any:
        import_module(f"minigrad.{self.module}")
        return vars(Methods)[self.name].__get__(tensor, owner)


for _module, _names in LATER.items():
    for _name in _names.split():
        setattr(Methods, _name, Later(_module, _name))


def of_tensor(function: Function) -> Function:
    """Decorate a function of a Tensor: any other first argument is a TypeError that names the function."""
    title = function.__name__.strip("_")

    @wraps(function)
    def checked(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Methods):
            raise TypeError(f"{title}: {not_a_tensor(x)}")
        try:
            return function(x, *args, **kwargs)
        except TypeError as error:
            explain(error, function, title)
            raise

    return checked  # type: ignore[return-value]


def method(*names: str) -> Callable[[Function], Function]:
    """Decorate a function of a Tensor that is also a method under its own name, or under ``names``."""

    def decorate(function: Function) -> Function:
        title = names[0] if names else function.__name__
        names_of = signature(function).parameters.keys()
        plain = title[0] == "_" or names_of <= {"x", "self", "shape"} or "others" in names_of
        code = function if plain else explained(function, title)
        for name in names or (title,):
            setattr(Methods, name, code)
        return of_tensor(function)

    return decorate
