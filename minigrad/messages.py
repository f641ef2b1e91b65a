"""What error messages and warnings share: how they name a value of the wrong kind, and whose line they point at."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

import numpy as np

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
        outputs = type(value) is tuple and all(hasattr(v, "lift") for v in value)
        returns = " (batch_norm returns y, mean, var)" if outputs and len(value) == 3 else ""
        return f"{says} of {len(value)}: take one of them{returns}"
    if isinstance(value, type):
        return f"{says}: {value.__name__} is a class; call it first"
    if hasattr(value, "state_dict"):
        return f"{says}: call it with a Tensor first"
    package = type(value).__module__.partition(".")[0]
    if hasattr(value, "__dlpack__") and package not in ("numpy", "cupy"):
        return f"{says}: use mg.from_dlpack"
    numbers = isinstance(value, (int, float, list, tuple, range)) or package in ("numpy", "cupy")
    return f"{says}; wrap it with minigrad.tensor" if numbers else says


def require_numbers(name: str, **settings: Any) -> None:
    """Raise TypeError for a setting that is no Python or NumPy number, naming the function or layer ``name``."""
    for setting, value in settings.items():
        if not isinstance(value, (int, float, np.integer, np.floating)):
            hint = "; read it with .item()" if hasattr(value, "item") else ""
            raise TypeError(f"{name}: expected {setting} as a number, got {value!r}{hint}")


def require_at_least_0(name: str, **settings: Any) -> None:
    """As ``require_numbers``; ValueError for a negative number or NaN."""
    require_numbers(name, **settings)
    for setting, value in settings.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected {setting} >= 0, got {value}")


def require_state(into: str, state: Any) -> None:
    """Raise TypeError for what is no mapping, naming what the state was to be loaded into."""
    if not isinstance(state, Mapping):
        hint = "; minigrad.load reads a file" if isinstance(state, (str, os.PathLike)) else ""
        hint = "; take its .state_dict()" if hasattr(state, "state_dict") else hint
        raise TypeError(
            f"load_state_dict into {into}: expected names with their arrays, got {kind_of(state)}{hint}"
        )


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the program that called into the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_globals):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _inside(names: dict[str, Any]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in (_PACKAGE, "contextlib")


def warn_of_namesake() -> None:
    """Warn if the distribution "minigrad" is installed, another project, whose package has the same name."""
    for folder in sys.path:
        with suppress(OSError):
            for name in os.listdir(folder or "."):
                if not (name.startswith("minigrad-") and name.endswith(".dist-info")):
                    continue
                with open(os.path.join(folder, name, "RECORD"), errors="replace") as record:
                    found = any(line.startswith("minigrad/__init__.py,") for line in record)
                if found:
                    warn(
                        f"{name.removesuffix('.dist-info')} in {folder} is another project (or this one under its old "
                        "name), whose files mix with those of minigrad-bn: run `pip uninstall minigrad`, then install "
                        "minigrad-bn again"
                    )


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
