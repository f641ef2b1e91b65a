"""Softmax cross-entropy.

Softmax cross-entropy of logits z with label c: log(sum_j exp(z_j)) - z_c, whose gradient softmax(z) - onehot(c) is
as well-behaved as the loss itself only when the two are one op.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from ..dtypes import floating
from ..messages import explained
from ..op import Op
from ..tensor import Tensor, apply
from .activation import log_softmax, softmax
from .checks import require_floating

TO_INTEGERS = (
    "cast with labels.astype('int64'), or say minigrad.tensor(labels, dtype='int64'), where lists "
    "become float32"
)


class SoftmaxCrossEntropy(Op):
    """The losses, or their weighted sum for a ``weight``, and the probabilities softmax(logits)."""

    num_outputs = 2
    saves_outputs = (1,)
    __slots__ = ("weight",)

    def __init__(self, weight: float | None) -> None:
        self.weight = weight

    def reference(self, logits: Tensor, labels: Tensor) -> Any:
        losses = -(log_softmax(logits, axis=1) * _ones_at(labels, logits)).sum(axis=1)
        loss = losses if self.weight is None else losses.sum() * self.weight
        return loss, softmax(logits, axis=1)

    def forward(self, k: Any, logits: Any, labels: Any) -> Any:
        if not logits.size:  # no examples
            shape = (0,) if self.weight is None else ()
            return k.xp.zeros(shape, logits.dtype), logits.copy()
        return k.softmax_cross_entropy(logits, labels, self.weight)

    def backward(self, node: Any, needs: Any, gy: Tensor | None, gp: Tensor | None) -> Any:
        _, labels = node.inputs
        (p,) = node.outputs
        g = None if gy is None else apply(SoftmaxCrossEntropyGrad(self.weight), p, labels, gy)
        if gp is not None:
            through = p * (gp - (gp * p).sum(axis=1, keepdims=True))
            g = through if g is None else g + through
        return g, None


class SoftmaxCrossEntropyGrad(Op):
    """(softmax(z) - onehot(c)) gy, as a function of the probabilities, through which second derivatives reach z."""

    __slots__ = ("weight",)

    def __init__(self, weight: float | None) -> None:
        self.weight = weight

    def reference(self, probabilities: Tensor, labels: Tensor, gy: Tensor) -> Tensor:
        gy = gy if self.weight is None else gy * self.weight
        return (probabilities - _ones_at(labels, probabilities)) * gy.reshape(-1, 1)

    def forward(self, k: Any, probabilities: Any, labels: Any, gy: Any) -> Any:
        return k.softmax_cross_entropy_grad(probabilities, labels, gy, self.weight)


def _ones_at(labels: Tensor, like: Tensor) -> Tensor:
    classes = labels.lift_index(range(like.shape[1]), "labels")
    return (labels.reshape(-1, 1) == classes).astype(like.dtype)


@explained
def softmax_cross_entropy(
    logits: Tensor,
    labels: Any,
    reduction: str = "mean",
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the log-probability that softmax(logits) gives the labels.

    Parameters
    ----------
    logits : Tensor, shape (n, classes) or (n, classes, ...)
    labels : Tensor or array
        Classes, integers 0 ... classes - 1 of shape (n,) or (n, ...); or a probability for each class, one-hot or soft,
        in the shape of the logits.
    reduction : {"mean", "sum", "none"}
        Mean over the examples by default, weighted by ``weight`` of their classes as in PyTorch (by 1 for labels that
        are probabilities).
    weight : Tensor or array, shape (classes,), optional
        What the loss of each class is multiplied by.
    ignore_index : int, optional
        A label whose examples are left out, also of the mean: that of none but these is NaN.
    label_smoothing : float in [0, 1]
        How much of each label's probability is spread evenly over all classes.

    Returns
    -------
    Tensor, shape () or, for "none", (n,) or (n, ...)

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no example to average over or no class, a label is out of range (on a
        GPU this is raised when values are read the next time, and until then optimizers change nothing), or a
        setting is unknown.
    TypeError
        If the logits are not floating, or labels of classes not integers.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> mg.softmax_cross_entropy(mg.zeros((2, 10)), np.array([3, 7]))
    Tensor(2.3025851)
    """
    name = "softmax_cross_entropy"
    require_floating(name, logits)
    shape = logits.shape
    if len(shape) < 2 or (shape[0] and 0 in shape):
        raise ValueError(f"{name}: expected logits of shape (n, classes), got {shape}")
    labels = logits.lift_index(labels, name)
    expected = (shape[0], *shape[2:])
    soft = labels.shape == shape and floating(labels.dtype)
    if not soft and (labels.shape != expected or labels.dtype.kind not in "iu"):
        _refuse_labels(name, shape, expected, labels)
    require_reduction(name, reduction)
    if reduction == "mean" and not shape[0]:
        raise ValueError(
            f"{name}: expected logits of shape (n, classes), got {shape}: no examples have no mean; "
            "reduction='sum' is 0"
        )
    wide = logits.widened()
    if len(shape) > 2:  # a row for each position
        wide, labels = _rows(wide), _rows(labels) if soft else labels.reshape(-1)
    if soft or weight is not None or ignore_index is not None or label_smoothing != 0:
        weighted = import_module("minigrad.ops.losses").weighted_cross_entropy
        loss, count = weighted(name, wide, labels, soft, weight, ignore_index, label_smoothing)
        if reduction != "none":
            loss = loss.sum() / count if reduction == "mean" else loss.sum()
    else:
        factor = None if reduction == "none" else 1.0 if reduction == "sum" else 1 / len(labels)
        loss, _ = apply(SoftmaxCrossEntropy(factor), wide, labels)
    if reduction == "none":
        loss = loss.reshape(expected)
    return loss.astype(logits.dtype)


def _rows(x: Tensor) -> Tensor:
    """(n, classes, ...) as (n * ..., classes)."""
    return x.transpose((0, *range(2, x.ndim), 1)).reshape(-1, x.shape[1])


def _refuse_labels(name: str, shape: Any, expected: Any, labels: Tensor) -> None:
    """Raise: labels are no integers of the shape that is expected for logits of ``shape``."""
    if labels.shape != expected:
        how = ""
        if labels.shape == shape:
            how = "; of one-hot labels take labels.argmax(axis=1), or labels.astype('float32')"
        elif labels.size == math.prod(expected):
            how = f"; reshape them with labels.reshape({', '.join(map(str, expected))})"
        raise ValueError(
            f"{name}: expected labels of shape {expected}, a class for each row of the logits {shape}, "
            f"got {labels.shape}{how}"
        )
    raise TypeError(f"{name}: expected integer labels, got {labels.dtype}; {TO_INTEGERS}")


def require_reduction(name: str, reduction: Any) -> None:
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
