"""Layers, and the Modules that hold them."""

from . import init
from .layers import BatchNorm, Dropout, Flatten, Linear, ReLU, Sigmoid, Tanh
from .module import Buffer, Module, Parameter, Sequential

__all__ = [
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
    "init",
]
