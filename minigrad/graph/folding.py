"""Batch norm folded into the layer before it (arXiv:1502.03167, Algorithm 2, line 11).

With frozen statistics batch norm is an affine map per channel, and an affine map of W x + b is another one::

    gamma (W x + b - mean) / sqrt(var + eps) + beta  =  (s W) x + (s (b - mean) + beta),    s = gamma / sqrt(var + eps)
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .. import backend as backends
from ..ops.batch_norm import FrozenBatchNorm
from ..ops.conv import Conv2d
from ..ops.linear import Linear
from ..ops.shape import Reshape
from ..tensor import Tensor
from .calls import Call, Trace, Value
from .passes import G, constant, fold_constants, freeze, prune, replaced, uses


def fold_batch_norm(graph: G) -> G:
    """Fold each batch norm into the layer before it; see ``Graph.fold_batch_norm``."""
    frozen = fold_constants(freeze(graph))
    makers = {v: call for call in frozen.calls for v in call.outputs}
    users = uses(frozen)
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
    result = prune(replaced(replace(frozen, calls=kept, differences=differences), known))
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
    norm: Call, makers: dict[Value, Call], users: dict[Value, list[Call]], left: list[Value]
) -> Call | None:
    """Find the layer that a batch norm can be folded into: nothing else uses its output, the rest is constant."""
    value: Any = norm.inputs[0]
    axes: tuple[int, ...] = norm.op.kept  # type: ignore[attr-defined]
    while True:
        maker = makers.get(value)
        if maker is None or len(users[value]) > 1 or value in left or len(axes) != 1:
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
    assert weight is not None and weight.tensor is not None
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
        folded.append(constant(Tensor(data), name))
    return replace(layer, inputs=(x, *folded))


def _numbers(v: Value | None) -> Any:
    return None if v is None or v.tensor is None else v.tensor.numpy().astype(np.float64)


def _all_values(graph: Trace, examples: list[Tensor]) -> dict[Value, np.ndarray]:
    """Compute all values of a graph as NumPy arrays."""
    backend = backends.get(graph.backend)
    known = {v: t._data for v, t in graph.start(examples).items()}
    graph.compute(backend.kernels, known, keep=True)
    return {v: backend.to_numpy(array) for v, array in known.items()}
