"""Batch norm folded into the layer before it (arXiv:1502.03167, Algorithm 2, line 11).

With frozen statistics batch norm is an affine map per channel, and an affine map of W x + b is another one::

    gamma (W x + b - mean) / sqrt(var + eps) + beta  =  (s W) x + (s (b - mean) + beta),    s = gamma / sqrt(var + eps)
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend as backends
from ..ops.batch_norm import FrozenBatchNorm
from ..ops.conv import Conv2d
from ..ops.linear import Linear
from ..ops.shape import Reshape
from ..tensor import Tensor
from .calls import Call, Value
from .passes import constant, fold_constants, freeze, prune, replaced, uses

if TYPE_CHECKING:
    from .graph import Graph


def fold_batch_norm(graph: Graph) -> Graph:
    """See ``Graph.fold_batch_norm``."""
    frozen = fold_constants(freeze(graph))
    makers = {v: call for call in frozen.calls for v in call.outputs}
    users, left = uses(frozen), set(frozen.wanted())
    calls: dict[Call, Call] = {}
    known: dict[Value, Value] = {}
    folded: dict[str, tuple[Value, Value]] = {}
    for call in frozen.calls:
        found = _before(call, makers, users, left) if isinstance(call.op, FrozenBatchNorm) else None
        if found is None:
            continue
        source = call.inputs[0]
        assert source is not None
        calls[found] = _with_scale(found, call)
        known[call.outputs[0]] = source
        folded[call.layer or f"{call.name} {len(folded)}"] = call.outputs[0], source
    kept = [calls.get(call, call) for call in frozen.calls if not _gone(call, known)]
    result = prune(replaced(replace(frozen, calls=kept), known))
    differences = dict(graph.differences)
    if not folded:
        return replace(result, differences=differences)
    if graph.examples is not None:
        before, after = (_all_values(g, graph.examples) for g in (frozen, result))
        for layer, (old, new) in folded.items():
            difference = before[old].astype(np.float64) - after[new]
            differences[layer] = float(np.abs(difference).max(initial=0))
    # What stood behind a batch norm that is gone may be one too.
    return fold_batch_norm(replace(result, differences=differences))


def _gone(call: Call, known: dict[Value, Value]) -> bool:
    return bool(call.outputs) and call.outputs[0] in known


def _before(
    norm: Call, makers: dict[Value, Call], users: dict[Value, list[Call]], left: set[Value]
) -> Call | None:
    """The layer that a batch norm can be folded into: nobody else sees what it makes, and all is known now."""
    if any(v is not None and v.kind != "constant" for v in norm.inputs[1:]):
        return None
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
        fixed = all(v is None or v.kind == "constant" for v in maker.inputs[1:])
        return maker if fits and fixed else None


def _axis_before(axis: int, op: Reshape) -> tuple[int, ...]:
    """Where the channels of an axis were before a reshape; nothing if they were no axis."""
    n, ahead = op.new[axis], math.prod(op.new[:axis])
    return tuple(
        i for i, size in enumerate(op.old) if size == n and math.prod(op.old[:i]) == ahead
    )[:1]


def _with_scale(layer: Call, norm: Call) -> Call:
    """The layer with the batch norm in its weights and bias, computed in float64."""
    _, weight, bias = layer.inputs
    _, gamma, beta, mean, var = map(_numbers, norm.inputs)
    eps: float = norm.op.eps  # type: ignore[attr-defined]
    assert weight is not None
    scale = (1 if gamma is None else gamma) / np.sqrt(var + eps)
    shift = (0 if beta is None else beta) - mean * scale
    old = 0 if bias is None else _numbers(bias)
    wide = scale.reshape(-1, *[1] * (len(weight.shape) - 1))
    values = {
        "weight": (weight, _numbers(weight) * wide),
        "bias": (bias, old * scale + shift),
    }
    folded = []
    for part, (before, array) in values.items():
        name = before.name if before is not None else ".".join(filter(None, (layer.layer, part)))
        assert weight.tensor is not None
        backend = backends.get(weight.tensor.backend)
        folded.append(constant(Tensor(backend.from_numpy(array.astype(weight.dtype))), name))
    return replace(layer, inputs=(layer.inputs[0], *folded))


def _numbers(v: Value | None) -> Any:
    return None if v is None or v.tensor is None else v.tensor.numpy().astype(np.float64)


def _all_values(graph: Graph, examples: list[Tensor]) -> dict[Value, np.ndarray]:
    """What a graph computes on the way, as NumPy arrays."""
    backend = backends.get(graph.backend)
    known: dict[Value, Any] = {}
    known |= {v: v.tensor._data for v in graph.values() if v.tensor is not None}
    known |= {v: t._data for v, t in zip(graph.inputs, examples, strict=True)}
    for call in graph.calls:
        arrays = [None if v is None else known[v] for v in call.inputs]
        known |= dict(
            zip(call.outputs, call.forward(backend.kernels, arrays, graph.title), strict=True)
        )
    return {v: backend.to_numpy(array) for v, array in known.items()}
