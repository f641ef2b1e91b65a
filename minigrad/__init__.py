"""minigrad: automatic differentiation in which batch normalization is a first-class op."""

from . import data, interop, layers, nn, optim, study
from .autograd import grad
from .backend import set_backend
from .checkpoint import load, save
from .creation import arange, full, ones, zeros
from .ops.activation import log_softmax, relu, sigmoid, softmax
from .ops.arithmetic import maximum, minimum, where
from .ops.batch_norm import batch_norm, frozen_batch_norm
from .ops.elementwise import abs_ as abs
from .ops.elementwise import clip, exp, log, sqrt, tanh
from .ops.linear import linear
from .ops.loss import mse_loss, softmax_cross_entropy
from .ops.matmul import matmul
from .ops.moments import Moments, merge_moments, moments, weighted_batch_norm
from .ops.random import dropout, manual_seed
from .ops.reduction import argmax, max, mean, min, sum, var
from .ops.shape import broadcast_to, concatenate, pad, reshape, stack, transpose
from .study import gradcheck
from .tape import no_grad
from .tensor import Tensor, tensor

__all__ = [
    "Moments",
    "Tensor",
    "abs",
    "arange",
    "argmax",
    "batch_norm",
    "broadcast_to",
    "clip",
    "concatenate",
    "data",
    "dropout",
    "exp",
    "frozen_batch_norm",
    "full",
    "grad",
    "gradcheck",
    "interop",
    "layers",
    "linear",
    "load",
    "log",
    "log_softmax",
    "manual_seed",
    "matmul",
    "max",
    "maximum",
    "mean",
    "merge_moments",
    "min",
    "minimum",
    "moments",
    "mse_loss",
    "nn",
    "no_grad",
    "ones",
    "optim",
    "pad",
    "relu",
    "reshape",
    "save",
    "set_backend",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "sqrt",
    "stack",
    "study",
    "sum",
    "tanh",
    "tensor",
    "transpose",
    "var",
    "weighted_batch_norm",
    "where",
    "zeros",
]
