"""Batch normalization in other frameworks: the same equations with other constants.

``momentum`` is the share of the running statistics that is kept; PyTorch's is one minus it. All normalize a batch by
its biased variance, and differ in the running one: the batch's own (``ddof_running=0``), or m/(m-1) times it, an
unbiased estimate for the population (``ddof_running=1``), as in the paper.
"""

from __future__ import annotations

from typing import NamedTuple

from ..messages import warn


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


CONVENTIONS = {
    "torch": Convention(1e-5, 0.9, 1, 1, "torch.nn.BatchNorm1d/2d/3d(eps=1e-5, momentum=0.1)"),
    "keras": Convention(1e-3, 0.99, 0, -1, "keras.layers.BatchNormalization, Keras 3"),
    "tf1": Convention(1e-3, 0.99, 0, -1, "tf.layers.batch_normalization, as it does rank 2"),
    "chainer": Convention(2e-5, 0.9, 1, 1, "chainer.links.BatchNormalization(decay=0.9, eps=2e-5)"),
    "flax": Convention(1e-5, 0.99, 0, -1, "flax.linen.BatchNorm"),
    "onnx": Convention(1e-5, 0.9, 0, 1, "ONNX operator BatchNormalization, version 15"),
    "paper": Convention(1e-3, None, 1, 1, "arXiv:1502.03167, Algorithm 2; its eps is not given"),
}
