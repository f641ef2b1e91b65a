"""Learning-rate schedules: call ``step()`` once per epoch (or however often the rate is to fall)."""

from __future__ import annotations

import numpy as np

from ..messages import kind_of
from .optimizers import Optimizer


class ExponentialLR:
    """Multiplies the optimizer's ``lr`` by ``gamma`` at every step.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float > 0

    Examples
    --------
    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = mg.optim.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> optimizer.lr
    0.5
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expected an Optimizer, got {kind_of(optimizer)}"
            )
        if not isinstance(gamma, (int, float, np.floating)) or not gamma > 0:
            raise ValueError(f"{type(self).__name__}: expected gamma > 0, got {gamma!r}")
        self.optimizer, self.gamma = optimizer, gamma

    def step(self) -> None:
        """Move the learning rate on."""
        self.optimizer.lr *= self.gamma


class StepLR(ExponentialLR):
    """Multiplies the optimizer's ``lr`` by ``gamma`` at every ``step_size``-th step.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int >= 1
    gamma : float > 0
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, gamma)
        if not isinstance(step_size, (int, np.integer)) or step_size < 1:
            raise ValueError(f"StepLR: expected step_size >= 1, an int, got {step_size!r}")
        self.step_size, self.steps = step_size, 0

    def step(self) -> None:
        """Count one step, and move the learning rate on at every ``step_size``-th."""
        self.steps += 1
        if self.steps % self.step_size == 0:
            super().step()
