"""Fusion: a batch norm and the activation after it as one kernel, forward and backward.

A large array that is written by one kernel and read by the next goes through memory twice; in one kernel it stays in
cache. Each kernel computes what those that it replaces would, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..op import Op
from ..ops.activation import Relu, ReluGrad, Sigmoid, SigmoidGrad
from ..ops.batch_norm import BatchNorm, BatchNormGrad, FrozenBatchNorm
from .calls import Call, Value
from .fused import (
    ELEMENTWISE,
    ActivatedBatchNorm,
    ActivatedBatchNormGrad,
    ActivatedFrozenBatchNorm,
)
from .passes import G as Graph
from .passes import prune

#: classes of elementwise ops
NAMES = {type(op): name for name, op in ELEMENTWISE.items()}


def fuse(graph: Graph) -> Graph:
    """See ``Graph.fuse``."""
    return with_fused_norms(prune(graph))


def with_fused_norms(graph: Graph) -> Graph:
    """The same without leaving calls out whose results nobody needs: they may raise."""
    for step in (_relu_grads_of_outputs, _activated, _activated_norm_grads):
        graph = step(graph)
    return graph


class _Known:
    """What the steps ask about a graph."""

    def __init__(self, graph: Any) -> None:
        self.at = {call: i for i, call in enumerate(graph.calls)}
        self.makers = {v: call for call in graph.calls for v in call.outputs}
        self.users = uses(graph)
        self.left = set(graph.wanted())
        self._bases = graph.bases()
        self._writes = [
            (i, {self._memory(v) for v in call.written})
            for i, call in enumerate(graph.calls)
            if call.written
        ]

    def only_user(self, v: Value) -> Call | None:
        """The call that takes v, if nobody else needs it."""
        users = self.users[v]
        return users[0] if len(users) == 1 and v not in self.left else None

    def _memory(self, v: Value) -> Value | None:
        """What v is a view of; None for memory from outside, whose tensors may share it."""
        v = self._bases.get(v, v)
        return v if v.kind == "result" else None

    def stays(self, values: Iterable[Value | None], start: Call, stop: Call) -> bool:
        """Whether nothing is written to values between two calls."""
        memory = {self._memory(v) for v in values if v is not None}
        between = range(self.at[start] + 1, self.at[stop])
        return not any(i in between and written & memory for i, written in self._writes)


def _replaced(graph: Graph, new: dict[Call, Call], gone: set[Call]) -> Graph:
    calls = [new.get(call, call) for call in graph.calls if call not in gone]
    return replace(graph, calls=calls)


def _alike(*calls: Call) -> bool:
    """Whether calls can be one: all of them on the tape or none, in one phase."""
    return len({(call.recorded, call.phase) for call in calls}) == 1


def _relu_grads_of_outputs(graph: Graph) -> Graph:
    """relu(x) > 0 wherever x > 0 and nowhere else: where only relu and its gradient take x, relu is enough to know."""
    known, new = _Known(graph), dict[Call, Call]()
    for call in graph.calls:
        if not isinstance(call.op, Relu):
            continue
        (x,), (y,) = call.inputs, call.outputs
        assert x is not None
        grads = [user for user in known.users[x] if user is not call]
        if x in known.left or x.kind != "result":
            continue
        if all(_is_relu_grad_of(x, g) and known.stays((x, y), call, g) for g in grads):
            new |= {g: replace(g, inputs=(y, *g.inputs[1:])) for g in grads}
    return _replaced(graph, new, set())


def _is_relu_grad_of(x: Value, call: Call) -> bool:
    return isinstance(call.op, ReluGrad) and call.inputs[0] is x and call.inputs[1] is not x


def _activated(graph: Graph) -> Graph:
    """Batch norms with the activations after them."""
    known, new, gone = _Known(graph), dict[Call, Call](), set[Call]()
    for call in graph.calls:
        if not isinstance(call.op, (BatchNorm, FrozenBatchNorm)):
            continue
        y, *statistics = call.outputs
        after = known.only_user(y)
        if after is None or not isinstance(after.op, (Sigmoid, Relu)) or not _alike(call, after):
            continue
        name, op, fused = NAMES[type(after.op)], call.op, Op()
        if isinstance(op, BatchNorm):
            fused = ActivatedBatchNorm(op.kept, op.eps, op.ddof, name)
        else:
            fused = ActivatedFrozenBatchNorm(op.kept, op.eps, name)
        new[call] = replace(call, op=fused, outputs=(*after.outputs, *statistics))
        gone.add(after)
    return _replaced(graph, new, gone)


def _activated_norm_grads(graph: Graph) -> Graph:
    known, new, gone = _Known(graph), dict[Call, Call](), set[Call]()
    for call in graph.calls:
        if not isinstance(call.op, BatchNormGrad):
            continue
        *rest, g = call.inputs
        assert g is not None
        before = known.makers.get(g)
        if before is None or known.only_user(g) is not call or not _alike(before, call):
            continue
        kind = {SigmoidGrad: "sigmoid", ReluGrad: "relu"}.get(type(before.op))
        if kind is None or not known.stays(before.inputs, before, call):
            continue
        op = ActivatedBatchNormGrad(call.op.kept, call.op.ddof, kind)
        new[call] = replace(call, op=op, inputs=(*rest, *before.inputs))
        gone.add(before)
    return _replaced(graph, new, gone)


def uses(graph: Any) -> dict[Value, list[Call]]:
    """For each value, the calls that take it, once for each time."""
    found: dict[Value, list[Call]] = {v: [] for v in graph.values()}
    for call in graph.calls:
        for v in call.inputs:
            if v is not None:
                found[v].append(call)
    return found
