"""What a call costs: floating-point operations, parameters, and bytes of memory, by a convention and not by a clock.

FLOPs are counted from shapes. Whatever is one operation of arithmetic counts 1: an addition, a multiplication, a
division, a comparison, and also exp, log, sqrt and tanh. A multiplication with the addition that follows it is 2, so
a product of an (n, k) and a (k, m) matrix counts 2 n k m; papers that speak of multiply-adds (MACs) have half of that.

- Products (linear, matmul, convolutions and their gradients) are counted in full, windows that reach into padding too.
- Fused ops are counted by the formulas of their ``reference``, per value; what is done once per channel or per row is
  not counted, since it is small.
- Views and copies count 0. An op without a rule below counts 1 for each number that it makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

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
from ..ops.linear import Linear, MatMul
from ..ops.loss import OneHot, SoftmaxCrossEntropy, SoftmaxCrossEntropyGrad
from ..ops.pool import MaxPool2d, MaxPool2dGather, MaxPool2dGrad, SumPool2d, SumPool2dGrad
from ..ops.random import DropoutMask
from ..ops.reduction import ArgMax, Max, Sum
from ..ops.shape import Concatenate, Pad
from ..optim.optimizers import Update
from .fused import (
    ActivatedBatchNorm,
    ActivatedBatchNormGrad,
    ActivatedFrozenBatchNorm,
)

if TYPE_CHECKING:
    from .calls import Call, Value

Count = Callable[["Call"], int]


def size(value: Value | None) -> int:
    """How many numbers there are; none where there is no value."""
    return 0 if value is None else math.prod(value.shape)


def _per_input(count: int) -> Count:
    return lambda call: count * size(call.inputs[0])


def _per_output(count: int) -> Count:
    return lambda call: count * size(call.outputs[0])


def _per_moved(call: Call) -> int:
    """A multiplication and an addition for each number but those that only count batches or steps."""
    return 2 * sum(size(v) for v in call.written if floating(v.dtype))


def _matmul(call: Call) -> int:
    a, y = call.inputs[0], call.outputs[0]
    assert a is not None
    return 2 * size(y) * a.shape[-2 if call.op.ta else -1]  # type: ignore[attr-defined]


def _linear(call: Call) -> int:
    _, weight, bias = call.inputs
    y = call.outputs[0]
    assert weight is not None
    return size(y) * (2 * weight.shape[1] + (bias is not None))


def _conv2d(call: Call) -> int:
    _, weight, bias = call.inputs
    y = call.outputs[0]
    return _windows(y, weight) + (bias is not None) * size(y)


def _windows(y: Value | None, weight: Value | None) -> int:
    """At each place of the convolution's output (n, out, height, width), each weight is used once."""
    assert y is not None
    return 2 * y.shape[0] * math.prod(y.shape[2:]) * size(weight)


def _pool(call: Call) -> int:
    """Each number of a window, once; the outputs of pooling, or the gradients for them, are the fewer numbers."""
    windows = min(size(call.inputs[0]), size(call.outputs[0]))
    return windows * math.prod(call.op.window.size)  # type: ignore[attr-defined]


#: FLOPs of an activation for each number, where it is not 1: negative, exp, 1 +, 1 /; and those of its gradient
STEPS = {"sigmoid": 4, "sigmoid_grad": 3}


def _activation(call: Call, suffix: str = "") -> int:
    """Those of an activation that is part of an op, for each number."""
    return STEPS.get(f"{call.op.activation}{suffix}", 1)  # type: ignore[attr-defined]


def _activated(count: int, suffix: str = "") -> Count:
    """Those of batch norm, and of the activation."""
    return lambda call: (count + _activation(call, suffix)) * size(call.inputs[0])


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
    MoveStatistics: _per_moved,
    Sigmoid: _per_output(STEPS["sigmoid"]),
    SigmoidGrad: _per_output(STEPS["sigmoid_grad"]),
    Softmax: _per_output(5),  # max, subtract, exp, sum, divide
    SoftmaxCrossEntropy: _per_input(5),
    SoftmaxCrossEntropyGrad: _per_input(2),
    DropoutMask: _per_output(2),  # compare, divide
    Sum: _per_input(1),
    Max: _per_input(1),
    ArgMax: _per_input(1),
    MaxPool2d: _pool,
    SumPool2d: _pool,
    SumPool2dGrad: _pool,
    MaxPool2dGrad: _per_input(1),
    IndexAdd: _per_input(1),
    AddInto: _per_input(1),
    Update: _per_moved,
    **dict.fromkeys((Cast, Concatenate, Copy, Index, OneHot, Pad, MaxPool2dGather), _per_output(0)),
}


def flops(call: Call) -> int:
    """Floating-point operations of a call.

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
    """Bytes of the arrays that a call makes: none for views, and for ops that work in place."""
    return 0 if call.op.aliases else sum(v.nbytes for v in call.outputs)


def parameters(call: Call) -> list[Value]:
    """The parameters that a call uses."""
    return [v for v in call.inputs if v is not None and isinstance(v.tensor, Parameter)]
