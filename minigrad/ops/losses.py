"""Losses beside plain cross-entropy: mse_loss, binary cross-entropy, soft, weighted and ignored labels; one_hot."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import real
from ..messages import explained, require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .activation import log_softmax
from .arithmetic import promoted, where
from .checks import require_floating
from .cross_entropy import TO_INTEGERS, SoftmaxCrossEntropy, require_reduction
from .methods import Operand, of_tensor
from .rectifiers import softplus
from .shape import integers, sizes


class OneHot(Op):
    """A one at the label, and zeros, along a new last axis."""

    differentiable = False
    __slots__ = ("classes", "dtype")

    def __init__(self, classes: int, dtype: Any) -> None:
        self.classes, self.dtype = classes, dtype

    def forward(self, k: Any, labels: Any) -> Any:
        if labels.size and (labels.min() < 0 or labels.max() >= self.classes):
            found = f"{labels.min().item()} ... {labels.max().item()}"
            raise ValueError(f"one_hot: expected labels 0 ... {self.classes - 1}, got {found}")
        row = k.xp.arange(self.classes)
        return (labels.reshape(*labels.shape, 1) == row).astype(self.dtype)


@explained
def binary_cross_entropy_with_logits(
    logits: Tensor, targets: Operand, reduction: str = "mean", *, pos_weight: Any = None
) -> Tensor:
    """Cross-entropy of sigmoid(logits) with targets in [0, 1], averaged over all elements by default.

    Parameters
    ----------
    logits : Tensor
    targets : Tensor or array of the same shape
        Probabilities of 1; labels 0 and 1 may be integers or booleans.
    reduction : {"mean", "sum", "none"}
    pos_weight : number, Tensor or array, optional
        What the loss of a 1 is multiplied by; it broadcasts to the shape of the logits.

    Raises
    ------
    ValueError
        If the shapes differ (targets are not broadcast) or the reduction is unknown.
    TypeError
        If the logits are not floating.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.binary_cross_entropy_with_logits(mg.tensor([0, 1e4]), mg.tensor([0, 1]))
    Tensor(0.3465736)
    """
    name = "binary_cross_entropy_with_logits"
    require_floating(name, logits)
    targets = logits.lift(targets, name)
    if logits.shape != targets.shape:
        hint = f"; use targets.reshape{logits.shape}" if logits.size == targets.size else ""
        raise ValueError(
            f"{name}: shapes {logits.shape} of the logits and {targets.shape} of the targets differ{hint}"
        )
    require_reduction(name, reduction)
    z = logits.widened()
    y = targets.astype(z.dtype)
    ones = y * softplus(-z)
    if pos_weight is not None:
        factor = z.lift(pos_weight, name).astype(z.dtype)
        try:
            factor = factor.broadcast_to(z.shape)
        except ValueError:
            raise ValueError(
                f"{name}: pos_weight {factor.shape} does not broadcast to the logits {z.shape}"
            ) from None
        ones = ones * factor
    losses = ones + (1 - y) * softplus(z)
    return _reduced(losses, reduction).astype(logits.dtype)


@explained
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
    target = prediction.lift(target, "mse_loss")
    if prediction.shape != target.shape:
        raise ValueError(
            f"mse_loss: shapes {prediction.shape} and {target.shape} differ; reshape one"
        )
    require_reduction("mse_loss", reduction)
    squares = (prediction.widened() - target.widened()) ** 2
    return _reduced(squares, reduction).astype(promoted(prediction.dtype, target.dtype))


@of_tensor
def one_hot(labels: Tensor, num_classes: int, dtype: Any = np.int64) -> Tensor:
    """Labels of shape (...) as vectors (..., num_classes) with a one at the label; int64 by default, as PyTorch's.

    Raises
    ------
    ValueError
        If a label is not in 0 ... num_classes - 1.
    TypeError
        If the labels are not integers.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.one_hot(mg.tensor([0, 2], dtype="int64"), 3, dtype="float32")
    Tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"one_hot: expected integer labels, got {labels.dtype}; {TO_INTEGERS}")
    (classes,) = sizes("one_hot, num_classes", (num_classes,))
    return apply(OneHot(classes, real(dtype)), labels)


def weighted_cross_entropy(
    name: str, logits: Tensor, labels: Tensor, soft: bool, weight: Any, ignored: Any, smoothing: Any
) -> tuple[Tensor, Any]:
    """The losses of the rows, and what the mean divides their sum by."""
    n, classes = logits.shape
    require_numbers(name, label_smoothing=smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: expected label_smoothing in [0, 1], got {smoothing}")
    weight = logits.lift([1.0] * classes if weight is None else weight, name).astype(logits.dtype)
    if weight.shape != (classes,):
        raise ValueError(f"{name}: expected weight of shape ({classes},), got {weight.shape}")
    if soft:
        if ignored is not None:
            raise ValueError(
                f"{name}: ignore_index is for integer labels; multiply the losses of reduction='none' by a mask"
            )
        target = labels.astype(logits.dtype) * (1 - smoothing) + smoothing / classes
        return -(log_softmax(logits, 1) * (target * weight)).sum(1), n
    kept: Any = 1.0
    if ignored is not None:
        (ignored,) = integers(f"{name}, ignore_index", (ignored,))
        labels = labels.astype(np.int64)
        kept = labels != ignored
        labels, logits = where(kept, labels, 0), where(kept.reshape(-1, 1), logits, 0.0)
        kept = kept.astype(logits.dtype)
    losses, _ = apply(SoftmaxCrossEntropy(None), logits, labels)
    scale = weight[labels] * kept
    losses = losses * scale
    if smoothing:
        even = -(log_softmax(logits, 1) * weight).sum(1) * kept / classes
        losses = losses * (1 - smoothing) + even * smoothing
    return losses, scale.sum()


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()
