"""Arrays that note what NumPy does with them, for a recording.

Ufuncs, reductions, copies and assignments become steps of the recording. Views are seen by the memory that they are in,
as are new arrays, which are in none that a recording knows. The rest (values that Python reads, changes in place by
methods) is reported: the op that does it is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np

#: the recording (``recording.Recording``) that is being made by this thread
current: ContextVar[Any] = ContextVar("current", default=None)

#: arguments of ufuncs that say how, not what
_HOW = {"axis", "casting", "dtype", "keepdims", "order", "subok"}
#: functions of NumPy that write into an argument
_WRITES = {np.copyto, np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis}


class Watched(np.ndarray):
    """An array that notes what NumPy does with it in the recording."""

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **how: Any
    ) -> Any:
        recording, function = current.get(), getattr(ufunc, method)
        given = tuple(map(bare, inputs))
        if how.get("where") is True:
            del how["where"]
        known = method in ("__call__", "reduce") and ufunc.nout == 1 and how.keys() <= _HOW
        if recording is None or not known:
            _unknown(f"{ufunc.__name__}.{method}")
            if out is not None:
                how["out"] = tuple(map(bare, out))
            return function(*given, **{name: bare(value) for name, value in how.items()})
        if out is None:
            found = function(*given, **how)
            target = recording.like(np.asarray(found))
            np.copyto(bare(target), found)
        else:
            (target,) = out
            function(*given, out=bare(target), **how)
        recording.note(partial(_into, function, how), (target, *given))
        return target

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        found = super().__array_function__(function, types, args, kwargs)
        # What makes arrays or views is seen by the memory that they are in; what writes, or gives numbers, is not.
        reads = not isinstance(found, (np.ndarray, list, tuple))
        if reads or function in _WRITES or "out" in kwargs:
            _unknown(function.__name__)
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        whole = bare(self)
        target = whole[key]
        recording = current.get()
        whole[key] = value
        view = isinstance(target, np.ndarray) and np.may_share_memory(target, whole)
        if recording is not None and view:
            recording.note(np.copyto, (target, bare(value)))
        else:
            _unknown("an indexed assignment")

    def fill(self, value: Any) -> None:
        self[...] = value

    def copy(self, order: Any = "C") -> Any:
        return self._copied(bare(self).copy(order))

    def astype(  # type: ignore[override]
        self, dtype: Any, order: Any = "K", copy: bool = True, **how: Any
    ) -> Any:
        found = bare(self).astype(dtype, order=order, copy=copy, **how)
        if np.may_share_memory(found, self):
            return self
        return self._copied(found)

    def _copied(self, found: Any) -> Any:
        recording = current.get()
        if recording is None:
            return found
        target = recording.like(found)
        np.copyto(bare(target), found)
        recording.note(partial(np.copyto, casting="unsafe"), (target, self))
        return target


def _noticing(name: str) -> Callable[..., Any]:
    """A method of arrays: what it makes is seen by its memory, unless that is a number or the array itself."""

    def method(self: Watched, *args: Any, **kwargs: Any) -> Any:
        found = getattr(super(Watched, self), name)(*args, **kwargs)
        if name in _CHANGES or not isinstance(found, np.ndarray):
            _unknown(name)
        return found

    return method


#: methods that change an array in a way that is not noted
_CHANGES = {"sort", "partition", "put", "byteswap", "setfield", "resize", "setflags"}
_VALUES = {
    f"__{name}__"
    for name in ["bool", "complex", "contains", "float", "format", "getitem", "index", "int"]
}
for _name in dir(np.ndarray):
    own = _name in _VALUES or (_name[0] != "_" and callable(getattr(np.ndarray, _name)))
    if own and _name not in vars(Watched):
        setattr(Watched, _name, _noticing(_name))


def _into(function: Callable[..., Any], how: dict[str, Any], target: Any, *inputs: Any) -> None:
    """A ufunc or a reduction, with the array that it writes into first."""
    function(*inputs, out=target, **how)


def bare(x: Any) -> Any:
    """A watched array as a plain one."""
    return x.view(np.ndarray) if isinstance(x, Watched) else x


def _unknown(what: str) -> None:
    recording = current.get()
    if recording is not None:
        recording.reason = recording.reason or what
