"""Guards: what must not have changed since a capture, for a replay to compute what the function would.

A capture follows one path through the Python code. Everything that chose that path and is no argument is kept here:
the attributes of the modules that were called, which tensors require gradients and which leaves had one, and the
contexts that decide where statistics go. Attributes are first compared by identity, all in one pass in C.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, is_
from typing import Any, NamedTuple

import numpy as np

from ..backend import where
from ..nn.batch_norm import hooks
from ..optim.optimizers import Optimizer, Update
from ..tape import Leaf, now, recording, revised, untraced
from ..tensor import Tensor


class CaptureError(RuntimeError):
    """A function does something that a graph can't repeat."""


class Replays:
    """Base class of graphs and jitted functions, which modules may keep as attributes."""


_PLAIN = (bool, int, float, str, bytes, slice, np.dtype, np.generic)


#: the value of a name that does not exist
MISSING: Any = object()
#: attributes that decide nothing: whether a batch norm has checked its statistics, to warn of them
FREE = frozenset({"_checked"})
#: the tensors of an optimizer; its numbers are read at each step
TENSORS = "params", "state", "steps"
_tensors = attrgetter(*TENSORS)


#: containers whose items are compared by identity first, with the attributes of modules
_LIVE = (list, dict, set, deque)


class Name(NamedTuple):
    """A name that the captured function reads from outside, and its value: ``get(key, MISSING)``."""

    get: Callable[[str, Any], Any]
    key: str
    value: Any
    shown: str


def contexts() -> tuple[bool, Any]:
    """Whether the tape is on, and the hooks on batch norm statistics."""
    return bool(recording.get()), hooks.get() if hooks.variable.get() else None


@dataclass
class Guards:
    """The conditions under which a graph may be replayed.

    Attributes
    ----------
    modules : dict of module or optimizer to its attributes
        The lists and dicts among them are watched as well: they change without an assignment.
    tensors : list of (Tensor, str, Leaf or None)
        Bound tensors, with their backend and device.
    leaves : dict of Leaf to bool
        Whether it had a gradient, of leaves whose gradient is read before it is replaced.
    contexts : tuple
    questions : list of callables
        Asked at each replay, they return what has changed, as ``broken``: of graphs that it includes, and about values
        that chose what was computed (``tape.decided``).
    free : set of str
        Attributes that may change.
    differentiates : bool
        Whether it goes backward, for which the tape has to be on.
    names : list of Name
        Names that the function reads from outside.
    containers : list of (container, tuple of its items)
        The lists, dicts, sets and arrays among that.
    mentioned : set of str
        All names in its code. Graphs and jitted functions in other attributes of modules may come and go.
    """

    contexts: tuple[Any, ...]
    modules: dict[Any, dict[str, Any]] = field(default_factory=dict)
    tensors: list[tuple[Tensor, str, Leaf | None]] = field(default_factory=list)
    leaves: dict[Leaf, bool] = field(default_factory=dict)
    questions: list[Callable[[], str]] = field(default_factory=list)
    differentiates: bool = False
    names: list[Name] = field(default_factory=list)
    containers: list[tuple[Any, tuple[Any, ...]]] = field(default_factory=list)
    mentioned: set[str] = field(default_factory=set)
    free: frozenset[str] = FREE

    def __post_init__(self) -> None:
        self._watched = [(c, items, before) for c, before in self.containers]
        for module in self.modules:
            for name, value in attributes(module, False).items():
                found = items if name in self.mentioned else _others
                self._watched += [(c, found, found(c)) for c in _containers(value)]
        # Compared at each call: arrays and the like, whose items are not objects that stay.
        self._opaque = [pair for pair in self.containers if not isinstance(pair[0], _LIVE)]
        self._optimizers = [o for o in self.modules if isinstance(o, Optimizer)]
        self._live = [vars(o).values() for o in self.modules if not isinstance(o, Optimizer)]
        for c, *_ in self._watched:
            if isinstance(c, _LIVE):
                self._live += (c, c.values()) if isinstance(c, dict) else (c,)
        self._snapshot: tuple[int, list[int], list[Any]] = (-2, [], [])

    def broken(self) -> str:
        """What has changed, as a message; empty if nothing has."""
        if contexts() != self.contexts and (reason := self._other_context()):
            return reason
        for leaf, had in self.leaves.items():
            if (leaf.grad is not None) != had:
                there = "has no gradient and had one" if had else "has a gradient and had none"
                return f"a parameter {there} when it was captured, so that it would be added up differently"
        if reason := changed(self.names, self._opaque):
            return reason
        revision, sizes, objects = self._snapshot
        if not (
            revised[0] == revision
            and [*map(len, self._live)] == sizes
            and all(map(is_, chain(*self._live, *map(_tensors, self._optimizers)), objects))
        ):
            # Before the comparison, or another thread may change something in between.
            objects = [*chain(*self._live, *map(_tensors, self._optimizers))]
            snapshot = revised[0], [*map(len, self._live)], objects
            if reason := self._changed():
                return reason
            self._snapshot = snapshot
        if not self.questions:
            return ""
        with untraced():
            return next(filter(None, (question() for question in self.questions)), "")

    def _changed(self) -> str:
        for c, found, content in self._watched:
            if reason := changed([], [(c, content)], found):
                return reason
        for module, before in self.modules.items():
            after = attributes(module)
            for name in {**before, **after}:
                if name in self.free:
                    continue
                value = after.get(name)
                if isinstance(value, Replays) and (
                    name not in self.mentioned or getattr(value, "guards", None) is self
                ):
                    continue
                if name not in before or name not in after or not same(before[name], after[name]):
                    return f"{type(module).__name__}.{name} has changed since it was captured"
        for t, was, leaf in self.tensors:
            if (now_at := where(t._data)) != was:
                return f"a tensor of shape {t.shape} has moved to {now_at} since it was captured"
            if leaf_of(t) is not leaf:
                return f"requires_grad of a tensor of shape {t.shape} has changed since it was captured"
        return ""

    def _other_context(self) -> str:
        (on, *rest), (was, *before) = contexts(), self.contexts
        if rest != before:
            return "statistics go, or come from, elsewhere than when it was captured"
        if on and not was:
            return (
                "it was captured under no_grad() and keeps no way back, and is called outside of it"
            )
        if was and not on and self.differentiates:
            return "it goes backward, and is called under no_grad()"
        return ""


def attributes(module: Any, copied: bool = True) -> dict[str, Any]:
    """The attributes that decide how a module computes; with ``copied``, lists as tuples of their items.

    For an optimizer, only the tensors that it updates: its numbers are read at each step.
    """
    own = vars(module)
    if isinstance(module, Optimizer):
        own = dict(zip(TENSORS, _tensors(module), strict=True))
    else:
        own = {"training": module.training, **own}
    return {k: tuple(v) if copied and type(v) is list else v for k, v in own.items()}


def _containers(value: Any, inside: tuple[int, ...] = ()) -> Iterator[Any]:
    """The lists, deques, dicts and sets in a value, each once on the way to it; ``inside``: the containers around."""
    if not isinstance(value, (list, dict, set, tuple, deque)) or id(value) in inside:
        return
    if not isinstance(value, tuple):
        yield value
    if not isinstance(value, set):
        for item in items(value):
            yield from _containers(item, (*inside, id(value)))


def items(container: Any) -> tuple[Any, ...]:
    """The items of a container, and the keys of a mapping."""
    if isinstance(container, (list, set, tuple)):
        return tuple(container)
    if isinstance(container, np.ndarray):
        return container.shape, container.dtype, container.tobytes()
    return (
        (*container, *container.values())
        if isinstance(container, (dict, Mapping))
        else tuple(container)
    )


def _others(container: Any) -> tuple[Any, ...]:
    """The items of a container except graphs and jitted functions and their keys."""
    if isinstance(container, dict):
        return items({k: v for k, v in container.items() if not isinstance(v, Replays)})
    return tuple(item for item in container if not isinstance(item, Replays))


def changed(
    names: Sequence[Name],
    containers: Sequence[tuple[Any, tuple[Any, ...]]] = (),
    items: Callable[[Any], tuple[Any, ...]] = items,
) -> str:
    """Which name has another value, or which container other items, as a message; empty if none has."""
    try:
        for get, key, value, shown in names:
            found = get(key, MISSING)
            if found is not value and not (plain(value) and same(found, value)):
                return f"{shown} has changed since it was captured"
    except ValueError:  # a variable without a value
        return f"{shown} has changed since it was captured"
    for container, before in containers:
        after = items(container)
        if len(after) != len(before) or not (
            all(map(is_, after, before)) or all(map(same, after, before))
        ):
            return f"a {type(container).__name__} that it reads has changed since it was captured"
    return ""


def leaf_of(t: Tensor) -> Leaf | None:
    """The Leaf of a tensor, if it is one that requires a gradient."""
    ref = t._ref
    return ref[0] if ref is not None and isinstance(ref[0], Leaf) else None


def same(a: Any, b: Any) -> bool:
    """Whether two settings are the same object or equal plain values."""
    if a is b:
        return True
    if isinstance(a, (tuple, list)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is not type(b) or not isinstance(a, _PLAIN):
        return False
    # 0.0 and -0.0 are equal and compute different things; a NaN is not equal and computes the same.
    return repr(a) == repr(b) if isinstance(a, (float, np.floating)) else bool(a == b)


def changed_settings(owner: Any, before: Mapping[str, Any]) -> Iterator[str]:
    """The attributes that are not what they were ``before``; where there is none, that of the class counts."""
    for name in {**before, **vars(owner)}:
        default = getattr(type(owner), name, MISSING)
        if not same(before.get(name, default), vars(owner).get(name, default)):
            yield name


def plain(value: Any) -> bool:
    """Whether a setting is immutable."""
    if isinstance(value, tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, _PLAIN)


class State:
    """Parameters, buffers and optimizer state that a graph has bound, as they were when it was recorded.

    Attributes
    ----------
    settings : dict of Update to dict
        The attributes of each step's optimizer.
    """

    def __init__(self, graph: Any) -> None:
        self._tensors = [v.tensor for v in graph.state() if v.tensor is not None]
        self._arrays = [t._data for t in self._tensors]
        written = {v.tensor for call in graph.calls for v in call.written if v.kind == "state"}
        self._versions = [t._shared_version() for t in written if t is not None]
        self.settings = {
            call.op: vars(call.op.optimizer).copy()
            for call in graph.calls
            if isinstance(call.op, Update)
        }

    def in_place(self) -> bool:
        """Whether the tensors still have the same arrays."""
        return all(map(is_, map(attrgetter("_data"), self._tensors), self._arrays))

    def reset(self) -> list[Update]:
        """The steps whose optimizers have other settings now."""
        return [op for op, before in self.settings.items() if vars(op.optimizer) != before]

    def touch(self) -> None:
        """Count a change of everything that the graph writes."""
        time = now() if self._versions else 0
        for version in self._versions:
            version[0] = time
