"""Layers and modules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..messages import no_attribute
from . import init
from .batch_norm import BatchNorm
from .layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from .module import Buffer, Module, Parameter, Sequential

if TYPE_CHECKING:
    from .activation import GELU, Identity, LeakyReLU, SiLU, Softmax, Softplus
    from .containers import ModuleDict, ModuleList
    from .conventions import CONVENTIONS, BatchNorm1d, BatchNorm2d, BatchNorm3d
    from .convolution import Conv1d, ConvTranspose2d
    from .embedding import Embedding
    from .losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
    from .normalization import GroupNorm, InstanceNorm, LayerNorm
    from .recurrent import GRU, LSTM, RNN

__all__ = [
    "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchRenorm", "Buffer",
    "CONVENTIONS", "Conv1d", "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "DebiasedBatchNorm", "Dropout",
    "Embedding", "Flatten", "FrozenBatchNorm", "GELU", "GRU", "GhostBatchNorm", "GlobalAvgPool2d", "GroupNorm",
    "Identity", "InstanceNorm", "LSTM", "LayerNorm", "LeakyReLU", "Linear", "MSELoss", "MaxPool2d", "Module",
    "ModuleDict", "ModuleList", "Parameter", "RNN", "ReLU", "RecurrentBatchNorm", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "Tanh", "hold_statistics", "init", "merging_statistics", "micro_batch_backward",
    "population_statistics",
]  # fmt: skip

#: names imported on first access, and their modules: optional layers, and what ``minigrad.bn`` defines
_LATER = {
    name: module
    for module, names in {
        "nn.activation": "GELU Identity LeakyReLU SiLU Softmax Softplus",
        "nn.containers": "ModuleDict ModuleList",
        "nn.conventions": "CONVENTIONS BatchNorm1d BatchNorm2d BatchNorm3d",
        "nn.convolution": "Conv1d ConvTranspose2d",
        "nn.embedding": "Embedding",
        "nn.losses": "BCEWithLogitsLoss CrossEntropyLoss MSELoss",
        "nn.normalization": "GroupNorm InstanceNorm LayerNorm",
        "nn.recurrent": "GRU LSTM RNN",
        "bn.hooks": "hold_statistics merging_statistics",
        "bn.micro_batches": "micro_batch_backward",
        "bn.population": "population_statistics",
        "bn.variants": "BatchRenorm DebiasedBatchNorm FrozenBatchNorm GhostBatchNorm RecurrentBatchNorm",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(no_attribute("module 'minigrad.nn'", name))
    return getattr(import_module(f"minigrad.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
