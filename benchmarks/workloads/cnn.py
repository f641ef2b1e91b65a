"""One training step of a small convolutional network, eager.

Batches of 64 images 1x28x28: a convolution 3x3 to 16 channels, batch norm, sigmoid; one 3x3 with stride 2 to 32,
batch norm, sigmoid; a linear layer to 10 classes. No padding, softmax cross-entropy, plain SGD, float32. Arrays of
millions of numbers make it a test of convolutions and of how often memory is passed over.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ..agreement import Peer
from ..harness import Workload
from .training import (
    EPS,
    MOMENTUM,
    Inputs,
    jax_batch_norm,
    makers,
    random_inputs,
    train_jax,
    train_minigrad,
    train_tensorflow,
    train_torch,
)

BATCH, FLAT = 64, 32 * 12 * 12


def build(batch: int = BATCH, batches: int = 20, mean: float = 0.0) -> Inputs:
    shapes = [(16, 1, 3, 3), (32, 16, 3, 3), (10, FLAT)]
    return random_inputs(shapes, (batch, 1, 28, 28), batches, mean)


def with_minigrad(inputs: Inputs, captured: bool = False, train: Any = train_minigrad) -> Any:
    nn = mg.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, bias=False),
        nn.BatchNorm(16, momentum=MOMENTUM, eps=EPS),
        nn.Sigmoid(),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm(32, momentum=MOMENTUM, eps=EPS),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(FLAT, 10),
    )
    return train(model, inputs, captured)


def with_torch(inputs: Inputs, train: Any = train_torch, **how: bool) -> Any:
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, bias=False),
        nn.BatchNorm2d(16, momentum=1 - MOMENTUM, eps=EPS),
        nn.Sigmoid(),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm2d(32, momentum=1 - MOMENTUM, eps=EPS),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(FLAT, 10),
    )
    return train(model, inputs, **how)


def with_jax(inputs: Inputs) -> Peer:
    import jax

    def apply(layers: Any, x: Any) -> Any:
        *hidden, (weight, bias) = layers
        statistics = []
        for stride, (w, gamma, beta) in enumerate(hidden, start=1):
            x = jax.lax.conv(x, w, (stride, stride), "VALID")
            x, found = jax_batch_norm(x, gamma, beta, (0, 2, 3))
            x = jax.nn.sigmoid(x)
            statistics.append(found)
        return x.reshape(-1, FLAT) @ weight.T + bias, statistics

    return train_jax(apply, (16, 32), inputs)


def with_tensorflow(inputs: Inputs) -> Peer:
    """Channels last, as TensorFlow's kernels have them; weights and data are handed over in that order."""
    import tensorflow as tf

    first, second, last = inputs.weights
    last = last.reshape(-1, 32, 12, 12).transpose(0, 2, 3, 1).reshape(last.shape)
    weights = [first.transpose(2, 3, 1, 0), second.transpose(2, 3, 1, 0), last.T]
    batches = [(x.transpose(0, 2, 3, 1), labels) for x, labels in inputs.batches]

    def apply(layers: Any, x: Any) -> Any:
        *hidden, (weight, bias) = layers
        statistics = []
        for stride, (w, gamma, beta) in enumerate(hidden, start=1):
            x = tf.nn.conv2d(x, w, stride, "VALID")
            x, mean, var = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=EPS)
            x = tf.sigmoid(x)
            statistics.append((mean, var))
        return tf.reshape(x, (-1, FLAT)) @ weight + bias, statistics

    def back(gradient: Any) -> Any:
        if gradient.ndim == 4:
            return gradient.transpose(3, 2, 0, 1)
        if len(gradient) == FLAT:
            return gradient.T.reshape(-1, 12, 12, 32).transpose(0, 3, 1, 2).reshape(-1, FLAT)
        return gradient

    return train_tensorflow(apply, (16, 32), Inputs(weights, batches), back)


CNN = Workload(
    name="cnn",
    about=f"one training step, batch {BATCH} of 1x28x28, conv 3x3x16, batch norm, sigmoid, conv 3x3x32 with stride 2, "
    "batch norm, sigmoid, linear to 10, softmax cross-entropy, plain SGD, eager",
    build=build,
    makers=makers(with_minigrad, with_torch, with_jax, with_tensorflow),
    check_steps=5,
    tolerance=1e-3,
    block=10,
)
