"""Launching the elementwise kernels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..generic import Kernels
from ..halves import half
from . import THREADS, TYPES, Kernel, LaunchedKernels, lying, put_back

Array = Any

ACTIVATION = Kernel("elementwise.cu", "activation")
ACTIVATION_GRADIENT = Kernel("elementwise.cu", "activation_gradient")
ADD_BIAS = Kernel("elementwise.cu", "add_bias")
DROPOUT_MASK = Kernel("random.cu", "dropout_mask")

ACTIVATIONS = {"sigmoid": "Sigmoid", "relu": "Relu"}


class ElementwiseKernels(LaunchedKernels):
    """Activations, biases and dropout."""

    def sigmoid(self, x: Array) -> Array:
        return self._elementwise(ACTIVATION, "sigmoid", x)

    def sigmoid_grad(self, y: Array, gy: Array) -> Array:
        return self._elementwise(ACTIVATION_GRADIENT, "sigmoid", y, gy)

    def relu(self, x: Array) -> Array:
        return self._elementwise(ACTIVATION, "relu", x)

    def relu_grad(self, x: Array, gy: Array) -> Array:
        return self._elementwise(ACTIVATION_GRADIENT, "relu", x, gy)

    def linear(self, x: Array, weight: Array, bias: Array | None) -> Array:
        if bias is not None and half(x.dtype):
            y, bias = Kernels.linear(self, x, weight, bias), None
        else:
            y = self.matmul(x, weight.T)
        if bias is not None:
            self.add_bias(y, bias)
        return y

    def add_bias(self, y: Array, bias: Array) -> None:
        """y += bias, for y (..., width) without gaps."""
        if not y.size:
            return
        width = y.shape[-1]
        rows, bias = y.size // width, self.given(bias)
        vector = self.vector(width, y, bias)
        wanted = -(-width // vector)
        lanes = min(1 << (wanted - 1).bit_length(), THREADS)
        columns = -(-wanted // lanes)
        grid = columns, min(self.blocks(rows * lanes, columns), 65535)
        self.launch(ADD_BIAS, (TYPES[y.dtype.name], vector), grid, (y, bias, rows, width, lanes))

    def dropout_mask(self, x: Array, p: float, seed: int | Array) -> Array:
        """``seed`` may also be an array of one number, which is read when the kernel runs."""
        y = self.xp.empty(x.shape, x.dtype)
        kept = float(np.ones((), x.dtype) / (1 - p))
        parameters = TYPES[y.dtype.name], "Index" if isinstance(seed, int) else "const Index*"
        self.each(DROPOUT_MASK, parameters, y.size, 8, y, y.size, float(p), kept, seed)
        return y

    def concatenate(self, parts: Sequence[Array], axis: int) -> Array:
        """Part by part: CuPy's function would send the device their addresses."""
        ends = list(accumulate(part.shape[axis] for part in parts))
        shape = list(parts[0].shape)
        shape[axis] = ends[-1]
        y = self.xp.empty(shape, np.result_type(*[part.dtype for part in parts]))
        for part, end in zip(parts, ends, strict=True):
            there = slice(end - part.shape[axis], end)
            y.swapaxes(0, axis)[there] = part.swapaxes(0, axis)
        return y

    def _elementwise(self, kernel: Kernel, activation: str, *arrays: Array) -> Array:
        x = arrays[0]
        order = lying(x.strides)
        taken = [self.given(a.transpose(order)) for a in arrays]
        y = self.xp.empty(taken[0].shape, x.dtype)
        vector = self.vector(0, *taken, y)
        parameters = TYPES[x.dtype.name], vector, ACTIVATIONS[activation]
        self.each(kernel, parameters, y.size, vector, *taken, y, y.size)
        return put_back(y, order)
