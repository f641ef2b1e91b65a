"""Losses as modules, with PyTorch's names: called with (logits, labels) or (prediction, target)."""

from __future__ import annotations

from typing import Any

from ..ops.cross_entropy import require_reduction, softmax_cross_entropy
from ..ops.losses import binary_cross_entropy_with_logits, mse_loss
from ..tensor import Tensor
from .module import Buffer, Module


class Loss(Module):
    """Base of losses: what is made of the examples' losses, "mean", "sum" or "none"."""

    def __init__(self, *, reduction: str = "mean") -> None:
        require_reduction(type(self).__name__, reduction)
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """``minigrad.softmax_cross_entropy`` with its settings.

    ``ignore_index`` is None by default, where PyTorch ignores -100. The weight is a buffer.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.CrossEntropyLoss(label_smoothing=0.1)(mg.zeros((2, 10)), [3, 7])
    Tensor(2.3025851)
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction=reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, logits: Tensor, labels: Any) -> Tensor:
        settings: Any = {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        return softmax_cross_entropy(logits, labels, self.reduction, weight=self.weight, **settings)


class MSELoss(Loss):
    """``minigrad.mse_loss`` with its reduction."""

    def forward(self, prediction: Tensor, target: Any) -> Tensor:
        return mse_loss(prediction, target, self.reduction)


class BCEWithLogitsLoss(Loss):
    """``minigrad.binary_cross_entropy_with_logits`` with its settings. ``pos_weight`` is a buffer."""

    def __init__(self, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction=reduction)
        self.pos_weight = None if pos_weight is None else Buffer(pos_weight)

    def forward(self, logits: Tensor, targets: Any) -> Tensor:
        settings = {"pos_weight": self.pos_weight}
        return binary_cross_entropy_with_logits(logits, targets, self.reduction, **settings)
