"""Whether two graphs are the same computation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend as backends
from ..op import Op
from .calls import Call, Value
from .graph import Graph
from .guards import CaptureError, same


def settings(op: Op) -> dict[str, Any]:
    """The static parameters of an op, by name."""
    names = [name for cls in type(op).__mro__ for name in vars(cls).get("__slots__", ())]
    return {name: getattr(op, name) for name in names} | getattr(op, "__dict__", {})


def require_same(first: Graph, second: Graph) -> None:
    """Raise, with the first difference, unless two runs of a function did the same.

    Raises
    ------
    CaptureError
        If the calls, their settings, what they are bound to, the constants, or what is returned differ.
    """
    reason = difference(first, second)
    if reason:
        raise CaptureError(
            f"{first.title}: two runs of the function differ: {reason}. Python values that change from call to call "
            "can't be followed: pass them as Tensors"
        )


def difference(first: Graph, second: Graph) -> str:
    """The first difference between two graphs, in words; nothing if there is none."""
    twins = dict(zip(first.inputs, second.inputs, strict=True))
    for i, (a, b) in enumerate(zip(first.calls, second.calls, strict=False)):
        reason = _call_difference(a, b, twins)
        if reason:
            return f"op {i}, {a.name}{f' in {a.layer}' if a.layer else ''}, {reason}"
        twins.update(zip(a.outputs, b.outputs, strict=True))
    if len(first.calls) != len(second.calls):
        return f"{len(first.calls)} ops in the one and {len(second.calls)} in the other"
    pairs = list(zip(first.outputs, second.outputs, strict=False))
    if first.signature.results != second.signature.results or not all(
        _twins(a, b, twins) for a, b in pairs
    ):
        return "they return different values"
    if first.gradients.keys() != second.gradients.keys():
        return "they replace different gradients"
    for leaf, v in first.gradients.items():
        w = second.gradients[leaf]
        if v is not w and (v is None or w is None or not _twins(v, w, twins)):
            return "they leave different gradients"
    return ""


def _call_difference(a: Call, b: Call, twins: dict[Value, Value]) -> str:
    if type(a.op) is not type(b.op) or len(a.inputs) != len(b.inputs):
        return f"is {b.name} in the other"
    ours, theirs = settings(a.op), settings(b.op)
    for name in ours:
        if not same(ours[name], theirs[name]):
            return f"has {name}={ours[name]!r} in the one and {theirs[name]!r} in the other"
    for i, (v, w) in enumerate(zip(a.inputs, b.inputs, strict=True)):
        if (v is None) != (w is None) or (v is not None and not _twins(v, w, twins)):
            if v is not None and w is not None and v.kind == w.kind == "constant":
                return f"takes {_shown(v)} as input {i} in the one and {_shown(w)} in the other"
            return f"takes another input {i} in the other"
    return ""


def _twins(v: Value, w: Any, twins: dict[Value, Value]) -> bool:
    """Whether two values of two graphs are each other's."""
    if v.kind != w.kind or v.shape != w.shape or v.dtype != w.dtype:
        return False
    if v.kind == "constant":
        return _array(v).tobytes() == _array(w).tobytes()
    if v.kind == "state":
        return v.tensor is w.tensor
    return v.leaf is w.leaf if v.kind == "gradient" else twins.get(v) is w


def _array(v: Value) -> np.ndarray:
    assert v.tensor is not None
    data = v.tensor._data
    return backends.by_type[type(data)].to_numpy(data)


def _shown(v: Value) -> str:
    return f"{_array(v)!s:.40}"
