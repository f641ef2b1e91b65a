"""Adaptive optimizers beside Adam: AdamW and RMSprop."""

from __future__ import annotations

from typing import Any

from ..kernels.halves import wide
from ..messages import require_at_least_0
from .optimizers import Adam, Optimizer, Params


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101), with PyTorch's defaults.

    Each update is ``p = p - lr * weight_decay * p``, then that of ``Adam``, whose parameters these are, without weight
    decay; float16 and bfloat16 parameters are rounded after both.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor(2, requires_grad=True)
    >>> optimizer = mg.optim.AdamW([x], lr=0.5, weight_decay=0.5)
    >>> (x * 0).backward()
    >>> optimizer.step()
    >>> x
    Tensor(1.5, requires_grad=True)
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        k.decay(columns[0], 1 - self.lr * self.weight_decay)
        k.adam(*columns, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=0.0, steps=steps)


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
        self.alpha, self.eps, self.weight_decay = alpha, eps, weight_decay
        self.momentum, self.centered = momentum, centered
        self.slots = self._averages()
        super().__init__(params, lr)

    def require_settings(self) -> None:
        super().require_settings()
        settings = {"alpha": self.alpha, "eps": self.eps, "weight_decay": self.weight_decay}
        require_at_least_0("RMSprop", **settings, momentum=self.momentum)
        if self.alpha > 1:
            raise ValueError(f"RMSprop: expected alpha in [0, 1], got {self.alpha}")
        if self.slots != self._averages():
            raise ValueError(
                "RMSprop: momentum and centered decide what state there is; make another optimizer to change them"
            )

    def _averages(self) -> tuple[str, ...]:
        others = {"average": self.centered, "velocity": self.momentum}
        return ("square_average", *[name for name, kept in others.items() if kept])

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        self.require_settings()  # replays come here alone
        params, square, *others, grads = columns
        velocities = others[-1:] if self.momentum else []
        steps_of = []
        with k.undoing(columns[1 : -1 - len(velocities)]):
            for i, (p, s, g) in enumerate(zip(params, square, grads, strict=True)):
                g = wide(g)
                if self.weight_decay:
                    g = g + self.weight_decay * wide(p)
                s *= self.alpha
                s += (1 - self.alpha) * (g * g)
                if self.centered:
                    average = others[0][i]
                    average *= self.alpha
                    average += (1 - self.alpha) * g
                    s = s - average * average
                steps_of.append(g / (k.xp.sqrt(s) + self.eps))
        settings = {"momentum": self.momentum, "nesterov": False, "weight_decay": 0.0}
        k.sgd(params, *velocities, tuple(steps_of), lr=self.lr, **settings)
