"""Losses.

Softmax cross-entropy of logits z with label c: log(sum_j exp(z_j)) - z_c, whose gradient softmax(z) - onehot(c) is
as well-behaved as the loss itself only when the two are one op.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import floating, real
from ..messages import explained, require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .activation import log_softmax, softmax, softplus
from .arithmetic import promoted, where
from .checks import require_floating
from .methods import Operand, of_tensor
from .shape import integers, sizes

_TO_INTEGERS = (
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


def _ones_at(labels: Tensor, like: Tensor) -> Tensor:
    return apply(OneHot(like.shape[1], like.dtype), labels)


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
        raise TypeError(f"one_hot: expected integer labels, got {labels.dtype}; {_TO_INTEGERS}")
    (classes,) = sizes("one_hot, num_classes", (num_classes,))
    return apply(OneHot(classes, real(dtype)), labels)


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
        loss, count = _weighted(name, wide, labels, soft, weight, ignore_index, label_smoothing)
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
    return x.transpose(0, *range(2, x.ndim), 1).reshape(-1, x.shape[1])


def _weighted(
    name: str, logits: Tensor, labels: Tensor, soft: bool, weight: Any, ignored: Any, smoothing: Any
) -> tuple[Tensor, Any]:
    """The losses of the rows, and what the mean divides their sum by."""
    n, classes = logits.shape
    require_numbers(name, label_smoothing=smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: expected label_smoothing in [0, 1], got {smoothing}")
    if weight is not None:
        weight = logits.lift(weight, name).astype(logits.dtype)
        if weight.shape != (classes,):
            raise ValueError(f"{name}: expected weight of shape ({classes},), got {weight.shape}")
    if soft:
        if ignored is not None:
            raise ValueError(
                f"{name}: ignore_index is for integer labels; multiply the losses of reduction='none' by a mask"
            )
        target = labels.astype(logits.dtype) * (1 - smoothing) + smoothing / classes
        target = target if weight is None else target * weight
        return -(log_softmax(logits, 1) * target).sum(1), n
    scale = kept = None
    if ignored is not None:
        (ignored,) = integers(f"{name}, ignore_index", (ignored,))
        labels = labels.astype(np.int64)
        kept = labels != ignored
        labels, logits = where(kept, labels, 0), where(kept.unsqueeze(1), logits, 0.0)
        scale = kept = kept.astype(logits.dtype)
    losses, _ = apply(SoftmaxCrossEntropy(None), logits, labels)
    if weight is not None:
        scale = weight[labels] if scale is None else weight[labels] * scale
    losses = losses if scale is None else losses * scale
    if smoothing:
        even = -log_softmax(logits, 1)
        even = (even if weight is None else even * weight).sum(1) / classes
        losses = losses * (1 - smoothing) + (even if kept is None else even * kept) * smoothing
    return losses, n if scale is None else scale.sum()


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
    raise TypeError(f"{name}: expected integer labels, got {labels.dtype}; {_TO_INTEGERS}")


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
            f"mse_loss: shapes {prediction.shape} and {target.shape} differ; reshape or broadcast_to one of them"
        )
    require_reduction("mse_loss", reduction)
    squares = (prediction.widened() - target.widened()) ** 2
    return _reduced(squares, reduction).astype(promoted(prediction.dtype, target.dtype))


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def require_reduction(name: str, reduction: Any) -> None:
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
