"""Costs of calls: floating-point operations, parameters, and bytes of memory, counted by convention and not measured.

FLOPs are counted from shapes. Each operation of arithmetic counts 1: an addition, a multiplication, a division, a
comparison, and also exp, log, sqrt and tanh. A multiplication and an addition are 2, so a product of an (n, k) and a
(k, m) matrix counts 2 n k m; papers that count multiply-adds (MACs) have half of that.

- Products (linear, matmul, convolutions and their gradients) are counted in full, windows that reach into padding too.
- Fused ops are counted by the formulas of their ``reference``, per value; what is done once per channel or per row is
  small and not counted.
- Views and copies count 0. An op without a rule below counts 1 for each number of its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..autograd import AddInto, Copy
from ..bn.moments import MeanM2, WeightedMeanM2
from ..dtypes import floating
from ..nn.module import Parameter
from ..op import Op
from ..ops.activation import Sigmoid, SigmoidGrad, Softmax
from ..ops.batch_norm import BatchNorm, BatchNormGrad, FrozenBatchNorm, MoveStatistics
from ..ops.conv import Conv2d, InputGrad, WeightGrad
from ..ops.elementwise import Cast
from ..ops.indexing import Index, IndexAdd
from ..ops.linear import Linear
from ..ops.loss import OneHot, SoftmaxCrossEntropy, SoftmaxCrossEntropyGrad
from ..ops.matmul import MatMul
from ..ops.pool import MaxPool2d, Pick, PutBack, Spread, SumPool2d
from ..ops.random import DropoutMask
from ..ops.reduction import ArgMax, Max, Sum
from ..ops.shape import Concatenate, Pad
from ..optim.optimizers import Update
from .calls import Call, Trace, Value
from .fused import ActivatedBatchNorm, ActivatedBatchNormGrad, ActivatedFrozenBatchNorm

Count = Callable[[Call], int]

#: allocations start at a cache line
LINE = 64


def size(value: Value | None) -> int:
    """Return how many numbers a value has; 0 for None."""
    return 0 if value is None else math.prod(value.shape)


def _per_input(count: int) -> Count:
    return lambda call: count * size(call.inputs[0])


def _per_output(count: int) -> Count:
    return lambda call: count * size(call.outputs[0])


def _per_written(call: Call) -> int:
    """Count a multiplication and an addition per number, except for counters of batches and steps."""
    return 2 * sum(size(v) for v in call.written if floating(v.dtype))


def _matmul(call: Call) -> int:
    a = call.inputs[0]
    assert a is not None
    return 2 * size(call.outputs[0]) * a.shape[-2 if call.op.ta else -1]  # type: ignore[attr-defined]


def _linear(call: Call) -> int:
    _, weight, bias = call.inputs
    assert weight is not None
    return size(call.outputs[0]) * (2 * weight.shape[1] + (bias is not None))


def _windows(y: Value | None, weight: Value | None) -> int:
    """Count each weight once for each position of a convolution's output (n, out, height, width)."""
    assert y is not None
    return 2 * y.shape[0] * math.prod(y.shape[2:]) * size(weight)


def _conv2d(call: Call) -> int:
    _, weight, bias = call.inputs
    y = call.outputs[0]
    return _windows(y, weight) + (bias is not None) * size(y)


def _pool(call: Call) -> int:
    """Count each number of a window once; pooled values, or gradients for them, are the fewer."""
    windows = min(size(call.inputs[0]), size(call.outputs[0]))
    return windows * math.prod(call.op.window.size)  # type: ignore[attr-defined]


#: FLOPs of an activation per number, where it is not 1 (sigmoid: negative, exp, 1 +, 1 /), and of its gradient
STEPS = {"sigmoid": 4, "sigmoid_grad": 3}


def _activated(count: int, suffix: str = "") -> Count:
    """Count a batch norm and its activation."""

    def total(call: Call) -> int:
        activation = STEPS.get(f"{call.op.activation}{suffix}", 1)  # type: ignore[attr-defined]
        return (count + activation) * size(call.inputs[0])

    return total


#: FLOPs by op class; subclasses count like their base
FLOPS: dict[type[Op], Count] = {
    Linear: _linear,
    MatMul: _matmul,
    Conv2d: _conv2d,
    InputGrad: lambda call: _windows(call.inputs[0], call.inputs[1]),
    WeightGrad: lambda call: _windows(call.inputs[1], call.outputs[0]),
    BatchNorm: _per_input(6),  # sum; x - mean, its square, their sum; scale, shift
    BatchNormGrad: _per_input(9),  # xhat 2; gbeta 1, ggamma 2; gx 4
    FrozenBatchNorm: _per_input(2),  # scale, shift
    ActivatedBatchNorm: _activated(6),
    ActivatedBatchNormGrad: _activated(9, "_grad"),
    ActivatedFrozenBatchNorm: _activated(2),
    MeanM2: _per_input(4),
    WeightedMeanM2: _per_input(6),
    MoveStatistics: _per_written,
    Sigmoid: _per_output(STEPS["sigmoid"]),
    SigmoidGrad: _per_output(STEPS["sigmoid_grad"]),
    Softmax: _per_output(5),  # max, subtract, exp, sum, divide
    SoftmaxCrossEntropy: _per_input(5),
    SoftmaxCrossEntropyGrad: _per_input(2),
    DropoutMask: _per_output(2),  # compare, divide
    **dict.fromkeys((MaxPool2d, SumPool2d, Spread), _pool),
    **dict.fromkeys((Sum, Max, ArgMax, PutBack, IndexAdd, AddInto), _per_input(1)),
    Update: _per_written,
    **dict.fromkeys((Cast, Concatenate, Copy, Index, OneHot, Pad, Pick), _per_output(0)),
}


def flops(call: Call) -> int:
    """Return the floating-point operations of a call.

    Examples
    --------
    >>> import minigrad as mg
    >>> graph = mg.capture(mg.nn.Linear(3, 2), mg.ones((4, 3)))
    >>> flops(graph.calls[0])  # 4 * 2 outputs, each 3 multiplications with additions and the bias: 7
    56
    """
    if call.op.aliases:
        return 0
    counts = (FLOPS[cls] for cls in type(call.op).__mro__ if cls in FLOPS)
    count = next(counts, None)
    return sum(map(size, call.outputs)) if count is None else count(call)


def made(call: Call) -> int:
    """Return the bytes of the arrays that a call allocates: none for views and in-place ops."""
    return 0 if call.op.aliases else sum(v.nbytes for v in call.outputs)


def parameters(call: Call) -> list[Value]:
    """Return the parameters that a call uses."""
    return [v for v in call.inputs if v is not None and isinstance(v.tensor, Parameter)]


def peak(graph: Trace) -> int:
    """Return the bytes of an arena for the results, each of which needs memory up to its last use.

    Results of the graph and gradients are kept to the end. Views need no memory; what an op allocates and frees itself
    is not counted. Large results are placed first, each at the lowest offset that is free while it is needed (Pisarchyk
    & Lee 2020, arXiv:2001.03288, "greedy by size").
    """
    base = graph.bases()
    lives: dict[Value, tuple[int, int]] = {}
    for i, values in enumerate([*(call.values for call in graph.calls), graph.wanted()]):
        for v in (base.get(v, v) for v in values):
            if v.kind == "result":
                lives[v] = lives.get(v, (i, i))[0], i
    placed: list[tuple[int, int, Value]] = []
    for v in sorted(lives, key=lambda v: -v.nbytes):
        first, last = lives[v]
        start = 0
        for begin, end, other in sorted(placed, key=lambda place: place[0]):
            if lives[other][0] <= last and first <= lives[other][1]:
                if begin - start >= v.nbytes:
                    break
                start = max(start, end)
        placed.append((start, start + -(-max(v.nbytes, 1) // LINE) * LINE, v))
    return max((end for _, end, _ in placed), default=0)
