"""Layers, and the Modules that hold them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import init
from .batch_norm import BatchNorm
from .conventions import CONVENTIONS
from .layers import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    Maxout,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from .module import Buffer, Module, Parameter, Sequential
from .normalization import GroupNorm, InstanceNorm, LayerNorm

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

#: public names from optional modules and the room above, imported when first asked for
_LATER = {
    "Attention": "nn.attention",
    "BatchRenorm": "bn.variants",
    "ConvLSTM": "nn.recurrent",
    "DebiasedBatchNorm": "bn.variants",
    "FrozenBatchNorm": "bn.variants",
    "GhostBatchNorm": "bn.variants",
    "LSTM": "nn.recurrent",
    "RNN": "nn.recurrent",
    "RecurrentBatchNorm": "bn.variants",
    "hold_statistics": "bn.hooks",
    "merging_statistics": "bn.hooks",
    "micro_batch_backward": "bn.micro_batches",
    "population_statistics": "bn.population",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'minigrad.nn' has no attribute {name!r}")
    return getattr(import_module(f"minigrad.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
