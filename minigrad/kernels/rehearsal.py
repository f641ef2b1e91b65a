"""The end of a training step without its data: in a second process, it compiles what the first one needs later.

It goes backwards, from the update on, while the first process compiles the step forwards; they meet in the middle.
"""

from __future__ import annotations

import numpy as np

from .convolution import Window
from .numba import NumbaKernels


def rehearse() -> None:
    """Call the kernels of an MLP's and of a CNN's step in float32 on very small arrays, the last of a step first."""
    kernels = NumbaKernels(np)
    x, (mean, var, gamma) = np.ones((8, 8), np.float32), np.ones((3, 8), np.float32)
    labels, batches, gloss = np.zeros(8, np.int64), np.zeros((), np.int64), np.ones((), np.float32)
    images, weight = np.ones((8, 8, 4, 4), np.float32), np.ones((8, 8, 3, 3), np.float32)
    window = Window((3, 3), (2, 2), ((1, 1), (1, 1)))

    kernels.sgd((mean,), (var,), lr=0.1, momentum=0, nesterov=False, weight_decay=0)
    kernels.batch_norm_grad(x, gamma, mean, var, x, (1,), 0)
    kernels.sum(x, (0,), keepdims=False)
    kernels.sigmoid_grad(x, x)
    kernels.softmax_cross_entropy_grad(x, labels, gloss, 1.0)
    kernels.softmax_cross_entropy(x, labels, 1.0)
    kernels.move_statistics(mean, var, batches, mean, var, 0.9, 1.0, debiased=False, strict=True)
    kernels.conv2d_input_grad(images[:, :, :2, :2], weight, window, (4, 4))
    kernels.frozen_batch_norm(x, gamma, gamma, mean, var, (1,), 1e-3)
    kernels.relu_grad(x, x)
    kernels.conv2d(images, weight, None, window)
    kernels.relu(x)
