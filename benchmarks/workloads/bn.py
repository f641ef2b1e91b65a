"""Batch norm alone, in training, forward and backward for x, gamma and beta; and in inference, forward.

``floor`` moves the memory that must be moved and computes nothing worth mentioning: a copy of x for the forward pass;
for the backward pass x and the output's gradient are read and a gradient for x is written. For PyTorch, NHWC is NCHW in
its channels-last memory format.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

from ..agreement import FLOOR, OURS, Arrays, Peer
from ..harness import Workload
from . import training
from .training import EPS


class Inputs(NamedTuple):
    """Values and output gradients of one shape, channels at ``axis``; gamma, beta, mean, var."""

    axis: int
    x: np.ndarray
    gy: np.ndarray
    channels: np.ndarray
    #: what peers compute with; x and gy have its values, in float32
    dtype: str


def build(shape: tuple[int, ...], axis: int, dtype: str = "float32") -> Inputs:
    rng = np.random.default_rng(0)
    x, gy = rng.standard_normal((2, *shape), np.float32)
    x, gy = (
        mg.tensor(a, backend="numpy").astype(dtype).astype("float32").numpy()
        for a in (3 * x + 2, gy)
    )
    return Inputs(axis, x, gy, 0.5 + rng.random((4, shape[axis]), np.float32), dtype)


def remembered(step: Callable[[], Any], convert: Callable[[Any], Any]) -> Peer:
    """A peer whose numbers are the arrays that its step returns."""
    found: list[Any] = []

    def run() -> None:
        found.clear()  # so that its memory can be used again
        found[:] = step()

    def numbers() -> Arrays:
        return {str(i): convert(array) for i, array in enumerate(found)}

    return Peer(run, numbers)


def train_minigrad(inputs: Inputs, captured: bool = False) -> Peer:
    x, gy = (mg.tensor(a).astype(inputs.dtype) for a in (inputs.x, inputs.gy))
    x, gamma, beta = map(mg.nn.Parameter, (x, *inputs.channels[:2]))
    gy, axis = mg.nn.Buffer(gy), inputs.axis

    def train() -> Any:
        y, _, _ = mg.batch_norm(x, gamma, beta, axis=axis, eps=EPS)
        # A result with a tape would prevent the replay.
        return [y.detach(), *mg.grad(y, [x, gamma, beta], gy)]

    return remembered(mg.jit(train) if captured else train, lambda t: t.astype("float32").numpy())


def infer_minigrad(inputs: Inputs) -> Peer:
    x, *channels = map(mg.tensor, (inputs.x, *inputs.channels))

    def step() -> Any:
        with mg.no_grad():
            return [mg.frozen_batch_norm(x, *channels, axis=inputs.axis, eps=EPS)]

    return remembered(step, lambda t: t.numpy())


def _torch_images(inputs: Inputs, array: np.ndarray) -> Any:
    import torch

    return torch.tensor(array).to(getattr(torch, inputs.dtype)).movedim(inputs.axis, 1)


def _from_torch(inputs: Inputs, t: Any) -> np.ndarray:
    array = t.float().numpy(force=True)
    return np.moveaxis(array, 1, inputs.axis) if array.ndim > 1 else array


def train_torch(inputs: Inputs, compiled: bool = False, graph: bool = False) -> Peer:
    import torch
    from torch.nn.functional import batch_norm

    x, gy = (_torch_images(inputs, a) for a in (inputs.x, inputs.gy))
    gamma, beta = (torch.tensor(a, requires_grad=True) for a in inputs.channels[:2])
    x.requires_grad_()
    run: Any = batch_norm
    if compiled:
        torch.compiler.reset()  # or other shapes would count, and run eagerly after the eighth
        run = torch.compile(batch_norm, dynamic=False)

    def step() -> Any:
        y = run(x, None, None, gamma, beta, training=True, eps=EPS)
        return [y, *torch.autograd.grad(y, [x, gamma, beta], gy)]

    return remembered(training.recorded(step) if graph else step, partial(_from_torch, inputs))


def infer_torch(inputs: Inputs) -> Peer:
    import torch
    from torch.nn import functional

    x = _torch_images(inputs, inputs.x)
    gamma, beta, mean, var = map(torch.tensor, inputs.channels)

    def step() -> Any:
        with torch.inference_mode():
            return [functional.batch_norm(x, mean, var, gamma, beta, eps=EPS)]

    return remembered(step, partial(_from_torch, inputs))


def train_jax(inputs: Inputs) -> Peer:
    import jax
    from jax import numpy as jnp

    axes = tuple(i for i in range(inputs.x.ndim) if i != inputs.axis)
    x, gy, gamma, beta = map(jnp.asarray, (inputs.x, inputs.gy, *inputs.channels[:2]))

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        mean = x.mean(axes, keepdims=True)
        var = ((x - mean) ** 2).mean(axes, keepdims=True)
        gamma, beta = (a.reshape(mean.shape) for a in (gamma, beta))
        return (x - mean) * (gamma * jax.lax.rsqrt(var + EPS)) + beta

    @jax.jit
    def train(x: Any, gamma: Any, beta: Any, gy: Any) -> Any:
        y, backward = jax.vjp(forward, x, gamma, beta)
        return [y, *backward(gy)]

    return remembered(lambda: jax.block_until_ready(train(x, gamma, beta, gy)), np.asarray)


def train_tensorflow(inputs: Inputs) -> Peer:
    """Its fused kernel, which on the CPU takes channels last only."""
    import tensorflow as tf

    x, gy, gamma, beta = map(tf.constant, (inputs.x, inputs.gy, *inputs.channels[:2]))

    @tf.function
    def train(x: Any, gamma: Any, beta: Any, gy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y, _, _ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=EPS)
        return [y, *tape.gradient(y, [x, gamma, beta], gy)]

    return remembered(lambda: train(x, gamma, beta, gy), lambda t: t.numpy())


def train_floor(inputs: Inputs) -> Peer:
    y, gx = np.empty_like(inputs.x), np.empty_like(inputs.x)

    def step() -> None:
        np.copyto(y, inputs.x)
        np.add(inputs.x, inputs.gy, out=gx)

    return Peer(step, dict)


def infer_floor(inputs: Inputs) -> Peer:
    y = np.empty_like(inputs.x)
    return Peer(lambda: np.copyto(y, inputs.x), dict)


def in_training(
    name: str, shape: tuple[int, ...], axis: int, block: int, dtype: str = "float32"
) -> Workload:
    sizes = "x".join(map(str, shape))
    return Workload(
        name=f"bn-{name}",
        about=f"batch norm in training, {sizes}, {dtype}, channels at axis {axis}, forward and backward",
        build=lambda: build(shape, axis, dtype),
        makers={
            OURS: train_minigrad,
            FLOOR: train_floor,
            "torch": train_torch,
            "jax": train_jax,
            **({"tensorflow": train_tensorflow} if axis == len(shape) - 1 == 3 else {}),
        },
        check_steps=1,
        tolerance=1e-3,
        block=block,
    )


BN = (
    in_training("nchw", (64, 64, 32, 32), 1, block=10),
    in_training("nhwc", (64, 32, 32, 64), 3, block=10),
    in_training("nc", (256, 1024), 1, block=100),
    Workload(
        name="bn-eval",
        about="batch norm in inference, 64x64x32x32, channels at axis 1, forward",
        build=lambda: build((64, 64, 32, 32), 1),
        makers={OURS: infer_minigrad, FLOOR: infer_floor, "torch": infer_torch},
        check_steps=1,
        tolerance=1e-4,
        block=20,
    ),
)
