"""Learning-rate schedules: call ``step()`` once per epoch, or as often as the rate should change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..messages import Explained, kind_of, require_at_least_0, require_state
from .optimizers import Optimizer


class LRScheduler(Explained):
    """Base class of schedules: an optimizer, each of whose groups they set ``lr`` of, and the ``steps`` so far."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expected an Optimizer, got {kind_of(optimizer)}"
            )
        self.optimizer, self.steps = optimizer, 0

    def step(self) -> None:
        """Count one step, and set the learning rates."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def get_last_lr(self) -> list[float]:
        """The present learning rate of each group."""
        return [group.lr for group in self.optimizer.groups]

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
        require_state(type(self).__name__, state, self.state_dict().keys())
        into = f"load_state_dict into {type(self).__name__}"
        steps = np.asarray(state["steps"])
        if steps.shape != () or steps.dtype.kind not in "iu":
            raise TypeError(f"{into}: expected steps as an integer, got {state['steps']!r}")
        if steps < 0:
            raise ValueError(f"{into}: expected steps >= 0, got {steps}")
        self._load(into, state)
        self.steps = int(steps)

    def _load(self, into: str, state: Mapping[str, Any]) -> None:
        """Load what else there is."""


class ExponentialLR(LRScheduler):
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
        super().__init__(optimizer)
        if not isinstance(gamma, (int, float, np.floating)) or not gamma > 0:
            raise ValueError(f"{type(self).__name__}: expected gamma > 0, got {gamma!r}")
        self.gamma = gamma

    def step(self) -> None:
        """Count one step; at every ``step_size``-th, multiply the learning rate by ``gamma``."""
        self.steps += 1
        if self.steps % self.step_size == 0:
            for group in self.optimizer.groups:
                group.lr *= self.gamma


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
        _require_count("StepLR", "step_size", step_size)
        self.step_size = step_size


class CosineAnnealingLR(LRScheduler):
    """Lower the learning rate along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983), as PyTorch does::

        lr = eta_min + (base - eta_min) * (1 + cos(pi * steps / T_max)) / 2

    ``base`` is the rate that the optimizer had when the schedule was made. After ``T_max`` steps the rate rises again.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int >= 1
        Steps from ``base`` to ``eta_min``.
    eta_min : float

    Examples
    --------
    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = mg.optim.CosineAnnealingLR(optimizer, T_max=4)
    >>> for _ in range(2):
    ...     schedule.step()
    >>> round(optimizer.lr, 6)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        _require_count("CosineAnnealingLR", "T_max", T_max)
        require_at_least_0("CosineAnnealingLR", eta_min=eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        self.base_lrs = [group.lr for group in optimizer.groups]

    def step(self) -> None:
        """Count one step, and set the learning rates."""
        self.steps += 1
        factor = (1 + math.cos(math.pi * self.steps / self.T_max)) / 2
        for group, base in zip(self.optimizer.groups, self.base_lrs, strict=True):
            group.lr = self.eta_min + (base - self.eta_min) * factor

    def state_dict(self) -> dict[str, np.ndarray]:
        """The number of ``steps`` so far and the ``base_lrs`` that the rates started from."""
        return {**super().state_dict(), "base_lrs": np.array(self.base_lrs, np.float64)}

    def _load(self, into: str, state: Mapping[str, Any]) -> None:
        rates = np.asarray(state["base_lrs"])
        if rates.shape != (len(self.base_lrs),) or rates.dtype.kind != "f":
            raise ValueError(
                f"{into}: expected base_lrs as {len(self.base_lrs)} floats, one per group, got {state['base_lrs']!r}"
            )
        self.base_lrs = rates.tolist()


def _require_count(name: str, setting: str, value: Any) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}: expected {setting} >= 1, an int, got {value!r}")
