"""Comparison of graphs: side by side for people, and strictly, whether two runs of a function did the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from textwrap import wrap
from typing import Any

import numpy as np

from .. import backend as backends
from ..op import Op
from .calls import Call, Trace, Value
from .graph import Graph
from .guards import CaptureError, plain, same
from .showing import names, written

#: characters of each side
WIDTH = 48

Values = Iterable[Value | None]


@dataclass(frozen=True)
class Difference:
    """Calls of one layer that differ between two graphs.

    Attributes
    ----------
    layer : str
        The dotted name of the module; empty for calls outside of modules.
    first, second : tuple of Call
        The calls of each graph; one of them may be empty.
    """

    layer: str
    first: tuple[Call, ...]
    second: tuple[Call, ...]


@dataclass(frozen=True)
class GraphDiff:
    """The result of ``graph_diff``; printed, it shows the differences side by side.

    Attributes
    ----------
    first, second : Graph
    entries : tuple of Difference
        In the order of the calls.
    equal : int
        How many calls both have.
    same_results : bool
        Whether the same of their values are returned and left as gradients.
    """

    first: Graph
    second: Graph
    entries: tuple[Difference, ...]
    equal: int
    same_results: bool

    def __str__(self) -> str:
        graphs = self.first, self.second
        if not self.entries and self.same_results:
            return f"{self.first.title} and {self.second.title}: equal, {self.equal} ops"
        known = [names(graph) for graph in graphs]
        numbers = [{call: i for i, call in enumerate(graph.calls)} for graph in graphs]
        rows: list[tuple[str, ...]] = [(self.first.title, self.second.title)]
        for entry in self.entries:
            sides = entry.first, entry.second
            both = {c.name for c in entry.first} & {c.name for c in entry.second}
            lines = [
                [line for c in side for line in _lines(c, numbers[i][c], known[i], c.name in both)]
                for i, side in enumerate(sides)
            ]
            rows += [("", ""), (entry.layer or "in no layer", "")]
            rows += zip_longest(*lines, fillvalue="")
        if not self.same_results:
            rows += [("", ""), ("They return different values, or leave different gradients.", "")]
        left, right = (sum(len(getattr(e, s)) for e in self.entries) for s in ("first", "second"))
        counts = f"ops that both have: {self.equal}; only here: {left}, only there: {right}"
        return "\n".join([*(f"{a:<{WIDTH + 2}}{b}".rstrip() for a, b in rows), "", counts])


def graph_diff(first: Graph, second: Graph) -> GraphDiff:
    """Compare two graphs, call by call.

    Calls are equal if they apply the same op with the same settings, in the same layer, to values of the same shapes,
    parameters of the same name and the same constants, and if their inputs come from equal calls, or from calls that
    differ already: what follows a difference does not count as another one.

    Parameters
    ----------
    first, second : Graph
        From ``minigrad.graphs``, say, or of two versions of a network.

    Returns
    -------
    GraphDiff
        Print it; ``entries`` are the differences.

    Raises
    ------
    TypeError
        If an argument is no Graph.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2, bias=False), mg.nn.BatchNorm(2))
    >>> print(mg.graph_diff(*mg.graphs(model, mg.ones((4, 3)))))
    Sequential, train                                 Sequential, eval
    <BLANKLINE>
    1
      1 batch_norm(#0, gamma, beta)                     1 frozen_batch_norm(#0, gamma, beta,
      2 move_statistics(running_mean, running_var,            running_mean, running_var)
            num_batches, #1.1, #1.2)
    <BLANKLINE>
    ops that both have: 1; only here: 2, only there: 1
    """
    for argument, graph in (("first", first), ("second", second)):
        if not isinstance(graph, Graph):
            raise TypeError(
                f"graph_diff: expected {argument} to be a Graph, got {type(graph).__name__}; make one with "
                "minigrad.capture or minigrad.graphs"
            )
    keys, other_keys = ([_key(call) for call in graph.calls] for graph in (first, second))
    matcher = SequenceMatcher(None, keys, other_keys, autojunk=False)
    twins = _Twins(first, second)
    equal, entries, i, j = 0, list[Difference](), 0, 0
    for a, b, count in matcher.get_matching_blocks():
        entries += _by_layer(first.calls[i:a], second.calls[j:b])
        i, j = a + count, b + count
        for here, there in zip(first.calls[a:i], second.calls[b:j], strict=True):
            if twins.match(here.inputs, there.inputs):
                twins.add(here.outputs, there.outputs)
                equal += 1
            else:
                entries += _by_layer([here], [there])
    same_results = twins.match(first.outputs, second.outputs) and twins.match(
        first.gradients.values(), second.gradients.values()
    )
    return GraphDiff(first, second, tuple(entries), equal, same_results)


def require_same(first: Trace, second: Trace) -> None:
    """Raise a CaptureError with the first difference unless two runs of a function did the same."""
    reason = _difference(first, second)
    if reason:
        raise CaptureError(
            f"{first.title}: two runs of the function differ: {reason}. Python values that change from call to call "
            "can't be followed: pass them as Tensors"
        )


class _Twins:
    """Which values of two graphs correspond, as far as is known."""

    def __init__(self, first: Trace, second: Trace) -> None:
        self._there: dict[Value, Value] = {}
        self._known: set[Value] = set()
        self.add(first.inputs, second.inputs)

    def add(self, here: Iterable[Value], there: Iterable[Value]) -> None:
        for a, b in zip(here, there, strict=False):
            self._there[a] = b
            self._known.add(b)

    def match(self, here: Values, there: Values, strict: bool = False) -> bool:
        """Whether values correspond, as far as both are known, and, if ``strict``, have the same identity."""
        return all(self._pair(a, b, strict) for a, b in zip_longest(here, there))

    def _pair(self, a: Value | None, b: Value | None, strict: bool) -> bool:
        if a is None or b is None:
            return a is b
        if a in self._there and b in self._known and self._there[a] is not b:
            return False
        return not strict or _identity(a, strict) == _identity(b, strict)


def _difference(first: Trace, second: Trace) -> str:
    """Describe the first difference between two runs; empty if there is none."""
    twins = _Twins(first, second)
    for i, (a, b) in enumerate(zip(first.calls, second.calls, strict=False)):
        reason = _call_difference(a, b, twins)
        if reason:
            return f"op {i}, {a.name}{f' in {a.layer}' if a.layer else ''}, {reason}"
        twins.add(a.outputs, b.outputs)
    if len(first.calls) != len(second.calls):
        return f"{len(first.calls)} ops in the one and {len(second.calls)} in the other"
    results = first.signature.results == second.signature.results
    if not results or not twins.match(first.outputs, second.outputs, strict=True):
        return "they return different values"
    if first.gradients.keys() != second.gradients.keys():
        return "they replace different gradients"
    for leaf, v in first.gradients.items():
        if not twins.match([v], [second.gradients[leaf]], strict=True):
            return "they leave different gradients"
    return ""


def _call_difference(a: Call, b: Call, twins: _Twins) -> str:
    if type(a.op) is not type(b.op) or len(a.inputs) != len(b.inputs):
        return f"is {b.name} in the other"
    ours, theirs = settings(a.op), settings(b.op)
    for name in ours:
        if not same(ours[name], theirs[name]):
            return f"has {name}={ours[name]!r} in the one and {theirs[name]!r} in the other"
    for i, (v, w) in enumerate(zip(a.inputs, b.inputs, strict=True)):
        if not twins.match([v], [w], strict=True):
            if v is not None and w is not None and v.kind == w.kind == "constant":
                shown = [f"{_numbers(value)!s:.40}" for value in (v, w)]
                return f"takes {shown[0]} as input {i} in the one and {shown[1]} in the other"
            return f"takes another input {i} in the other"
    return ""


def _key(call: Call) -> Any:
    """What equal calls have in common, wherever their inputs come from."""
    inputs = tuple(None if v is None else _identity(v) for v in call.inputs)
    outputs = tuple((v.shape, v.dtype) for v in call.outputs)
    return call.name, call.layer, call.phase, _settings(call), inputs, outputs


def _identity(value: Value, strict: bool = False) -> Any:
    """What equal values have in common: constants their numbers; state, if ``strict``, the tensor, else its name."""
    identity: Any = None
    if value.kind == "constant":
        identity = _numbers(value).tobytes()
    elif strict:
        identity = value.kind, id(value.tensor), id(value.leaf)
    elif value.kind == "state":
        identity = value.kind, value.name
    return value.shape, value.dtype, identity


def _numbers(value: Value) -> np.ndarray:
    assert value.tensor is not None
    data = value.tensor._data
    return backends.by_type[type(data)].to_numpy(data)


def _by_layer(first: list[Call], second: list[Call]) -> Iterator[Difference]:
    """Compare the calls between two equal ones layer by layer."""
    for layer in dict.fromkeys(call.layer for call in (*first, *second)):
        a, b = (tuple(c for c in calls if c.layer == layer) for calls in (first, second))
        yield Difference(layer, a, b)


def settings(op: Op) -> dict[str, Any]:
    """Return the static parameters of an op, by name."""
    slots = [name for cls in type(op).__mro__ for name in vars(cls).get("__slots__", ())]
    return {name: getattr(op, name) for name in slots} | getattr(op, "__dict__", {})


def _settings(call: Call) -> str:
    found = settings(call.op)
    return ", ".join(f"{name}={_shown(found[name])}" for name in sorted(found))


def _shown(value: Any) -> str:
    """Show a setting; an object, such as an optimizer, by its plain attributes, since no two objects are the same."""
    if isinstance(value, (tuple, list)) or plain(value):
        return repr(value)
    inside = {k: v for k, v in getattr(value, "__dict__", {}).items() if plain(v)}
    return f"{type(value).__name__}({', '.join(f'{k}={v!r}' for k, v in inside.items())})"


def _lines(call: Call, number: int, known: dict[Value, str], detailed: bool) -> list[str]:
    """Return a call as it would be written in code, wrapped; ``detailed``: with its settings."""
    text = written(call, known)
    if detailed and (found := _settings(call)):
        text += f" with {found}"
    return wrap(text, WIDTH, initial_indent=f"{number:>3} ", subsequent_indent=" " * 8)
