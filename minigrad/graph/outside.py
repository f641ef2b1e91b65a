"""What a function reads from outside, found in its bytecode, so that a replay can tell whether it has changed.

Followed are global names, closure cells, defaults, and attributes of what is found there (``cfg.lr``, ``self.scale``),
through the Python functions, methods, properties and callable objects that are reached that way. The functions of
minigrad, of the standard library and of installed packages count as depending on their arguments only; what they wrap
is followed.
"""

from __future__ import annotations

import builtins
import dis
import os
import sys
import sysconfig
from collections import deque
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ..nn.module import Module
from ..optim.optimizers import Optimizer
from .guards import MISSING, CaptureError, Name, changed, items

#: items of a container, and bytes of an array, beyond which it is refused
MOST_ITEMS, MOST_BYTES = 1000, 2**16

_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"}
_BETWEEN = {"COPY", "DUP_TOP", "SWAP", "PUSH_NULL", "EXTENDED_ARG"}
_LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parents[1],
        *map(sysconfig.get_paths().get, ("stdlib", "purelib", "platlib")),
    )
)


class Read(NamedTuple):
    """A name that code reads or sets, and the attributes of it that it goes on to, one after the other."""

    kind: str
    name: str
    attributes: tuple[str, ...]


@lru_cache(maxsize=1024)
def _reads(code: CodeType, owner: str | None) -> frozenset[Read]:
    """What code and the functions inside of it read; ``owner`` is what it calls its first argument."""
    found, path = set(), None
    for instruction in dis.get_instructions(code):
        operation, name = instruction.opname, instruction.argval
        if path is not None and operation in _BETWEEN:
            continue
        if path is not None and operation in _ATTRIBUTES:
            path = path._replace(attributes=(*path.attributes, name))
            continue
        if path is not None:
            found.add(path)
        path = None
        if operation.endswith("_GLOBAL") or operation == "LOAD_NAME":
            path = Read("global", name, ())
        elif "_FAST" in operation or operation.endswith("_DEREF"):
            name = name[-1] if isinstance(name, tuple) else name
            if name == owner:
                path = Read("owner", name, ())
            elif operation.endswith("_DEREF"):
                path = Read("cell", name, ())
    inner = [_reads(c, owner) for c in code.co_consts if isinstance(c, CodeType)]
    return frozenset(found).union(*inner)


class Outside:
    """What functions read from outside, as it is now.

    Attributes
    ----------
    names : list of Name
        Names and attributes, and what they stand for.
    containers : list of (container, tuple of its items)
        Lists, dicts, sets, arrays and objects among them, which change without being assigned.
    modules : dict of Module to None
        Modules among them, whose own attributes are not in ``names``.

    Raises
    ------
    CaptureError
        For containers that are too large to be looked through at each call.
    """

    def __init__(self) -> None:
        self.names: list[Name] = []
        self.containers: list[tuple[Any, tuple[Any, ...]]] = []
        self.modules: dict[Module, None] = {}
        self._seen: dict[tuple[Any, ...], Any] = {}  # values are kept, so that ids stay theirs

    def settle(self) -> None:
        """Raise if the captured function has set a name; watch no containers that it has changed."""
        for name in self.names:
            if changed([name]):
                raise CaptureError(
                    f"capture: {name.shown} is set inside of the captured function, and a replay would not set it; do "
                    "it outside"
                )
        self.containers = [pair for pair in self.containers if not changed([], [pair])]

    def visit(self, value: Any) -> None:
        """Follow a value that is called, or passed on."""
        if self._again(value):
            return
        if isinstance(value, Module):
            for module in value.modules():
                self.modules[module] = None
                self._follow(module, ("forward",))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType):
            if isinstance(value.__self__, Module):
                self.visit(value.__self__)
            self._function(value.__func__, value.__self__)
        elif isinstance(value, partial):
            self.visit((value.func, value.args, value.keywords))
        elif isinstance(value, (list, dict, set, tuple, frozenset, deque, bytearray, np.ndarray)):
            self._container(value)
        elif isinstance(value, type):
            self._follow(value, ("__init__",))
        elif _users(type(value)):
            if callable(value):
                self._follow(value, ("__call__",))
            else:
                self._container(vars(value) if hasattr(value, "__dict__") else {})
        if wrapped := getattr(value, "__dict__", {}).get("__wrapped__"):
            self.visit(wrapped)

    def _again(self, *key: Any) -> bool:
        ids = tuple(map(id, key))
        return ids in self._seen or self._seen.setdefault(ids, key) is not key

    def _container(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            size, most, what = value.nbytes, MOST_BYTES, "an array of {} bytes"
        else:
            size, most, what = len(value), MOST_ITEMS, f"a {type(value).__name__} of {{}} items"
        if not isinstance(value, (tuple, frozenset)):
            if size > most:
                raise CaptureError(
                    f"capture: the function reads {what.format(size)} from outside, too much to see in each replay "
                    "whether it has changed; pass it as an argument, or make it a tuple"
                )
            self.containers.append((value, items(value)))
        if not isinstance(value, (np.ndarray, bytearray)):
            for item in items(value):
                self.visit(item)

    def _function(self, function: Any, owner: Any = MISSING) -> None:
        """Follow what a function reads; ``owner`` is its first argument, if that is known."""
        if not isinstance(function, FunctionType) or self._again(function, owner):
            return
        code = function.__code__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        if code.co_filename.startswith(_LIBRARIES):
            for name in cells:
                self.visit(self._cell(cells, name))
            return
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            value = self._watch(partial(getattr, function), name, f"{function.__name__}.{name}")
            self.visit(None if name == "__code__" else value)
        known = owner is not MISSING and code.co_argcount
        for kind, name, attributes in _reads(code, code.co_varnames[0] if known else None):
            if kind == "owner":
                if attributes:
                    self._follow(owner, attributes)
            elif kind == "global":
                value = self._watch(function.__globals__.get, name, f"global {name}")
                if value is not MISSING:
                    self._follow(value, attributes)
            elif name != "__class__":
                self._follow(self._cell(cells, name), attributes)

    def _cell(self, cells: dict[str, Any], name: str) -> Any:
        """What a variable of an enclosing function stands for; None for those of the function itself."""
        try:
            return self._watch(partial(getattr, cells[name]), "cell_contents", f"variable {name}")
        except (KeyError, ValueError):  # a variable that has no value yet
            return None

    def _follow(self, value: Any, attributes: tuple[str, ...]) -> None:
        for name in attributes:
            if isinstance(value, ModuleType):
                if _library(value):
                    return
                value = self._watch(vars(value).get, name, f"{value.__name__}.{name}")
            elif isinstance(value, type) and _users(value):
                value = self._unbound(self._in_class(value, name), value)
            elif isinstance(value, (Module, Optimizer)) or _users(type(value)):
                self.visit(value if isinstance(value, Module) else None)
                value = self._attribute(value, name)
            else:
                break
            if value is MISSING:
                return
        self.visit(value)

    def _attribute(self, value: Any, name: str) -> Any:
        """An attribute of an object; MISSING where nothing more is to be followed."""
        found = self._in_class(type(value), name)
        own = getattr(value, "__dict__", {})
        shown = f"{type(value).__name__}.{name}"
        if isinstance(found, property):
            self._function(found.fget, value)
            return MISSING
        if name in own:
            # The attributes of modules are watched as a whole.
            return own[name] if isinstance(value, Module) else self._watch(own.get, name, shown)
        if hasattr(found, "__set__"):  # a slot
            return self._watch(partial(getattr, value), name, shown)
        if not isinstance(value, Module):
            self._watch(own.get, name, shown)
        if isinstance(found, FunctionType):
            self._function(found, value)
            return MISSING
        return self._unbound(found, type(value))

    def _unbound(self, found: Any, cls: type) -> Any:
        if isinstance(found, classmethod):
            self._function(found.__func__, cls)
            return MISSING
        return found.__func__ if isinstance(found, staticmethod) else found

    def _in_class(self, cls: type, name: str) -> Any:
        """What a class or its bases have under a name."""
        for base in cls.__mro__:
            get, shown = vars(base).get, f"{base.__name__}.{name}"
            found = self._watch(get, name, shown, base) if _users(base) else get(name, MISSING)
            if found is not MISSING:
                return found
        return MISSING

    def _watch(self, get: Any, name: str, shown: str, holder: Any = None) -> Any:
        value = get(name, MISSING)
        if holder is None:
            holder = get.args[0] if isinstance(get, partial) else get.__self__
        if (id(holder), name) not in self._seen:
            self._seen[id(holder), name] = holder
            self.names.append(Name(get, name, value, shown))
        return value


def _library(module: ModuleType | None) -> bool:
    """Whether a module is minigrad's, the standard library's, or installed."""
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    return (
        module is builtins
        or module.__name__ in sys.stdlib_module_names
        or (file is not None and file.startswith(_LIBRARIES))
    )


def _users(cls: type) -> bool:
    """Whether a class is none of a library's."""
    return cls is SimpleNamespace or not _library(sys.modules.get(cls.__module__))
