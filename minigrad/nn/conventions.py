"""Batch normalization in other frameworks: the same equations with other constants.

``momentum`` is the share of the running statistics that is kept; PyTorch's is one minus it. All normalize a batch by
its biased variance, and differ in the running one: the batch's own (``ddof_running=0``), or m/(m-1) times it, an
unbiased estimate for the population (``ddof_running=1``), as in the paper.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..messages import warn
from ..tensor import Tensor
from .batch_norm import BatchNorm


class Convention(NamedTuple):
    """Defaults of one framework. All start from a running mean of 0 and variance of 1, gamma 1 and beta 0."""

    eps: float
    momentum: float | None
    ddof_running: int
    axis: int
    source: str

    @property
    def epsilon(self) -> float:
        """The old name of ``eps``."""
        warn("Convention.epsilon is called eps now", DeprecationWarning)
        return self.eps


#: what the layers of other frameworks do by default, by the framework's name
CONVENTIONS = {
    "torch": Convention(1e-5, 0.9, 1, 1, "torch.nn.BatchNorm1d/2d/3d(eps=1e-5, momentum=0.1)"),
    "keras": Convention(1e-3, 0.99, 0, -1, "keras.layers.BatchNormalization, Keras 3"),
    "tf1": Convention(1e-3, 0.99, 0, -1, "tf.layers.batch_normalization, as it does rank 2"),
    "chainer": Convention(2e-5, 0.9, 1, 1, "chainer.links.BatchNormalization(decay=0.9, eps=2e-5)"),
    "flax": Convention(1e-5, 0.99, 0, -1, "flax.linen.BatchNorm"),
    "onnx": Convention(1e-5, 0.9, 0, 1, "ONNX operator BatchNormalization, version 15"),
    "paper": Convention(1e-3, None, 1, 1, "arXiv:1502.03167, Algorithm 2; its eps is not given"),
}


class BatchNorm1d(BatchNorm):
    """BatchNorm with PyTorch's arguments, defaults and meaning, for inputs (n, channels) or (n, channels, length).

    Parameters
    ----------
    num_features : int
    eps : float
    momentum : float in [0, 1], or None
        As in PyTorch the share of the new batch, 0.1 by default: the attribute ``momentum`` is one minus it, 0.9.
    affine, bias : bool
        Whether there are ``gamma`` and ``beta``; ``bias=False`` leaves only ``gamma``.
    track_running_stats : bool
        If False, eval normalizes by the batch too, and the running statistics are None.
    dtype
        As for BatchNorm.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.BatchNorm1d(64)
    BatchNorm1d(64, axis=1, momentum=0.9 (0.1 in PyTorch), eps=1e-05)
    """

    #: how many axes the input may have, and how they are called
    ranks: tuple[int, ...] = (2, 3)
    axes = "[, length]"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features,
            momentum=momentum,
            eps=eps,
            center=affine and bias,
            scale=affine,
            statistics="running" if track_running_stats else "batch",
            dtype=dtype,
        )
        self.momentum = None if momentum is None else 1 - momentum
        self.moving = track_running_stats

    def _reset(self, dtype: Any, backend: str | None) -> None:
        super()._reset(dtype, backend)
        if self.statistics == "batch":
            self.running_mean = self.running_var = self.num_batches = None  # type: ignore[assignment]

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        if isinstance(x, Tensor) and x.ndim not in self.ranks:
            raise ValueError(
                f"{self.title()}: expected x of shape (n, {self.num_features}{self.axes}), got {x.shape}"
            )
        return super().forward(x, mask, weight)

    def extra_repr(self) -> str:
        text, kept = super().extra_repr(), self.momentum
        if kept is None:
            return text
        both = f"momentum={kept:.6g} ({1 - kept:.6g} in PyTorch)"
        return text.replace(f"momentum={kept}", both)


class BatchNorm2d(BatchNorm1d):
    """As BatchNorm1d, for images (n, channels, height, width)."""

    ranks, axes = (4,), ", height, width"


class BatchNorm3d(BatchNorm1d):
    """As BatchNorm1d, for volumes (n, channels, depth, height, width)."""

    ranks, axes = (5,), ", depth, height, width"
