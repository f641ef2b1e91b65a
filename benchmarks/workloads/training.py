"""What the training workloads share: the inputs, and the step of each peer around its own model.

It is fair because every peer is written as its users would write it, with its own defaults for all that does not
change the numbers, and starts from the same weights and reads the same batches, made into its tensors beforehand.
Losses, gradients, and running statistics must agree over the first steps. Two things differ in name only: the eps of
a batch norm is 1e-3 here and 1e-5 in PyTorch unless told, and PyTorch's momentum is one minus ours.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

from ..agreement import OURS, Arrays, Peer

LR, EPS, MOMENTUM = 0.1, 1e-3, 0.99
CLASSES = 10


class Inputs(NamedTuple):
    """Initial weights of the layers that have one beside batch norms, and batches (x, labels)."""

    weights: list[np.ndarray]
    batches: list[tuple[np.ndarray, np.ndarray]]


Maker = Callable[[Inputs], Peer]


def random_inputs(
    weights: Iterable[tuple[int, ...]], x: tuple[int, ...], batches: int = 20, mean: float = 0.0
) -> Inputs:
    """Gaussian weights of deviation 0.1, and normal batches around ``mean`` with random labels."""
    rng = np.random.default_rng(0)
    return Inputs(
        [(0.1 * rng.standard_normal(shape)).astype(np.float32) for shape in weights],
        [
            (rng.standard_normal(x).astype(np.float32) + mean, rng.integers(CLASSES, size=x[0]))
            for _ in range(batches)
        ],
    )


def makers(
    ours: Maker, torch: Callable[..., Peer], jax: Maker, tensorflow: Maker
) -> dict[str, Maker]:
    """Peers by name; PyTorch's both eager and compiled."""
    return {
        OURS: ours,
        "torch": torch,
        "torch.compile": partial(torch, compiled=True),
        "jax": jax,
        "tensorflow": tensorflow,
    }


def train_minigrad(model: mg.nn.Sequential, inputs: Inputs, captured: bool = False) -> Peer:
    return fit_minigrad(loaded(model, inputs), inputs, captured)


def loaded(model: mg.nn.Sequential, inputs: Inputs) -> mg.nn.Sequential:
    """The model with the weights of the inputs."""
    weighted = [layer for layer in model if isinstance(layer, (mg.nn.Linear, mg.nn.Conv2d))]
    for layer, weight in zip(weighted, inputs.weights, strict=True):
        layer.weight.data = mg.tensor(weight).data
    return model


def fit_minigrad(
    model: mg.nn.Module,
    inputs: Inputs,
    captured: bool = False,
    lr: float = LR,
    momentum: float = 0.0,
) -> Peer:
    """Training steps from the weights that the model has."""
    norms = [layer for layer in model.modules() if isinstance(layer, mg.nn.BatchNorm)]
    optimizer = mg.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    data = cycle([(mg.tensor(x), mg.tensor(labels)) for x, labels in inputs.batches])
    loss = mg.zeros(())

    def train(x: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    run = mg.jit(train) if captured else train

    def step() -> None:
        nonlocal loss
        loss = run(*next(data))

    def numbers() -> Arrays:
        gradients = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
        statistics = [t.numpy() for norm in norms for t in (norm.running_mean, norm.running_var)]
        return named(loss.numpy(), gradients, statistics)

    return Peer(step, numbers)


def train_torch(model: Any, inputs: Inputs, **how: bool) -> Peer:
    return fit_torch(loaded_torch(model, inputs), inputs, **how)


def loaded_torch(model: Any, inputs: Inputs) -> Any:
    """The model with the weights of the inputs."""
    import torch
    from torch import nn

    weighted = [layer for layer in model if isinstance(layer, (nn.Linear, nn.Conv2d))]
    with torch.no_grad():
        for layer, weight in zip(weighted, inputs.weights, strict=True):
            layer.weight.copy_(torch.tensor(weight))
        weighted[-1].bias.zero_()
    return model


def recorded(work: Callable[..., Any], *examples: Any) -> Callable[..., Any]:
    """``work`` on PyTorch's tensors, recorded as a CUDA graph after three runs of it.

    Arguments are copied into those that it was recorded with; results always lie in the same memory.
    """
    import torch

    held = [t.clone() for t in examples]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work(*held)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    gc.collect()  # what is freed while a stream is captured can break it off
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = work(*held)

    def replay(*given: Any) -> Any:
        for there, t in zip(held, given, strict=True):
            there.copy_(t)
        graph.replay()
        return results

    return replay


def fit_torch(
    model: Any,
    inputs: Inputs,
    compiled: bool = False,
    channels_last: bool = False,
    graph: bool = False,
    lr: float = LR,
    momentum: float = 0.0,
) -> Peer:
    import torch
    from torch import nn

    norms: Any = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    layout = torch.channels_last if channels_last else torch.preserve_format
    model = model.to(memory_format=layout)
    run = torch.compile(model) if compiled else model
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    batches = [
        (torch.tensor(x).to(memory_format=layout), torch.tensor(t)) for x, t in inputs.batches
    ]
    data, loss = cycle(batches), torch.zeros(())

    def train(x: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(run(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    run_step: Any = train
    if graph:
        before = {name: t.clone() for name, t in model.state_dict().items()}
        run_step = recorded(train, *batches[0])
        model.load_state_dict(before)
        for state in optimizer.state.values():
            for t in filter(torch.is_tensor, state.values()):
                t.zero_()  # zero momentum is the same as none before the first step

    def step() -> None:
        nonlocal loss
        loss = run_step(*next(data))

    def numbers() -> Arrays:
        gradients = [p.grad.numpy(force=True) for p in model.parameters() if p.grad is not None]
        running = [t for norm in norms for t in (norm.running_mean, norm.running_var)]
        return named(loss.numpy(force=True), gradients, [t.numpy(force=True) for t in running])

    return Peer(step, numbers)


def train_jax(apply: Any, channels: Iterable[int], inputs: Inputs) -> Peer:
    """``apply(weights, norms, x)`` gives logits and the batch norms' (mean, var); as one jitted step."""
    import jax
    from jax import numpy as jnp

    *weights, last = map(jnp.asarray, inputs.weights)
    parameters: Any = [
        [w, jnp.ones(n), jnp.zeros(n)] for w, n in zip(weights, channels, strict=True)
    ]
    parameters.append([last, jnp.zeros(CLASSES)])
    running = [(jnp.zeros(n), jnp.ones(n)) for n in channels]
    data = cycle([(jnp.asarray(x), jnp.asarray(labels)) for x, labels in inputs.batches])

    def loss_of(parameters: Any, x: Any, labels: Any) -> Any:
        logits, statistics = apply(parameters, x)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -chosen.mean(), statistics

    @jax.jit
    def train(parameters: Any, running: Any, x: Any, labels: Any) -> Any:
        compute = jax.value_and_grad(loss_of, has_aux=True)
        (loss, statistics), gradients = compute(parameters, x, labels)
        running = [
            tuple(MOMENTUM * r + (1 - MOMENTUM) * b for r, b in zip(old, new, strict=True))
            for old, new in zip(running, statistics, strict=True)
        ]
        parameters = jax.tree.map(lambda p, g: p - LR * g, parameters, gradients)
        return parameters, running, loss, gradients

    seen: Any = None

    def step() -> None:
        nonlocal parameters, running, seen
        parameters, running, *seen = train(parameters, running, *next(data))
        seen[0].block_until_ready()

    def numbers() -> Arrays:
        loss, gradients = seen
        flat = [np.asarray(g) for layer in gradients for g in layer]
        return named(np.asarray(loss), flat, [np.asarray(s) for pair in running for s in pair])

    return Peer(step, numbers)


def train_tensorflow(
    apply: Any, channels: Iterable[int], inputs: Inputs, back: Any = lambda gradient: gradient
) -> Peer:
    """``apply`` as for JAX, as one ``tf.function``; ``back`` takes gradients to the axes that the others have."""
    import tensorflow as tf

    *weights, last = map(tf.Variable, inputs.weights)
    parameters: Any = [
        [w, tf.Variable(tf.ones(n)), tf.Variable(tf.zeros(n))]
        for w, n in zip(weights, channels, strict=True)
    ]
    parameters.append([last, tf.Variable(tf.zeros(CLASSES))])
    running = [(tf.Variable(tf.zeros(n)), tf.Variable(tf.ones(n))) for n in channels]
    data = cycle([(tf.constant(x), tf.constant(labels)) for x, labels in inputs.batches])

    @tf.function
    def train(x: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits, statistics = apply(parameters, x)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        flat = [p for layer in parameters for p in layer]
        gradients = tape.gradient(loss, flat)
        for old, new in zip(running, statistics, strict=True):
            for r, b in zip(old, new, strict=True):
                r.assign(MOMENTUM * r + (1 - MOMENTUM) * b)
        for p, g in zip(flat, gradients, strict=True):
            p.assign_sub(LR * g)
        return loss, gradients

    seen: Any = None

    def step() -> None:
        nonlocal seen
        seen = train(*next(data))

    def numbers() -> Arrays:
        loss, gradients = seen
        flat = [back(g.numpy()) for g in gradients]
        return named(loss.numpy(), flat, [s.numpy() for pair in running for s in pair])

    return Peer(step, numbers)


def jax_batch_norm(x: Any, gamma: Any, beta: Any, axes: tuple[int, ...]) -> Any:
    """The output, and what moves the running statistics: the mean and the unbiased variance."""
    from jax import lax

    wide = [1 if i in axes else n for i, n in enumerate(x.shape)]
    m = x.size // gamma.size
    mean = x.mean(axes)
    var = ((x - mean.reshape(wide)) ** 2).mean(axes)
    scale = gamma * lax.rsqrt(var + EPS)
    y = (x - mean.reshape(wide)) * scale.reshape(wide) + beta.reshape(wide)
    return y, (mean, var * m / (m - 1))


def named(loss: np.ndarray, gradients: Iterable[Any], statistics: Iterable[Any]) -> Arrays:
    """What must agree: gradients in the order of the parameters, running means and variances by turns."""
    return {
        "loss": loss,
        **{f"gradient {i}": g for i, g in enumerate(gradients)},
        **{f"running statistic {i}": s for i, s in enumerate(statistics)},
    }
