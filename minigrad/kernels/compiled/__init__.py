"""Loops that Numba compiles. A module is imported, and with it Numba, when it is first asked for."""

from importlib import import_module
from typing import Any

MODULES = {"batch_norm", "elementwise", "launch", "products", "running", "updates", "windows"}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)
