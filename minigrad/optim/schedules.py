"""Learning-rate schedules: call ``step()`` once per epoch, or as often as the rate should change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..messages import kind_of, require_state
from .optimizers import Optimizer


class ExponentialLR:
    """Multiply the optimizer's ``lr`` by ``gamma`` at every step.

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

    step_size = 1

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expected an Optimizer, got {kind_of(optimizer)}"
            )
        if not isinstance(gamma, (int, float, np.floating)) or not gamma > 0:
            raise ValueError(f"{type(self).__name__}: expected gamma > 0, got {gamma!r}")
        self.optimizer, self.gamma, self.steps = optimizer, gamma, 0

    def step(self) -> None:
        """Count one step; at every ``step_size``-th, multiply the learning rate by ``gamma``."""
        self.steps += 1
        if self.steps % self.step_size == 0:
            self.optimizer.lr *= self.gamma

    def state_dict(self) -> dict[str, np.ndarray]:
        """The number of ``steps`` so far. The learning rate is in the optimizer's state, settings are in neither."""
        return {"steps": np.array(self.steps, np.int64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what ``state_dict`` returned, before or after the optimizer's state.

        Raises
        ------
        KeyError
            For missing or unexpected names.
        TypeError, ValueError
            If ``steps`` is no integer, or negative. Whatever is raised, nothing has been loaded.
        """
        require_state(type(self).__name__, state)
        into = f"load_state_dict into {type(self).__name__}"
        if differing := sorted({"steps"} ^ state.keys()):
            raise KeyError(f"{into}: missing or unexpected {differing}")
        steps = np.asarray(state["steps"])
        if steps.shape != () or steps.dtype.kind not in "iu":
            raise TypeError(f"{into}: expected steps as an integer, got {state['steps']!r}")
        if steps < 0:
            raise ValueError(f"{into}: expected steps >= 0, got {steps}")
        self.steps = int(steps)


class StepLR(ExponentialLR):
    """Multiply the optimizer's ``lr`` by ``gamma`` at every ``step_size``-th step.

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
        self.step_size = step_size
