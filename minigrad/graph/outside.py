"""Names and objects that a function reads from outside, found in its code, so that guards can watch them.

Followed are global names, closure cells and defaults, and of everything that is found there the attributes whose names
the code mentions anywhere (``cfg.lr``, ``getattr(cfg, "lr")``), through the Python functions, methods, properties and
objects that are reached that way. Which object an attribute is read from is not asked: too much is watched rather than
too little. The functions of minigrad, of the standard library and of installed packages count as depending on their
arguments only; what they wrap is followed.
"""

from __future__ import annotations

import builtins
import dis
import os
import sys
import sysconfig
from array import array
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Set
from contextlib import suppress
from functools import cached_property, lru_cache, partial, partialmethod
from pathlib import Path
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

import numpy as np

from ..nn.module import Module
from ..optim import Optimizer
from ..optim.schedules import LRScheduler
from ..tensor import Tensor
from .graph import Graph
from .guards import MISSING, CaptureError, Name, changed, items, plain

#: items of a container, and bytes of an array, beyond which it is refused
MOST_ITEMS, MOST_BYTES = 1000, 2**16

_CONTAINERS: tuple[type, ...] = (
    *(list, dict, set, tuple, frozenset, deque, bytearray, array, np.ndarray),
    *(UserDict, UserList, ChainMap, MappingProxyType),
    *(type({}.keys()), type({}.values()), type({}.items())),
)
#: objects that wrap others, and the attributes under which these are found
_WRAPPERS: tuple[type, ...] = (
    *(MethodType, BuiltinMethodType, MethodWrapperType, partial, partialmethod),
    *(classmethod, staticmethod, property, cached_property, Optimizer, LRScheduler),
)
_PARTS = "__self__", "__func__", "func", "args", "keywords", "fget", "groups", "optimizer"
#: methods that make an object, which are of no interest once it is made
_MAKING = {"__init__", "__new__", "__post_init__"}
#: methods that ``dataclass`` writes, which read every field
_COMPARING = {"__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"}
#: names that code mentions where it may read attributes by texts, or all attributes of an object
_BY_TEXT = {"getattr", "hasattr", "setattr", "delattr", "vars", "__dict__"}
_ALL = {"vars", "__dict__", "asdict", "astuple"}
_LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parents[1],
        *map(sysconfig.get_paths().get, ("stdlib", "purelib", "platlib")),
    )
)


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The global names, all names, and texts that may be names, in code and the functions inside of it."""
    read = (
        i.argval
        for i in dis.get_instructions(code)
        if "_GLOBAL" in i.opname or i.opname == "LOAD_NAME"
    )
    names = code.co_consts if _BY_TEXT.intersection(code.co_names) else ()
    texts = (c for c in names if isinstance(c, str) and c.isidentifier())
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    own = frozenset(read), frozenset(code.co_names), frozenset(texts)
    return tuple(a.union(*others) for a, *others in zip(own, *inner, strict=True))


class Outside:
    """The names, containers and modules that functions read from outside, with their present values.

    Attributes
    ----------
    names : list of Name
        Names and attributes, and what they stand for.
    containers : list of (container, tuple of its items)
        Lists, dicts, sets, arrays and the like among them, which change without being assigned.
    modules : dict of Module to None
        Modules among them, whose own attributes are not in ``names``.
    settings : dict of Optimizer or schedule to None
        Those among them, whose attributes the function must not set.
    mentioned : set of str
        All names in the code, and texts that may be names.

    Raises
    ------
    CaptureError
        For containers that are too large to be compared at each call.
    """

    def __init__(self) -> None:
        self.names: list[Name] = []
        self.containers: list[tuple[Any, tuple[Any, ...]]] = []
        self.modules: dict[Module, None] = {}
        self.settings: dict[Any, None] = {}
        self.mentioned = {"forward", "_hooks"}
        self._texts: set[str] = set()
        self._owners: list[Any] = []
        self._seen: dict[Any, Any] = {}  # values are kept, so that ids stay theirs

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
        """Follow a value that may be called, passed on, or have attributes that are read."""
        if isinstance(value, (Tensor, Graph)) or plain(value) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        for name in _PARTS if isinstance(value, _WRAPPERS) else ():
            self.visit(getattr(value, name, None))
        if isinstance(value, Module):
            self.modules[value] = None
            for module in value.modules():
                self.visit(module)
        elif isinstance(value, (Optimizer, LRScheduler)):
            self.settings[value] = None
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, _CONTAINERS):
            self._container(value)
        if not isinstance(value, ModuleType) or not _library(value):
            self._owners.append(value)
            self._attributes(value, self.mentioned | _specials(value) | {"__wrapped__"})

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
        if not isinstance(value, np.ndarray):
            for item in items(value):
                self.visit(item)

    def _function(self, function: FunctionType) -> None:
        """Follow what a function reads."""
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        names: Iterable[str] = ()
        if not code.co_filename.startswith(_LIBRARIES):
            for name in ("__code__", "__defaults__", "__kwdefaults__"):
                value = self._watch(partial(getattr, function), name, f"{function.__name__}.{name}")
                self.visit(None if name == "__code__" else value)
            names, mentioned, texts = _names(code)
            self._texts |= texts
            self._mention((mentioned | texts) - _MAKING)
        for name, cell in cells:
            if name != "__class__":
                with suppress(ValueError):  # a variable that has no value yet
                    self.visit(
                        self._watch(partial(getattr, cell), "cell_contents", f"variable {name}")
                    )
        for name in names:
            self.visit(self._watch(function.__globals__.get, name, f"global {name}"))

    def _mention(self, names: Set[str]) -> None:
        """Follow attributes of these names, wherever they are read from."""
        new = names - self.mentioned
        self.mentioned |= new
        for value in tuple(self._owners) if new else ():
            self._attributes(value, new)

    def _attributes(self, value: Any, names: Iterable[str]) -> None:
        """Follow attributes of an object, class or Python module."""
        if isinstance(value, Optimizer) and "param_groups" in names:
            self.visit(value.param_groups)
        bases, own, places = _bases(value), _dict(value), []
        if not isinstance(value, type):
            title = value.__name__ if isinstance(value, ModuleType) else type(value).__name__
            places.append((value, own, title))
        places += [(base, vars(base), base.__name__) for base in bases]
        others = self._texts if bases or isinstance(value, ModuleType) else ()
        for name in sorted(names):
            if name not in others and not any(name in place for _, place, _ in places):
                continue
            for holder, place, title in places:
                found = place.get(name, MISSING)
                if holder is value and found is MISSING and name[:2] == "__":
                    continue  # is looked up in the class
                if isinstance(found, MemberDescriptorType) and not isinstance(value, type):
                    found = self._watch(partial(getattr, value), name, f"{title}.{name}")
                elif holder is not value or not isinstance(value, Module):
                    # The attributes of modules are watched as a whole.
                    self._watch(place.get, name, f"{title}.{name}", holder)
                self.visit(found)
        settings = bases or type(value).__name__ in ("Namespace", "SimpleNamespace")
        if settings and not isinstance(value, (type, Module)) and self.mentioned & _ALL:
            self.visit(own)

    def _watch(self, get: Any, name: str, shown: str, holder: Any = None) -> Any:
        value = get(name, MISSING)
        if holder is None:
            holder = get.args[0] if isinstance(get, partial) else get.__self__
        key = (id(holder), name, isinstance(get, partial))
        if key not in self._seen:
            self._seen[key] = holder
            self.names.append(Name(get, name, value, shown))
        return value


def _dict(value: Any) -> Any:
    """The attributes of an object itself."""
    try:
        return vars(value)
    except Exception:  # it has none, and its class may define __getattr__
        return {}


def _bases(value: Any) -> list[type]:
    """The classes that an object or class has attributes from, but for libraries' ones."""
    own = value.__mro__ if isinstance(value, type) else ()
    classes = (*own, *type(value).__mro__)
    return [cls for cls in classes if not _library(sys.modules.get(cls.__module__))]


def _specials(value: Any) -> set[str]:
    """The methods of an object or class that are called without being mentioned: ``__call__``, ``__getitem__``, ..."""
    names = set()
    for base in map(vars, _bases(value)):
        own = {name for name in base if name[:2] == name[-2:] == "__" and callable(base[name])}
        names |= own - _COMPARING if "__dataclass_fields__" in base else own
    return names if isinstance(value, type) else names - _MAKING


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
