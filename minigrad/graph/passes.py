"""Passes: functions from a graph to a new one that computes the same with fewer calls.

A graph is a list, so a pass is a loop over it; the original stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from ..backend import get
from ..ops.random import DropoutMask
from ..tensor import Tensor
from .calls import Call, Trace, Value

G = TypeVar("G", bound=Trace)


def prune(graph: G) -> G:
    """Remove the calls whose results are not used."""
    base = graph.bases()
    needed = set(graph.wanted())
    memory = {base.get(v, v) for v in needed}
    kept: list[Call] = []
    for call in reversed(graph.calls):
        # An unused mask is drawn all the same: the next one would differ otherwise.
        draws = isinstance(call.op, DropoutMask)
        if (
            draws
            or needed.intersection(call.outputs)
            or any(v.kind != "result" or base.get(v, v) in memory for v in call.written)
        ):
            kept.append(call)
            used = [v for v in call.inputs if v is not None]
            needed.update(used)
            memory.update(base.get(v, v) for v in used)
    return replace(graph, calls=kept[::-1])


def fold_constants(graph: G) -> G:
    """Compute what depends on constants alone, and prune what computed it."""
    kernels = get(graph.backend).kernels
    base = graph.bases()
    written = {base.get(v, v) for call in graph.calls for v in call.written}
    calls: list[Call] = []
    known: dict[Value, Value] = {}
    for call in graph.calls:
        call = replace(call, inputs=_renamed(call.inputs, known))
        fixed = all(v is None or v.kind == "constant" for v in call.inputs)
        changed = not written.isdisjoint([base.get(v, v) for v in call.outputs])
        if not fixed or call.op.writes or isinstance(call.op, DropoutMask) or changed:
            calls.append(call)
            continue
        arrays = [None if v is None or v.tensor is None else v.tensor._data for v in call.inputs]
        name = call.inputs[0].name if call.op.aliases and call.inputs[0] else ""  # reshaped weights
        for v, array in zip(call.outputs, call.forward(kernels, arrays, graph.title), strict=True):
            known[v] = constant(Tensor(array), name)
    return prune(replaced(replace(graph, calls=calls), known))


def freeze(graph: G) -> G:
    """Replace parameters and buffers by constants with their current values.

    Raises
    ------
    ValueError
        For a graph that changes some of them, as training does.
    """
    moving = [call for call in graph.calls if any(v.kind == "state" for v in call.written)]
    if moving or graph.gradients:
        what = (
            f"{moving[0].name} moves {moving[0].written[0].name}" if moving else "it goes backward"
        )
        raise ValueError(
            f"{graph.title}: expected a graph of inference, but {what}; capture the model in eval mode, "
            "or take the second of minigrad.graphs"
        )
    known = {}
    for v in graph.state():
        assert v.tensor is not None
        known[v] = constant(Tensor(v.tensor._data.copy()), v.name)
    return replace(
        replaced(graph, known),
        guards=replace(graph.guards, modules={}, tensors=[], leaves={}),
        differentiable=graph.differentiable
        and any(kind.requires_grad for kind in graph.signature.kinds),
    )


def replaced(graph: G, known: Mapping[Value, Value]) -> G:
    """Replace values throughout a graph."""
    leaves, gradients = graph.gradients.keys(), tuple(graph.gradients.values())
    return replace(
        graph,
        calls=[replace(call, inputs=_renamed(call.inputs, known)) for call in graph.calls],
        outputs=[known.get(v, v) for v in graph.outputs],
        gradients=dict(zip(leaves, _renamed(gradients, known), strict=True)),
    )


def constant(t: Tensor, name: str = "") -> Value:
    """Return a constant value with the numbers of a tensor."""
    return Value(t.shape, t.dtype, "constant", name, t)


def uses(graph: Trace) -> dict[Value, list[Call]]:
    """For each value, the calls that take it, once for each time."""
    found: dict[Value, list[Call]] = {v: [] for v in graph.values()}
    for call in graph.calls:
        for v in call.inputs:
            if v is not None:
                found[v].append(call)
    return found


def _renamed(
    values: tuple[Value | None, ...], known: Mapping[Value, Value]
) -> tuple[Value | None, ...]:
    return tuple([known.get(v, v) if v is not None else None for v in values])
