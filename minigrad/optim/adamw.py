"""AdamW."""

from __future__ import annotations

from typing import Any

from .optimizers import Adam, Params


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
