"""Losses.

Softmax cross-entropy of logits z with label c: log(sum_j exp(z_j)) - z_c, whose gradient softmax(z) - onehot(c) is
as well-behaved as the loss itself only when the two are one op.
"""

from __future__ import annotations

from typing import Any

from ..op import Op
from ..tensor import Tensor, apply
from .activation import log_softmax, softmax
from .arithmetic import promoted
from .checks import require_floating
from .methods import Operand


class SoftmaxCrossEntropy(Op):
    """The losses, or their weighted sum for a ``weight``, and the probabilities softmax(logits)."""

    num_outputs = 2
    saves_outputs = (1,)
    __slots__ = ("weight",)

    def __init__(self, weight: float | None) -> None:
        self.weight = weight

    def reference(self, logits: Tensor, labels: Tensor) -> Any:
        losses = -(log_softmax(logits, axis=1) * one_hot(labels, logits)).sum(axis=1)
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
        return (probabilities - one_hot(labels, probabilities)) * gy.reshape(-1, 1)

    def forward(self, k: Any, probabilities: Any, labels: Any, gy: Any) -> Any:
        return k.softmax_cross_entropy_grad(probabilities, labels, gy, self.weight)


class OneHot(Op):
    """Rows of zeros with a one at the label."""

    differentiable = False

    def forward(self, k: Any, labels: Any, like: Any) -> Any:
        return (labels.reshape(-1, 1) == k.xp.arange(like.shape[1])).astype(like.dtype)


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
        If the shapes do not fit, there is no example to average over or no class, a label is out of range (on a
        GPU this is raised when values are read the next time, and until then optimizers change nothing), or the
        reduction is unknown.
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
    if logits.ndim != 2 or (len(logits) and not logits.size):
        raise ValueError(f"{name}: expected logits of shape (n, classes), got {logits.shape}")
    labels = logits.lift_index(labels, name)
    if labels.shape != logits.shape[:1]:
        how = ""
        if labels.shape == logits.shape:
            how = "; of one-hot labels take labels.argmax(axis=1)"
        elif labels.size == len(logits):
            how = f"; reshape them with labels.reshape({labels.size})"
        raise ValueError(
            f"{name}: expected labels of shape {logits.shape[:1]}, a class for each row of the logits "
            f"{logits.shape}, got {labels.shape}{how}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: expected integer labels, got {labels.dtype}; cast with labels.astype('int64'), or say "
            "minigrad.tensor(labels, dtype='int64'), where lists become float32"
        )
    _require_reduction(name, reduction)
    if reduction == "mean" and not len(labels):
        raise ValueError(
            f"{name}: expected logits of shape (n, classes), got {logits.shape}: no examples have no mean; "
            "reduction='sum' is 0"
        )
    weight = None if reduction == "none" else 1.0 if reduction == "sum" else 1 / len(labels)
    loss, _ = apply(SoftmaxCrossEntropy(weight), logits.widened(), labels)
    return loss.astype(logits.dtype)


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
        raise ValueError(f"mse_loss: shapes {prediction.shape} and {target.shape} differ")
    _require_reduction("mse_loss", reduction)
    squares = (prediction.widened() - target.widened()) ** 2
    if reduction != "none":
        squares = squares.mean() if reduction == "mean" else squares.sum()
    return squares.astype(promoted(prediction.dtype, target.dtype))


def _require_reduction(name: str, reduction: Any) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
