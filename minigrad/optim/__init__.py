"""Optimizers, and schedules of their learning rates."""

from .optimizers import SGD, Adam, Optimizer
from .schedules import ExponentialLR, StepLR

__all__ = ["SGD", "Adam", "ExponentialLR", "Optimizer", "StepLR"]
