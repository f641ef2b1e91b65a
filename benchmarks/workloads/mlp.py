"""One training step of the network of Ioffe & Szegedy 2015 (arXiv:1502.03167, section 4.1), eager.

Batches of 60, 784-100-100-100-10, batch norm before each sigmoid (so no bias in the linear layers before it), softmax
cross-entropy, plain SGD, float32: forget the gradients, forward, backward, update. Arrays this small make it a test of
everything around the arithmetic.
"""

from __future__ import annotations

from itertools import pairwise
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

BATCH, SIZES = 60, (784, 100, 100, 100, 10)


def build(batch: int = BATCH, sizes: tuple[int, ...] = SIZES, batches: int = 20) -> Inputs:
    return random_inputs([(n, m) for m, n in pairwise(sizes)], (batch, sizes[0]), batches)


def sizes_of(inputs: Inputs) -> list[int]:
    """Units of the input, the hidden layers and the output."""
    return [inputs.weights[0].shape[1], *(len(weight) for weight in inputs.weights)]


def with_minigrad(inputs: Inputs, captured: bool = False, train: Any = train_minigrad) -> Any:
    sizes = sizes_of(inputs)
    layers: list[mg.nn.Module] = []
    for n, m in pairwise(sizes[:-1]):
        norm = mg.nn.BatchNorm(m, momentum=MOMENTUM, eps=EPS)
        layers += [mg.nn.Linear(n, m, bias=False), norm, mg.nn.Sigmoid()]
    return train(mg.nn.Sequential(*layers, mg.nn.Linear(*sizes[-2:])), inputs, captured)


def with_torch(inputs: Inputs, train: Any = train_torch, **how: bool) -> Any:
    from torch import nn

    sizes = sizes_of(inputs)
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes[:-1]):
        norm = nn.BatchNorm1d(m, momentum=1 - MOMENTUM, eps=EPS)
        layers += [nn.Linear(n, m, bias=False), norm, nn.Sigmoid()]
    return train(nn.Sequential(*layers, nn.Linear(*sizes[-2:])), inputs, **how)


def with_jax(inputs: Inputs) -> Peer:
    import jax

    def apply(layers: Any, x: Any) -> Any:
        *hidden, (weight, bias) = layers
        statistics = []
        for w, gamma, beta in hidden:
            x, found = jax_batch_norm(x @ w.T, gamma, beta, (0,))
            x = jax.nn.sigmoid(x)
            statistics.append(found)
        return x @ weight.T + bias, statistics

    return train_jax(apply, sizes_of(inputs)[1:-1], inputs)


def with_tensorflow(inputs: Inputs) -> Peer:
    import tensorflow as tf

    m = len(inputs.batches[0][0])

    def apply(layers: Any, x: Any) -> Any:
        *hidden, (weight, bias) = layers
        statistics = []
        for w, gamma, beta in hidden:
            x = tf.matmul(x, w, transpose_b=True)
            mean, var = tf.nn.moments(x, 0)
            x = tf.sigmoid(tf.nn.batch_normalization(x, mean, var, beta, gamma, EPS))
            statistics.append((mean, var * (m / (m - 1))))
        return tf.matmul(x, weight, transpose_b=True) + bias, statistics

    return train_tensorflow(apply, sizes_of(inputs)[1:-1], inputs)


MLP = Workload(
    name="mlp",
    about=f"one training step, batch {BATCH}, {'-'.join(map(str, SIZES))}, batch norm before each sigmoid, "
    "softmax cross-entropy, plain SGD (arXiv:1502.03167, section 4.1), eager",
    build=build,
    makers=makers(with_minigrad, with_torch, with_jax, with_tensorflow),
    check_steps=20,
    tolerance=1e-4,
    block=50,
)
