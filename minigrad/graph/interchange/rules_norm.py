"""Batch norm with frozen statistics, and with the batch's together with the running ones that it moves.

BatchNormalization keeps axis 1; another axis is brought there and back, and batch norm that keeps several is written as
its reference. In training mode the node gives ``momentum * running + (1 - momentum) * batch``, so that momentum means
what it means here; but its variance is biased, whereas the running one here carries the factor m/(m-1), unless
``ddof_running=0``: what is missing is then added. Training batch norm that moves nothing is written as its reference
too: ONNX Runtime 1.32 takes a node in training mode for one in inference unless its mean is an output of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...nn.running import MoveStatistics
from ...ops.batch_norm import FrozenBatchNorm, statistics_dtype

if TYPE_CHECKING:
    from .writer import Step, Wire, Writer


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


def moving_batch_norm(to: Writer, step: Step, move: Any, running: list[Wire]) -> tuple[Any, Any]:
    """One node for a batch norm and the running statistics that it moves: the names for both ops."""
    running_mean, running_var, num_batches = running
    momentum, correction = move.momentum, move.correction
    attributes = {"epsilon": step.op.eps, "momentum": momentum, "training_mode": 1}

    def node(x: Any) -> Any:
        inputs = x, *_affine(to, step), running_mean, running_var
        return to.node("BatchNormalization", *inputs, outputs=3, **attributes)

    y, mean, var = _around(to, step, node)
    if correction != 1:
        # momentum running + (1 - momentum) correction batch, from the same without the correction
        kept = to.constant((correction - 1) * momentum, running_var.dtype)
        var = to.node("Mul", var, to.constant(correction, running_var.dtype))
        var = to.node("Sub", var, to.node("Mul", running_var, kept))
    count = to.node("Add", num_batches, to.constant(1, np.int64))
    return (y, None, None, None), (mean, var, count)


def move_statistics(to: Writer, step: Step) -> tuple[str, str, str]:
    running_mean, running_var, num_batches, mean, var = step.inputs
    op, dtype = step.op, mean.dtype
    count = to.node("Add", num_batches, to.constant(1, np.int64))
    one = to.constant(1, dtype)
    if op.momentum is None:
        new = to.node("Reciprocal", to.cast(count, dtype))
    else:
        new = to.constant(1 - op.momentum, dtype)
    if op.debiased:
        left = to.node("Pow", to.constant(op.momentum, dtype), to.cast(count, dtype))
        new = to.node("Div", new, to.node("Sub", one, left))
    old = to.node("Sub", one, new)

    def moved(running: Any, batch: Any) -> str:
        return to.node("Add", to.node("Mul", running, old), to.node("Mul", batch, new))

    var = to.node("Mul", var, to.constant(op.correction, dtype))
    return moved(running_mean, mean), moved(running_var, var), count


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
