"""Passes: functions of a graph that give another one, which computes the same with less.

A graph is a list, so a pass is a loop over it. What it returns is a graph of its own: the one it came from stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..backend import get
from ..ops.random import DropoutMask
from ..tensor import Tensor
from .calls import Call, Value

if TYPE_CHECKING:
    from .graph import Graph


def prune(graph: Graph) -> Graph:
    """Without the calls whose results nobody needs."""
    base = bases(graph)
    needed = set(graph.wanted())
    memory = {base.get(v, v) for v in needed}
    kept: list[Call] = []
    for call in reversed(graph.calls):
        # A mask that nobody needs is drawn all the same: the next one would be another.
        draws = isinstance(call.op, DropoutMask)
        if (
            draws
            or needed.intersection(call.outputs)
            or any(v.kind != "result" or base.get(v, v) in memory for v in call.written)
        ):
            kept.append(call)
            needed.update(v for v in call.inputs if v is not None)
            memory.update(base.get(v, v) for v in call.inputs if v is not None)
    return replace(graph, calls=kept[::-1])


def fold_constants(graph: Graph) -> Graph:
    """With what depends on constants alone computed here and now."""
    kernels = get(graph.backend).kernels
    base = bases(graph)
    moved = {base.get(v, v) for call in graph.calls for v in call.written}
    calls: list[Call] = []
    known: dict[Value, Value] = {}
    for call in graph.calls:
        inputs = [known.get(v, v) if v else None for v in call.inputs]
        tensors = [v.tensor for v in inputs if v is not None and v.kind == "constant"]
        fixed = len(tensors) == sum(v is not None for v in inputs)
        made = {base.get(v, v) for v in call.outputs}
        changes = call.op.writes or isinstance(call.op, DropoutMask) or moved & made
        if not fixed or changes:
            calls.append(replace(call, inputs=tuple(inputs)))
            continue
        arrays = [None if v is None or v.tensor is None else v.tensor._data for v in inputs]
        found = call.forward(kernels, arrays, graph.title)
        name = inputs[0].name if call.op.aliases and inputs[0] else ""  # weights in another shape
        for v, array in zip(call.outputs, found, strict=True):
            known[v] = constant(Tensor(array), name)
    return prune(replaced(replace(graph, calls=calls), known))


def freeze(graph: Graph) -> Graph:
    """With parameters and buffers as constants: their values of this moment, whatever becomes of them.

    Raises
    ------
    ValueError
        For a graph that moves some of them, as training does.
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
    guards = replace(graph.guards, modules={}, tensors=[], leaves={})
    kinds = graph.signature.kinds
    return replace(
        replaced(graph, known),
        guards=guards,
        differentiable=graph.differentiable and any(kind.requires_grad for kind in kinds),
    )


def replaced(graph: Graph, known: Mapping[Value, Value]) -> Graph:
    """With other values in the place of some."""

    def new(values: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        return tuple([known.get(v, v) if v is not None else None for v in values])

    calls = [replace(call, inputs=new(call.inputs)) for call in graph.calls]
    gradients = {leaf: new((v,))[0] for leaf, v in graph.gradients.items()}
    outputs = [known.get(v, v) for v in graph.outputs]
    return replace(graph, calls=calls, outputs=outputs, gradients=gradients)


def constant(t: Tensor, name: str = "") -> Value:
    """A value that stands in the program."""
    return Value(t.shape, t.dtype, "constant", name, t)


def bases(graph: Graph) -> dict[Value, Value]:
    """The values whose memory views share, by view."""
    found: dict[Value, Value] = {}
    for call in graph.calls:
        if call.op.aliases and call.inputs[0] is not None:
            found[call.outputs[0]] = found.get(call.inputs[0], call.inputs[0])
    return found


def uses(graph: Graph) -> dict[Value, list[Call]]:
    """The calls that take each value, once for each time; what is returned or left in gradients counts by None."""
    found: dict[Value, list[Call]] = {v: [] for v in graph.values()}
    for call in graph.calls:
        for v in call.inputs:
            if v is not None:
                found[v].append(call)
    return found
