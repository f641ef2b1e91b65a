"""A convolution alone, forward and backward for x and its kernels: 64 channels to 64, 3x3, on 32 images of 32x32.

Nearly all of it is multiplication: a test of the matrix products, and of what is laid out for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

from ..agreement import OURS, Peer
from ..harness import Workload
from .bn import remembered

SHAPE, KERNEL = (32, 64, 32, 32), (64, 64, 3, 3)


class Inputs(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    gy: np.ndarray


def build() -> Inputs:
    rng = np.random.default_rng(0)
    x, gy = rng.standard_normal((2, *SHAPE), np.float32)
    return Inputs(x, 0.05 * rng.standard_normal(KERNEL, np.float32), gy)


def with_minigrad(inputs: Inputs) -> Peer:
    x, weight = (mg.tensor(a, requires_grad=True) for a in inputs[:2])
    gy = mg.tensor(inputs.gy)

    def step() -> Any:
        y = mg.conv2d(x, weight, padding=1)
        return [y, *mg.grad(y, [x, weight], gy)]

    return remembered(step, lambda t: t.numpy())


def with_torch(inputs: Inputs) -> Peer:
    import torch

    x, weight = (torch.from_numpy(a.copy()).requires_grad_() for a in inputs[:2])
    gy = torch.from_numpy(inputs.gy)

    def step() -> Any:
        y = torch.nn.functional.conv2d(x, weight, padding=1)
        return [y, *torch.autograd.grad(y, [x, weight], gy)]

    return remembered(step, lambda t: t.detach().numpy())


def with_jax(inputs: Inputs) -> Peer:
    import jax

    def forward(x: Any, weight: Any) -> Any:
        return jax.lax.conv(x, weight, (1, 1), "SAME")

    @jax.jit
    def step(x: Any, weight: Any, gy: Any) -> Any:
        y, backward = jax.vjp(forward, x, weight)
        return [y, *backward(gy)]

    arrays = [jax.numpy.asarray(a) for a in inputs]
    return remembered(lambda: jax.block_until_ready(step(*arrays)), np.asarray)


def with_tensorflow(inputs: Inputs) -> Peer:
    """Channels last."""
    import tensorflow as tf

    x, gy = (tf.constant(a.transpose(0, 2, 3, 1)) for a in (inputs.x, inputs.gy))
    weight = tf.constant(inputs.weight.transpose(2, 3, 1, 0))

    @tf.function
    def step(x: Any, weight: Any, gy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, weight])
            y = tf.nn.conv2d(x, weight, 1, "SAME")
        return [y, *tape.gradient(y, [x, weight], gy)]

    def back(t: Any) -> Any:
        return t.numpy().transpose((3, 2, 0, 1) if t.shape == weight.shape else (0, 3, 1, 2))

    return remembered(lambda: step(x, weight, gy), back)


CONV = Workload(
    name="conv",
    about="one convolution 64 -> 64, 3x3, on 32 images of 32x32, forward and backward for x and the kernels",
    build=build,
    makers={
        OURS: with_minigrad,
        "torch": with_torch,
        "jax": with_jax,
        "tensorflow": with_tensorflow,
    },
    check_steps=1,
    tolerance=1e-3,
    block=3,
)
