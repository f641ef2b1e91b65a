"""Memory for results that are not needed at the same time: the same memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .calls import Value
    from .graph import Graph

Key = TypeVar("Key")

#: results begin at a cache line
LINE = 64


class Life(NamedTuple):
    """How large a result is, and from which to which step it is needed, both included."""

    nbytes: int
    first: int
    last: int


def share(lives: Mapping[Key, Life]) -> tuple[dict[Key, int], int]:
    """Where each result begins in one piece of memory, and how large that is.

    The largest are placed first, each at the lowest place that is free all its life (Pisarchyk & Lee 2020,
    arXiv:2001.03288, "greedy by size").

    Examples
    --------
    >>> share({"a": Life(100, 0, 1), "b": Life(64, 1, 2), "c": Life(30, 2, 3)})
    ({'a': 0, 'b': 128, 'c': 0}, 192)
    """
    placed: list[tuple[int, int, Life]] = []
    offsets: dict[Key, int] = {}
    for key, life in sorted(lives.items(), key=lambda item: -item[1].nbytes):
        start = 0
        for begin, end, other in sorted(placed, key=lambda item: item[0]):
            if other.last < life.first or life.last < other.first:
                continue
            if begin - start >= life.nbytes:
                break
            start = max(start, end)
        end = start + -(-max(life.nbytes, 1) // LINE) * LINE
        placed.append((start, end, life))
        offsets[key] = start
    return {key: offsets[key] for key in lives}, max((end for _, end, _ in placed), default=0)


def peak(graph: Graph) -> int:
    """Bytes that the results of a graph need where each has its memory only as long as it is used.

    Views need none, and what an op allocates for itself and gives back is not counted. What is returned, or left in
    gradients, is kept to the end.
    """
    owner: dict[Value, Value] = {}
    lives: dict[Value, Life] = {}
    for i, call in enumerate(graph.calls):
        for v in call.outputs:
            first = call.inputs[0] if call.op.aliases else None
            owner[v] = v if first is None else owner.get(first, first)
        for v in filter(None, (*call.inputs, *call.outputs)):
            own = owner.get(v, v)
            if own.kind == "result":
                start = lives[own].first if own in lives else i
                lives[own] = Life(own.nbytes, start, i)
    for v in graph.wanted():
        if (own := owner.get(v, v)) in lives:
            lives[own] = lives[own]._replace(last=len(graph.calls))
    return share(lives)[1]
