"""Graphs that are replayed: the training steps of ``mlp`` and ``cnn``, captured; and the MLP's inference, folded.

The peers are those of the eager workloads, with eager minigrad among them. Inference is that of the network after some
training steps, so that its statistics are not trivial: captured in eval mode with batch norm folded into the linear
layers, beside PyTorch under ``inference_mode``, ``jax.jit``, and ONNX Runtime on the file that the graph is written to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

from ..agreement import OURS, Arrays, Peer
from ..harness import Workload
from . import cnn, mlp
from .training import EPS, MOMENTUM, Maker

EAGER = "eager"


def training(workload: Workload, ours: Callable[..., Peer]) -> Workload:
    """A training workload with its step captured."""
    peers: dict[str, Maker] = dict(workload.makers)
    captured: dict[str, Maker] = {OURS: partial(ours, captured=True), EAGER: peers.pop(OURS)}
    return replace(
        workload,
        name=f"{workload.name}-captured",
        about=f"{workload.about.removesuffix(', eager')}, captured by minigrad.jit and replayed",
        makers=captured | peers,
    )


class Inference(NamedTuple):
    """A trained network's state, by minigrad's names, and batches."""

    state: dict[str, np.ndarray]
    batches: list[np.ndarray]


def network() -> mg.nn.Sequential:
    layers: list[mg.nn.Module] = []
    for n, m in pairwise(mlp.SIZES[:-1]):
        norm = mg.nn.BatchNorm(m, momentum=MOMENTUM, eps=EPS)
        layers += [mg.nn.Linear(n, m, bias=False), norm, mg.nn.Sigmoid()]
    return mg.nn.Sequential(*layers, mg.nn.Linear(*mlp.SIZES[-2:]))


def build(batch: int) -> Inference:
    mg.manual_seed(0)
    rng, model = np.random.default_rng(0), network()
    for _ in range(20):
        model(mg.tensor(rng.standard_normal((60, mlp.SIZES[0])).astype(np.float32)))
    shape = batch, mlp.SIZES[0]
    batches = [rng.standard_normal(shape).astype(np.float32) for _ in range(20)]
    return Inference(model.state_dict(), batches)


def loaded(inputs: Inference) -> mg.nn.Sequential:
    model = network()
    model.load_state_dict(inputs.state)
    return model.eval()


def peer(run: Callable[[Any], Any], batches: list[Any], numpy: Callable[[Any], Any]) -> Peer:
    """One batch after the other through ``run``."""
    data, seen = cycle(batches), None

    def step() -> None:
        nonlocal seen
        seen = run(next(data))

    def numbers() -> Arrays:
        return {"logits": np.asarray(numpy(seen))}

    return Peer(step, numbers)


def with_minigrad(inputs: Inference, folded: bool) -> Peer:
    model, batches = loaded(inputs), [mg.tensor(x) for x in inputs.batches]
    run: Any = mg.no_grad()(model)
    if folded:
        run = mg.capture(model, batches[0]).fold_batch_norm()
    return peer(run, batches, mg.Tensor.numpy)


def with_torch(inputs: Inference) -> Peer:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for n, m in pairwise(mlp.SIZES[:-1]):
        norm = nn.BatchNorm1d(m, momentum=1 - MOMENTUM, eps=EPS)
        layers += [nn.Linear(n, m, bias=False), norm, nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(*mlp.SIZES[-2:]))
    state = mg.interop.to_torch(loaded(inputs)).items()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state})
    model.eval()

    def run(x: Any) -> Any:
        with torch.inference_mode():
            return model(x)

    return peer(run, [torch.tensor(x) for x in inputs.batches], lambda y: y.numpy())


def with_jax(inputs: Inference) -> Peer:
    import jax
    from jax import numpy as jnp

    state = {name: jnp.asarray(array) for name, array in inputs.state.items()}

    @jax.jit
    def run(x: Any) -> Any:
        for i in range(0, 9, 3):
            scale = state[f"{i + 1}.gamma"] / jnp.sqrt(state[f"{i + 1}.running_var"] + EPS)
            x = x @ state[f"{i}.weight"].T
            x = (x - state[f"{i + 1}.running_mean"]) * scale + state[f"{i + 1}.beta"]
            x = jax.nn.sigmoid(x)
        return x @ state["9.weight"].T + state["9.bias"]

    batches = [jnp.asarray(x) for x in inputs.batches]
    return peer(lambda x: run(x).block_until_ready(), batches, np.asarray)


def with_onnxruntime(inputs: Inference) -> Peer:
    import onnxruntime

    graph = mg.capture(loaded(inputs), mg.tensor(inputs.batches[0])).fold_batch_norm()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlp.onnx")
        graph.to_onnx(path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return peer(lambda x: session.run(None, {source.name: x})[0], inputs.batches, np.asarray)


def inference(batch: int) -> Workload:
    return Workload(
        name=f"eval-{batch}",
        about=f"inference of the network of mlp, batch {batch}, captured, batch norm folded",
        build=partial(build, batch),
        makers={
            OURS: partial(with_minigrad, folded=True),
            EAGER: partial(with_minigrad, folded=False),
            "torch": with_torch,
            "jax": with_jax,
            "onnxruntime": with_onnxruntime,
        },
        check_steps=5,
        tolerance=1e-5,
        block=200,
    )


CAPTURED = (
    training(mlp.MLP, mlp.with_minigrad),
    training(cnn.CNN, cnn.with_minigrad),
    inference(1),
    inference(60),
)
