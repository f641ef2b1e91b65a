"""RMSprop."""

from __future__ import annotations

from typing import Any

from ..messages import require_at_least_0
from .optimizers import Optimizer, Params


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012, lecture 6.5).

    PyTorch's formulas and defaults::

        g = grad + weight_decay * p
        s = alpha * s + (1 - alpha) * g^2
        m = alpha * m + (1 - alpha) * g            if centered, else 0
        v = momentum * v + g / (sqrt(s - m^2) + eps)
        p = p - lr * v

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
    lr : float
    alpha : float in [0, 1]
        Decay rate of the averages.
    eps : float
    weight_decay : float
    momentum : float
    centered : bool
        Whether to divide by the standard deviation, as estimated, in place of the root mean square.

    Raises
    ------
    ValueError
        For values out of range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        settings = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        require_at_least_0("RMSprop", **settings)
        if alpha > 1:
            raise ValueError(f"RMSprop: expected alpha in [0, 1], got {alpha}")
        self.alpha, self.eps, self.weight_decay = alpha, eps, weight_decay
        self.momentum, self.centered = momentum, centered
        averages = ("square_average", "average") if centered else ("square_average",)
        self.slots = (*averages, "velocity") if momentum else averages
        super().__init__(params, lr)

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        state = dict(zip(self.slots, columns[1:-1], strict=True))
        if (self.centered, bool(self.momentum)) != ("average" in state, "velocity" in state):
            raise ValueError(
                "RMSprop: momentum and centered decide what state there is; make another optimizer to change them"
            )
        settings = {"eps": self.eps, "weight_decay": self.weight_decay, "momentum": self.momentum}
        k.rmsprop(columns[0], state, columns[-1], lr=self.lr, alpha=self.alpha, **settings)
