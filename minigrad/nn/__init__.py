"""Layers, and the Modules that hold them."""

from . import init
from .batch_norm import BatchNorm
from .conventions import CONVENTIONS
from .layers import Dropout, Flatten, Linear, ReLU, Sigmoid, Tanh
from .micro_batches import micro_batch_backward
from .module import Buffer, Module, Parameter, Sequential
from .population import population_statistics
from .statistics import hold_statistics, merging_statistics
from .variants import (
    BatchRenorm,
    DebiasedBatchNorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    RecurrentBatchNorm,
)

__all__ = [
    "CONVENTIONS",
    "BatchNorm",
    "BatchRenorm",
    "Buffer",
    "DebiasedBatchNorm",
    "Dropout",
    "Flatten",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "RecurrentBatchNorm",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "hold_statistics",
    "init",
    "merging_statistics",
    "micro_batch_backward",
    "population_statistics",
]
