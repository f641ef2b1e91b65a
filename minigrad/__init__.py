"""minigrad: automatic differentiation in which batch normalization is a first-class op."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import nn, optim
from .autograd import clone, grad
from .backend import set_backend
from .checkpoint import load, save
from .creation import arange, constant, eye, full, linspace, ones, ones_like, zeros, zeros_like
from .kernels.tf32 import allow_tf32, tf32_allowed
from .kernels.threads import get_num_threads, set_num_threads
from .messages import no_attribute
from .messages import warn_of_namesake as _warn_of_namesake
from .ops import indexing as _indexing  # noqa: F401  for the methods of Tensor there
from .ops.activation import log_softmax, relu, sigmoid, softmax
from .ops.arithmetic import maximum, minimum, where
from .ops.batch_norm import batch_norm, frozen_batch_norm
from .ops.conv import conv1d, conv2d, conv_transpose2d
from .ops.cross_entropy import softmax_cross_entropy
from .ops.elementwise import abs_ as abs
from .ops.elementwise import clip, cos, exp, expm1, log, log1p, sin, sqrt, tanh
from .ops.linear import linear, matmul
from .ops.methods import LATER as _METHODS
from .ops.normalization import group_norm, instance_norm, layer_norm
from .ops.pool import avg_pool2d, global_avg_pool2d, max_pool2d
from .ops.random import dropout, manual_seed
from .ops.reduction import argmax, argmin, max, mean, min, std, sum, var
from .ops.shape import broadcast_to, concatenate, flatten, pad, permute, reshape, stack, transpose
from .tape import no_grad
from .tensor import Tensor, tensor

__version__ = "0.1.0"

_warn_of_namesake()

if TYPE_CHECKING:
    from . import data, distributed, interop, layers, study
    from .bn.moments import Moments, merge_moments, moments, weighted_batch_norm
    from .dlpack import from_dlpack
    from .graph import (
        CaptureError,
        Graph,
        GraphDiff,
        capture,
        detect_anomaly,
        graph_diff,
        graphs,
        jit,
        summary,
    )
    from .onnx.model import from_onnx
    from .ops.accumulation import cumsum, logsumexp, prod
    from .ops.einsum import einsum
    from .ops.losses import binary_cross_entropy_with_logits, mse_loss, one_hot
    from .ops.rearrange import ravel, repeat, split, squeeze, swapaxes, tile, unsqueeze
    from .ops.rectifiers import gelu, leaky_relu, silu, softplus
    from .sampling import rand, randn
    from .study.gradcheck import gradcheck

__all__ = [
    "CaptureError", "Graph", "GraphDiff", "Moments", "Tensor", "abs", "allow_tf32", "arange", "argmax", "argmin",
    "avg_pool2d", "batch_norm", "binary_cross_entropy_with_logits", "broadcast_to", "capture", "clip", "clone",
    "concatenate", "constant", "conv1d", "conv2d", "conv_transpose2d", "cos", "cumsum", "data", "detect_anomaly",
    "distributed", "dropout", "einsum", "exp", "expm1", "eye", "flatten", "from_dlpack", "from_onnx",
    "frozen_batch_norm", "full", "gelu", "get_num_threads", "global_avg_pool2d", "grad", "gradcheck", "graph_diff",
    "graphs", "group_norm", "instance_norm", "interop", "jit", "layer_norm", "layers", "leaky_relu", "linear",
    "linspace", "load", "log", "log1p", "log_softmax", "logsumexp", "manual_seed", "matmul", "max", "max_pool2d",
    "maximum", "mean", "merge_moments", "min", "minimum", "moments", "mse_loss", "nn", "no_grad", "one_hot", "ones",
    "ones_like", "optim", "pad", "permute", "prod", "rand", "randn", "ravel", "relu", "repeat", "reshape", "save",
    "set_backend", "set_num_threads", "sigmoid", "silu", "sin", "softmax", "softmax_cross_entropy", "softplus", "split",
    "sqrt", "squeeze", "stack", "std", "study", "sum", "summary", "swapaxes", "tanh", "tensor", "tf32_allowed", "tile",
    "transpose", "unsqueeze", "var", "weighted_batch_norm", "where", "zeros", "zeros_like",
]  # fmt: skip

#: imported when first asked for: not everybody's need, and a fifth of the time that importing takes
_LATER = {
    name: module
    for module, names in {
        "bn.moments": "Moments merge_moments moments weighted_batch_norm",
        "dlpack": "from_dlpack",
        "graph": "CaptureError Graph GraphDiff capture detect_anomaly graph_diff graphs jit summary",
        "onnx.model": "from_onnx",
        "ops.einsum": "einsum",
        "ops.losses": "binary_cross_entropy_with_logits mse_loss one_hot",
        "ops.rectifiers": "gelu leaky_relu silu softplus",
        "sampling": "rand randn",
        "study": "gradcheck study",
        **{room: room for room in ("data", "distributed", "interop", "layers")},
        **_METHODS,
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(no_attribute("module 'minigrad'", name))
    module = import_module(f".{_LATER[name]}", __name__)
    return module if _LATER[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
