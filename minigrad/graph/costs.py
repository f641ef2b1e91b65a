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
from itertools import accumulate

from ..dtypes import floating
from ..nn.module import Parameter
from .calls import Call, Trace, Value

#: FLOPs per number of the first input, or a function
Rule = int | Callable[[Call], int]

#: allocations start at a cache line
LINE = 64


def size(value: Value | None) -> int:
    """Return how many numbers a value has; 0 for None."""
    return 0 if value is None else math.prod(value.shape)


def _per_written(call: Call) -> int:
    """Count a multiplication and an addition per number, except for counters of batches and steps."""
    return 2 * sum(size(v) for v in call.written if floating(v.dtype))


def _matmul(call: Call) -> int:
    return 2 * size(call.outputs[0]) * call.inputs[0].shape[-2 if call.op.ta else -1]  # type: ignore[attr-defined]


def _products(y: Value | None, weight: Value) -> int:
    """Count the products that a layer's outputs are sums of: each is one of an output channel's weights, used once."""
    return 2 * size(y) * math.prod(weight.shape[1:])


def _layer(call: Call) -> int:
    _, weight, bias = call.inputs
    y = call.outputs[0]
    return _products(y, weight) + (bias is not None) * size(y)


def _pool(call: Call) -> int:
    """Count each number of a window once; pooled values, or gradients for them, are the fewer."""
    windows = min(size(call.inputs[0]), size(call.outputs[0]))
    return windows * math.prod(call.op.window.size)  # type: ignore[attr-defined]


#: by the names of ops
RULES: dict[str, Rule] = {
    "linear conv2d": _layer,
    "mat_mul": _matmul,
    "input_grad": lambda call: _products(call.inputs[0], call.inputs[1]),
    "weight_grad": lambda call: _products(call.inputs[1], call.outputs[0]),
    "batch_norm": 6,  # sum; x - mean, its square, their sum; scale, shift
    "batch_norm_grad": 9,  # xhat 2; gbeta 1, ggamma 2; gx 4
    "frozen_batch_norm": 2,  # scale, shift
    "mean_m2": lambda call: (4 if len(call.inputs) == 1 else 6) * size(call.inputs[0]),
    "sigmoid": 4,  # negative, exp, 1 +, 1 /
    "sigmoid_grad": 3,
    "softmax log_softmax softmax_cross_entropy": 5,  # max, subtract, exp, sum, divide
    "softmax_cross_entropy_grad dropout_mask": 2,
    "softplus": 5,  # negative, abs, exp, log1p, +
    "sum max min arg_max arg_min cum_sum index_add add_into max_pool2d_grad": 1,
    "max_pool2d sum_pool2d sum_pool2d_grad": _pool,
    "update move_statistics": _per_written,
    "cast concatenate copy index one_hot pad max_pool2d_gather": 0,
}
FLOPS = {name: rule for names, rule in RULES.items() for name in names.split()}


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
    rule = FLOPS.get(call.name)
    if rule is None:
        return sum(map(size, call.outputs))
    return rule * size(call.inputs[0]) if isinstance(rule, int) else rule(call)


def made(call: Call) -> int:
    """Return the bytes of the arrays that a call allocates: none for views and in-place ops."""
    return 0 if call.op.aliases else sum(v.nbytes for v in call.outputs)


def parameters(call: Call) -> list[Value]:
    """Return the parameters that a call uses."""
    return [v for v in call.inputs if v is not None and isinstance(v.tensor, Parameter)]


def peak(graph: Trace) -> int:
    """Return the most bytes of results that are in memory at once during a replay, each up to its last use.

    Results of the graph and gradients are kept to the end. Views need no memory; what an op allocates and frees itself
    is not counted.
    """
    base = graph.bases()
    lives: dict[Value, tuple[int, int]] = {}
    for i, values in enumerate([*(call.values for call in graph.calls), graph.wanted()]):
        for v in (base.get(v, v) for v in values):
            if v.kind == "result":
                lives[v] = lives.get(v, (i, i))[0], i
    changes = [0] * (len(graph.calls) + 2)
    for v, (first, last) in lives.items():
        room = -(-max(v.nbytes, 1) // LINE) * LINE
        changes[first] += room
        changes[last + 1] -= room
    return max(accumulate(changes))
