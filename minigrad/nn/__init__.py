"""Layers, and the Modules that hold them."""

from . import init
from .attention import Attention
from .batch_norm import BatchNorm
from .conv import AvgPool2d, Conv1d, Conv2d, ConvTranspose2d, GlobalAvgPool2d, MaxPool2d
from .conventions import CONVENTIONS
from .layers import Dropout, Flatten, Linear, Maxout, ReLU, Sigmoid, Tanh
from .micro_batches import micro_batch_backward
from .module import Buffer, Module, Parameter, Sequential
from .normalization import GroupNorm, InstanceNorm, LayerNorm
from .population import population_statistics
from .recurrent import LSTM, RNN, ConvLSTM
from .statistics import hold_statistics, merging_statistics
from .variants import (
    BatchRenorm,
    DebiasedBatchNorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    RecurrentBatchNorm,
)

__all__ = [
    "Attention",
    "AvgPool2d",
    "BatchNorm",
    "BatchRenorm",
    "Buffer",
    "CONVENTIONS",
    "Conv1d",
    "Conv2d",
    "ConvLSTM",
    "ConvTranspose2d",
    "DebiasedBatchNorm",
    "Dropout",
    "Flatten",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "GlobalAvgPool2d",
    "GroupNorm",
    "InstanceNorm",
    "LSTM",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Maxout",
    "Module",
    "Parameter",
    "RNN",
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
