"""Two graphs, side by side: which calls they have in common, and which not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from textwrap import wrap
from typing import Any

import numpy as np

from .calls import Call, Value
from .comparing import settings
from .graph import Graph
from .showing import names, written

#: characters of each side
WIDTH = 48


@dataclass(frozen=True)
class Difference:
    """Calls of one layer that stand in each other's place.

    Attributes
    ----------
    layer : str
        The dotted name of the module; empty for what is in none.
    first, second : tuple of Call
        What the one graph does there, and the other; one of them may be nothing.
    """

    layer: str
    first: tuple[Call, ...]
    second: tuple[Call, ...]


@dataclass(frozen=True)
class GraphDiff:
    """What ``graph_diff`` found; printed, both graphs side by side.

    Attributes
    ----------
    first, second : Graph
    entries : tuple of Difference
        In the order of the calls.
    equal : int
        Calls that both have.
    same_results : bool
        Whether they return, and leave as gradients, the same ones of their values.
    """

    first: Graph
    second: Graph
    entries: tuple[Difference, ...]
    equal: int
    same_results: bool

    def __str__(self) -> str:
        titles = f"{self.first.title} and {self.second.title}"
        if not self.entries and self.same_results:
            return f"{titles}: equal, {self.equal} ops"
        known = names(self.first), names(self.second)
        numbers = [{c: i for i, c in enumerate(g.calls)} for g in (self.first, self.second)]
        lines = [f"{self.first.title:<{WIDTH + 2}}{self.second.title}"]
        for entry in self.entries:
            lines += ["", entry.layer or "in no layer"]
            both = {c.name for c in entry.first} & {c.name for c in entry.second}
            sides = [
                [line for c in calls for line in _lines(c, numbers[i][c], known[i], c.name in both)]
                for i, calls in enumerate((entry.first, entry.second))
            ]
            pairs = zip_longest(*sides, fillvalue="")
            lines += [f"{left:<{WIDTH + 2}}{right}".rstrip() for left, right in pairs]
        if not self.same_results:
            lines += ["", "They return different values, or leave different gradients."]
        left, right = (
            sum(len(getattr(e, side)) for e in self.entries) for side in ("first", "second")
        )
        return "\n".join(
            [
                *lines,
                "",
                f"ops that both have: {self.equal}; only here: {left}, only there: {right}",
            ]
        )


def graph_diff(first: Graph, second: Graph) -> GraphDiff:
    """Compare two graphs, call by call.

    Calls are equal if they apply the same op with the same settings, in the same layer, to values of the same shapes,
    parameters of the same name and the same constants, and if what they take comes from equal calls, or from calls that
    differ already: whatever follows a difference does not count as one.

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
    here_keys, there_keys = ([_key(call) for call in graph.calls] for graph in (first, second))
    pairs = SequenceMatcher(None, here_keys, there_keys, autojunk=False).get_matching_blocks()
    twins = _Twins(first, second)
    equal, entries, here = 0, list[Difference](), (0, 0)
    for i, j, count in pairs:
        entries += _by_layer(first.calls[here[0] : i], second.calls[here[1] : j])
        for a, b in zip(first.calls[i : i + count], second.calls[j : j + count], strict=True):
            if twins.fit(a.inputs, b.inputs):
                twins.add(a.outputs, b.outputs)
                equal += 1
            else:
                entries += _by_layer([a], [b])
        here = i + count, j + count
    return GraphDiff(
        first, second, tuple(entries), equal, twins.fit(_results(first), _results(second))
    )


class _Twins:
    """Which values of two graphs are each other's, as far as is known."""

    def __init__(self, first: Graph, second: Graph) -> None:
        self._there: dict[Value, Value] = {}
        self._here: dict[Value, Value] = {}
        self.add(first.inputs, second.inputs)

    def add(self, here: Iterable[Value], there: Iterable[Value]) -> None:
        pairs = list(zip(here, there, strict=False))
        self._there.update(pairs)
        self._here.update((b, a) for a, b in pairs)

    def fit(self, here: Iterable[Value | None], there: Iterable[Value | None]) -> bool:
        """Whether these are each other's, as far as both come from what the graphs have in common."""
        return all(self._pair(a, b) for a, b in zip_longest(here, there))

    def _pair(self, a: Value | None, b: Value | None) -> bool:
        if a is None or b is None:
            return a is b
        return a not in self._there or b not in self._here or self._there[a] is b


def _results(graph: Graph) -> list[Value | None]:
    return [*graph.outputs, *graph.gradients.values()]


def _by_layer(first: list[Call], second: list[Call]) -> Iterator[Difference]:
    """Calls between two equal ones: those of one layer against each other."""
    for layer in dict.fromkeys(call.layer for call in (*first, *second)):
        a, b = (tuple(c for c in calls if c.layer == layer) for calls in (first, second))
        yield Difference(layer, a, b)


def _key(call: Call) -> Any:
    """What equal calls have in common, wherever their inputs come from."""
    inputs = tuple(None if v is None else (*_kind(v), _identity(v)) for v in call.inputs)
    outputs = tuple(map(_kind, call.outputs))
    return call.name, call.layer, call.phase, _settings(call), inputs, outputs


def _kind(value: Value) -> Any:
    return value.shape, value.dtype


def _identity(value: Value) -> Any:
    if value.kind == "constant":
        assert value.tensor is not None
        return value.tensor.numpy().tobytes()
    return (value.kind, value.name) if value.kind == "state" else None


def _settings(call: Call) -> str:
    found = settings(call.op)
    return ", ".join(f"{name}={_shown(found[name])}" for name in sorted(found))


def _shown(value: Any) -> str:
    """A setting; an object, an optimizer say, by its own plain settings, since no two are the same."""
    if isinstance(value, (bool, int, float, str, tuple, list, slice, np.dtype, type(None))):
        return repr(value)
    inside = {k: v for k, v in getattr(value, "__dict__", {}).items() if _plain(v)}
    return f"{type(value).__name__}({', '.join(f'{k}={v!r}' for k, v in inside.items())})"


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) or (
        isinstance(value, tuple) and all(map(_plain, value))
    )


def _lines(call: Call, number: int, known: dict[Value, str], detailed: bool) -> list[str]:
    """A call as one would write it, wrapped; with its settings where those may be what differs."""
    text = written(call, known)
    if detailed and (found := _settings(call)):
        text += f" with {found}"
    return wrap(text, WIDTH, initial_indent=f"{number:>3} ", subsequent_indent=" " * 8)
