"""What error messages and warnings share: how they name a value of the wrong kind, and whose line they point at."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]


def kind_of(value: Any) -> str:
    """The type of ``value``, with its package, as several share the names "Tensor" and "ndarray"; "None" for None."""
    if value is None:
        return "None"
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package in ("builtins", "__main__") else f"{package}.{kind.__name__}"


def not_a_tensor(value: Any) -> str:
    """What to say of ``value`` where a Tensor is expected: its kind, and the way to a Tensor."""
    says = f"expected a minigrad Tensor, got {kind_of(value)}"
    if isinstance(value, (tuple, list)) and any(hasattr(v, "lift") for v in value):
        returns = " (batch_norm returns y, mean, var; a recurrent layer its outputs and last state)"
        return f"{says} of {len(value)}: take one of them{returns if type(value) is tuple else ''}"
    if isinstance(value, type):
        return f"{says}: {value.__name__} is a class; call it first"
    if hasattr(value, "state_dict"):
        return f"{says}: call it with a Tensor first"
    package = type(value).__module__.partition(".")[0]
    if hasattr(value, "__dlpack__") and package not in ("numpy", "cupy"):
        return f"{says}: use mg.from_dlpack"
    return says if value is None else f"{says}; wrap it with minigrad.tensor"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the program that called into the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_globals):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _inside(names: dict[str, Any]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in (_PACKAGE, "contextlib")


def renamed(old: str, new: str) -> Callable[[Function], Function]:
    """A decorator: the keyword ``old`` still works for the parameter ``new``, with a DeprecationWarning."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(
                        f"{function.__qualname__}: {old} is the old name of {new}; got both"
                    )
                warn(f"{old} is called {new} now", DeprecationWarning)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return called  # type: ignore[return-value]

    return decorate


def old_name(old: str, new: str) -> Any:
    """A property: the attribute ``new`` under its old name, with a DeprecationWarning."""

    def get(self: Any) -> Any:
        warn(f"{type(self).__name__}.{old} is called {new} now", DeprecationWarning)
        return getattr(self, new)

    def set_(self: Any, value: Any) -> None:
        warn(f"{type(self).__name__}.{old} is called {new} now", DeprecationWarning)
        setattr(self, new, value)

    return property(get, set_)
