"""Batch norm with frozen statistics, and running ones that move.

BatchNormalization keeps axis 1; another axis is brought there and back, and batch norm that keeps several is written as
its reference. So is batch norm by the statistics of the batch: a node in training mode has a biased running variance,
and ONNX Runtime 1.32 writes that over the initializer, which makes a session's second run wrong, or takes the node for
one in inference unless its mean is an output of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ops.batch_norm import FrozenBatchNorm, MoveStatistics, statistics_dtype

if TYPE_CHECKING:
    from .writer import Step, Writer


def frozen_batch_norm(to: Writer, step: Step) -> Any:
    *_, mean, var = step.inputs
    if len(step.op.kept) > 1:
        return to.unfold(step)
    return _around(
        to,
        step,
        lambda y: to.node(
            "BatchNormalization", y, *_affine(to, step), mean, var, epsilon=step.op.eps
        ),
    )


def move_statistics(to: Writer, step: Step) -> tuple[str, str, str]:
    """Weights of the old and the new in float64, as eager code has them: 1 - momentum**n cancels."""
    running_mean, running_var, num_batches, mean, var = step.inputs
    op, dtype, wide = step.op, mean.dtype, np.float64
    count = to.node("Add", num_batches, to.constant(1, np.int64))
    one, n = to.constant(1, wide), to.cast(count, np.dtype(wide))
    if op.momentum is None:
        new = to.node("Div", one, n)
    else:
        new = to.constant(1 - op.momentum, wide)
        if op.debiased:
            left = to.node("Pow", to.constant(op.momentum, wide), n)
            new = to.node("Div", new, to.node("Sub", one, left))
    new = to.cast(new, dtype)
    old = to.node("Sub", to.constant(1, dtype), new)

    def moved(running: Any, batch: Any) -> str:
        return to.node("Add", to.node("Mul", running, old), to.node("Mul", batch, new))

    unbiased = to.node("Mul", var, to.constant(op.correction, dtype))
    made = moved(running_mean, mean), moved(running_var, unbiased), count
    if op.strict:  # where eager code raises, a file can only give NaN
        return made
    zeros = to.node("ReduceSum", to.node("Sub", var, var), keepdims=0)
    finite = to.node("Equal", zeros, to.constant(0, dtype))
    mean, var, count = (
        to.node("Where", finite, after, before)
        for after, before in zip(made, step.inputs, strict=False)
    )
    return mean, var, count


def _affine(to: Writer, step: Step) -> list[Any]:
    """gamma and beta, which ONNX can't do without."""
    x, gamma, beta = step.inputs[:3]
    dtype, (axis,) = statistics_dtype(x.dtype), step.op.kept
    return [
        to.constant(np.full(x.shape[axis], value, dtype)) if given is None else given
        for given, value in ((gamma, 1), (beta, 0))
    ]


def _around(to: Writer, step: Step, node: Callable[[Any], Any]) -> Any:
    """The node between what brings its first input, and back its first output, to axis 1 and the statistics' dtype."""
    x, (axis,) = step.inputs[0], step.op.kept
    dtype = statistics_dtype(x.dtype)
    order = list(range(len(x.shape)))
    order[1], order[axis] = order[axis], order[1]
    y: Any = x if x.dtype == dtype else to.cast(x, dtype)
    made = node(y if axis == 1 else to.node("Transpose", y, perm=order))
    y, *statistics = made if isinstance(made, tuple) else (made,)
    y = y if axis == 1 else to.node("Transpose", y, perm=order)
    y = y if x.dtype == dtype else to.cast(y, x.dtype)
    return (y, *statistics)


NORMS: dict[type, Callable[..., Any]] = {
    FrozenBatchNorm: frozen_batch_norm,
    MoveStatistics: move_statistics,
}
