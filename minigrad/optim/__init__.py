"""Optimizers, schedules of their learning rates, and clipping of gradients."""

from ..messages import missing
from .clipping import clip_grad_norm_
from .optimizers import SGD, Adam, AdamW, Optimizer
from .rmsprop import RMSprop
from .schedules import CosineAnnealingLR, ExponentialLR, StepLR

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialLR",
    "Optimizer",
    "RMSprop",
    "StepLR",
    "clip_grad_norm_",
]

__getattr__ = missing(__name__)
