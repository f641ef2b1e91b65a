"""Activations, and their gradients, by the codes of ``kernels.fused``."""

from __future__ import annotations

from ..fused import CODES
from .elementwise import _relu, _relu_grad, _sigmoid, _sigmoid_grad
from .threads import serial

NOTHING = 0
RELU, SIGMOID = CODES["relu"], CODES["sigmoid"]
RELU_GRAD, SIGMOID_GRAD = CODES["relu_grad"], CODES["sigmoid_grad"]


@serial
def activate(code, x, y):
    if code == RELU:
        _relu(x, y)
    elif code == SIGMOID:
        _sigmoid(x, y)


@serial
def activate_grad(code, y, gy, gx):
    if code == RELU_GRAD:
        _relu_grad(y, gy, gx)
    elif code == SIGMOID_GRAD:
        _sigmoid_grad(y, gy, gx)
