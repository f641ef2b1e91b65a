"""Layers, and the Modules that hold them."""

from . import init
from .batch_norm import BatchNorm
from .conventions import CONVENTIONS
from .layers import Dropout, Flatten, Linear, ReLU, Sigmoid, Tanh
from .module import Buffer, Module, Parameter, Sequential
from .statistics import hold_statistics, merging_statistics

__all__ = [
    "CONVENTIONS",
    "BatchNorm",
    "Buffer",
    "Dropout",
    "Flatten",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "hold_statistics",
    "init",
    "merging_statistics",
]
