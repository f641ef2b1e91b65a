"""Losses.

Softmax cross-entropy of logits z with label c: log(sum_j exp(z_j)) - z_c, whose gradient softmax(z) - onehot(c) is
as well-behaved as the loss itself only when the two are one op.
"""

from __future__ import annotations

from typing import Any

from ..op import Op
from ..tensor import Operand, Tensor, apply
from .activation import log_softmax, softmax
from .checks import require_floating


class SoftmaxCrossEntropy(Op):
    """Per example, or added up times ``weight``."""

    __slots__ = ("weight",)

    def __init__(self, weight: float | None) -> None:
        self.weight = weight

    def reference(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = -(log_softmax(logits, axis=1) * one_hot(labels, logits)).sum(axis=1)
        return losses if self.weight is None else losses.sum() * self.weight

    def forward(self, k: Any, logits: Any, labels: Any) -> Any:
        losses = k.softmax_cross_entropy(logits, labels)
        if self.weight is None:
            return losses
        wide = "float32" if losses.dtype.itemsize == 2 else None  # a sum in float16 soon overflows
        return (losses.sum(dtype=wide) * self.weight).astype(losses.dtype, copy=False)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        logits, labels = node.inputs
        if self.weight is not None:
            gy = gy * self.weight
        return apply(SOFTMAX_CROSS_ENTROPY_GRAD, logits, labels, gy), None


class SoftmaxCrossEntropyGrad(Op):
    """For a gradient per example, or one for all."""

    def reference(self, logits: Tensor, labels: Tensor, gy: Tensor) -> Tensor:
        return (softmax(logits, axis=1) - one_hot(labels, logits)) * gy.reshape(-1, 1)

    def forward(self, k: Any, logits: Any, labels: Any, gy: Any) -> Any:
        return k.softmax_cross_entropy_grad(logits, labels, gy)


class OneHot(Op):
    """Rows of zeros with a one at the label."""

    differentiable = False
    saves_inputs = False

    def forward(self, k: Any, labels: Any, like: Any) -> Any:
        return (labels.reshape(-1, 1) == k.xp.arange(like.shape[1])).astype(like.dtype)


class OutOfRange(Op):
    """Whether any label is outside 0 ... classes - 1."""

    differentiable = False
    saves_inputs = False
    __slots__ = ("classes",)

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def forward(self, k: Any, labels: Any) -> Any:
        return ((labels < 0) | (labels >= self.classes)).any()


SOFTMAX_CROSS_ENTROPY_GRAD = SoftmaxCrossEntropyGrad()
ONE_HOT = OneHot()


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Labels (n,) as rows of the shape and dtype of ``like`` (n, classes)."""
    return apply(ONE_HOT, labels, like)


def softmax_cross_entropy(logits: Tensor, labels: Any, reduction: str = "mean") -> Tensor:
    """Minus the log-probability that softmax(logits) gives the labels.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor or array of integers, shape (n,)
        Classes, 0 ... classes - 1.
    reduction : {"mean", "sum", "none"}
        Mean over the examples by default.

    Returns
    -------
    Tensor, shape () or, for "none", (n,)

    Raises
    ------
    ValueError
        If the shapes do not fit, the batch is empty, a label is out of range, or the reduction is unknown.
    TypeError
        If the logits are not floating or the labels not integers.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> mg.softmax_cross_entropy(mg.zeros((2, 10)), np.array([3, 7]))
    Tensor(2.3025851)
    """
    name = "softmax_cross_entropy"
    require_floating(name, logits)
    if logits.ndim != 2 or logits.size == 0:
        raise ValueError(f"{name}: expected logits of shape (n, classes), got {logits.shape}")
    labels = logits.lift_index(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got {labels.dtype}; cast with .astype")
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{name}: expected labels of shape {logits.shape[:1]} for logits {logits.shape}, "
            f"got {labels.shape}"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
    if apply(OutOfRange(logits.shape[1]), labels):
        raise ValueError(
            f"{name}: expected labels 0 ... {logits.shape[1] - 1}, "
            f"got {labels.min().item()} ... {labels.max().item()}"
        )
    weight = {"none": None, "sum": 1.0, "mean": 1 / len(labels)}[reduction]
    return apply(SoftmaxCrossEntropy(weight), logits, labels)


def mse_loss(prediction: Tensor, target: Operand, reduction: str = "mean") -> Tensor:
    """Squared differences, averaged over all elements by default.

    Parameters
    ----------
    prediction : Tensor
    target : Tensor or array of the same shape
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If the shapes differ (they are not broadcast) or the reduction is unknown.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.mse_loss(mg.tensor([1, 2]), mg.tensor([3, 2]))
    Tensor(2.)
    """
    require_floating("mse_loss", prediction)
    target = prediction.lift(target, Op())
    if prediction.shape != target.shape:
        raise ValueError(f"mse_loss: shapes {prediction.shape} and {target.shape} differ")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"mse_loss: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
    squares = (prediction - target) ** 2
    if reduction == "mean":
        return squares.mean()
    return squares.sum() if reduction == "sum" else squares
