"""Optimizers, schedules of their learning rates, and clipping of gradients."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..messages import no_attribute
from .optimizers import SGD, Adam, Optimizer

if TYPE_CHECKING:
    from .adaptive import AdamW, RMSprop
    from .clipping import clip_grad_norm_
    from .schedules import CosineAnnealingLR, ExponentialLR, StepLR

__all__ = [
    "SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "Optimizer", "RMSprop", "StepLR", "clip_grad_norm_",
]  # fmt: skip

#: names imported on first access, and their modules
_LATER = {
    "AdamW": "adaptive",
    "CosineAnnealingLR": "schedules",
    "ExponentialLR": "schedules",
    "RMSprop": "adaptive",
    "StepLR": "schedules",
    "clip_grad_norm_": "clipping",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(no_attribute("module 'minigrad.optim'", name))
    return getattr(import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
