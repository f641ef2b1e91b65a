"""Passes: functions from a graph to a new one that computes the same with fewer calls.

A graph is a list, so a pass is a loop over it; the original stays as it is.

Folding batch norm into the layer before it (arXiv:1502.03167, Algorithm 2, line 11): with frozen statistics batch norm
is an affine map per channel, and an affine map of W x + b is another one::

    gamma (W x + b - mean) / sqrt(var + eps) + beta  =  (s W) x + (s (b - mean) + beta),    s = gamma / sqrt(var + eps)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from .. import backend as backends
from ..ops.batch_norm import FrozenBatchNorm
from ..ops.conv import Conv2d
from ..ops.linear import Linear
from ..ops.random import DropoutMask
from ..ops.shape import Reshape
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
        writes = any(v.kind != "result" or base.get(v, v) in memory for v in call.written)
        if draws or writes or needed.intersection(call.outputs):
            kept.append(call)
            used = [v for v in call.inputs if v is not None]
            needed.update(used)
            memory.update(base.get(v, v) for v in used)
    return replace(graph, calls=kept[::-1])


def fold_constants(graph: G) -> G:
    """Compute what depends on constants alone, and prune what computed it."""
    kernels = backends.get(graph.backend).kernels
    base = graph.bases()
    written = {base.get(v, v) for call in graph.calls for v in call.written}
    calls: list[Call] = []
    known: dict[Value, Value] = {}
    for call in graph.calls:
        call = _with_inputs(call, known)
        fixed = all(v is None or v.kind == "constant" for v in call.inputs)
        changed = not written.isdisjoint([base.get(v, v) for v in call.outputs])
        if not fixed or call.op.writes or isinstance(call.op, DropoutMask) or changed:
            calls.append(call)
            continue
        arrays = [None if v is None or v.tensor is None else v.tensor._data for v in call.inputs]
        name = call.inputs[0].name if call.op.aliases and call.inputs[0] else ""  # reshaped weights
        for v, array in zip(call.outputs, call.forward(kernels, arrays, graph.title), strict=True):
            known[v] = _constant(Tensor(array), name)
    return prune(_replaced(replace(graph, calls=calls), known))


def _freeze(graph: G) -> G:
    """Replace parameters and buffers by constants with their current values; refuse graphs that change some."""
    moving = [call for call in graph.calls if any(v.kind == "state" for v in call.written)]
    if moving or graph.gradients:
        what = "it goes backward"
        if moving:
            what = f"{moving[0].name} moves {moving[0].written[0].name}"
        raise ValueError(
            f"{graph.title}: expected a graph of inference, but {what}; capture the model in eval mode, "
            "or take the second of minigrad.graphs"
        )
    known = {v: _constant(Tensor(v.tensor._data.copy()), v.name) for v in graph.state()}
    guards = replace(graph.guards, modules={}, tensors=[], leaves={})
    inputs = any(kind.requires_grad for kind in graph.signature.kinds)
    differentiable = graph.differentiable and inputs
    return replace(_replaced(graph, known), guards=guards, differentiable=differentiable)


def fold_batch_norm(graph: G) -> G:
    """Return this graph for inference, each batch norm merged into the weights of the layer before it.

    Parameters and buffers become constants and no longer follow the model's. A batch norm is kept where the value
    between it and the linear layer or convolution is used elsewhere or returned, where its input comes from
    something else, and where its statistics are computed. Folding a folded graph changes nothing.

    Returns
    -------
    Graph
        Its ``differences`` tell how much the results change, since the arithmetic is rounded in another order.

    Raises
    ------
    ValueError
        For a graph that trains.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2, bias=False), mg.nn.BatchNorm(2))
    >>> _, eval_graph = mg.graphs(model, mg.ones((4, 3)))
    >>> folded = eval_graph.fold_batch_norm()
    >>> [call.name for call in folded.calls], list(folded.differences)
    (['linear'], ['1'])
    """
    frozen = fold_constants(_freeze(graph))
    makers = {v: call for call in frozen.calls for v in call.outputs}
    users = Counter(v for call in frozen.calls for v in call.inputs)
    layers: dict[Call, Call] = {}
    known: dict[Value, Value] = {}
    folded: dict[str, Value] = {}
    for call in frozen.calls:
        if not isinstance(call.op, FrozenBatchNorm):
            continue
        layer = _layer_before(call, makers, users, frozen.wanted())
        if layer is not None and call.inputs[0] is not None:
            layers[layer] = _with_scale(layer, call)
            known[call.outputs[0]] = call.inputs[0]
            folded[call.layer or f"{call.name} {len(folded)}"] = call.outputs[0]
    kept = [layers.get(c, c) for c in frozen.calls if known.keys().isdisjoint(c.outputs)]
    differences = dict(graph.differences)
    result = prune(_replaced(replace(frozen, calls=kept, differences=differences), known))
    if not folded:
        return result
    if graph.examples is not None:
        before, after = (_all_values(g, graph.examples) for g in (frozen, result))
        for name, v in folded.items():
            difference = before[v].astype(np.float64) - after[known[v]]
            differences[name] = float(np.abs(difference).max(initial=0))
    # A batch norm that followed a folded one can be folded now.
    return fold_batch_norm(result)


def _layer_before(
    norm: Call, makers: dict[Value, Call], users: Counter[Value | None], left: list[Value]
) -> Call | None:
    """Find the layer that a batch norm can be folded into: nothing else uses its output, the rest is constant."""
    value: Any = norm.inputs[0]
    axes: tuple[int, ...] = norm.op.kept  # type: ignore[attr-defined]
    while True:
        maker = makers.get(value)
        if maker is None or users[value] > 1 or value in left or len(axes) != 1:
            return None
        if isinstance(maker.op, Reshape):
            axes = _axis_before(axes[0], maker.op)
            value = maker.inputs[0]
            continue
        fits = isinstance(maker.op, (Linear, Conv2d)) and axes == (1,)
        weights = (*norm.inputs[1:], *maker.inputs[1:])
        return maker if fits and all(v is None or v.kind == "constant" for v in weights) else None


def _axis_before(axis: int, op: Reshape) -> tuple[int, ...]:
    """The axis of the channels before a reshape; empty if they were spread over several."""
    n, ahead = op.new[axis], math.prod(op.new[:axis])
    return tuple(
        i for i, size in enumerate(op.old) if size == n and math.prod(op.old[:i]) == ahead
    )[:1]


def _with_scale(layer: Call, norm: Call) -> Call:
    """Merge a batch norm into the weights and bias of a layer, in float64."""
    x, weight, bias = layer.inputs
    _, gamma, beta, mean, var = map(_numbers, norm.inputs)
    eps: float = norm.op.eps  # type: ignore[attr-defined]
    scale = (1 if gamma is None else gamma) / np.sqrt(var + eps)
    shift = (0 if beta is None else beta) - mean * scale
    values = {
        "weight": (weight, _numbers(weight) * scale.reshape(-1, *[1] * (len(weight.shape) - 1))),
        "bias": (bias, (0 if bias is None else _numbers(bias)) * scale + shift),
    }
    folded = []
    for part, (before, array) in values.items():
        name = before.name if before is not None else ".".join(filter(None, (layer.layer, part)))
        data = backends.get(weight.tensor.backend).from_numpy(array.astype(weight.dtype))
        folded.append(_constant(Tensor(data), name))
    return replace(layer, inputs=(x, *folded))


def _numbers(v: Value | None) -> Any:
    return None if v is None or v.tensor is None else v.tensor.numpy().astype(np.float64)


def _all_values(graph: Trace, examples: list[Tensor]) -> dict[Value, np.ndarray]:
    """Compute all values of a graph as NumPy arrays."""
    backend = backends.get(graph.backend)
    known = {v: t._data for v, t in graph.start(examples).items()}
    graph.compute(backend.kernels, known, keep=True)
    return {v: backend.to_numpy(array) for v, array in known.items()}


def _replaced(graph: G, known: Mapping[Any, Value]) -> G:
    """Replace values throughout a graph."""
    return replace(
        graph,
        calls=[_with_inputs(call, known) for call in graph.calls],
        outputs=[known.get(v, v) for v in graph.outputs],
        gradients={leaf: known.get(v, v) for leaf, v in graph.gradients.items()},
    )


def _with_inputs(call: Call, known: Mapping[Any, Value]) -> Call:
    return replace(call, inputs=tuple([known.get(v, v) for v in call.inputs]))


def _constant(t: Tensor, name: str = "") -> Value:
    """Return a constant value with the numbers of a tensor."""
    return Value(t.shape, t.dtype, "constant", name, t)
