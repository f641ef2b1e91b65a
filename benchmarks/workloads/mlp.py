"""One training step of the network of Ioffe & Szegedy 2015 (arXiv:1502.03167, section 4.1), eager.

Batches of 60, 784-100-100-100-10, batch norm before each sigmoid (so no bias in the linear layers before it), softmax
cross-entropy, plain SGD, float32: forget the gradients, forward, backward, update. Arrays this small make it a test of
everything around the arithmetic.

It is fair because every peer is written as its users would write it, with its own defaults for all that does not
change the numbers, and starts from the same weights and reads the same batches, made into its tensors beforehand.
Losses, gradients, and running statistics must agree over the first 20 steps. Two things differ in name only: the eps of
a batch norm is 1e-3 here and 1e-5 in PyTorch unless told, and PyTorch's momentum is one minus ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle, pairwise
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

from ..agreement import OURS, Arrays, Peer
from ..harness import Workload

BATCH, SIZES = 60, (784, 100, 100, 100, 10)
LR, EPS, MOMENTUM = 0.1, 1e-3, 0.99


class Inputs(NamedTuple):
    """Initial weights (out, in) of the linear layers, and batches (x, labels)."""

    weights: list[np.ndarray]
    batches: list[tuple[np.ndarray, np.ndarray]]


def build(batches: int = 20) -> Inputs:
    rng = np.random.default_rng(0)
    shapes = [(n, m) for m, n in pairwise(SIZES)]
    return Inputs(
        [(0.1 * rng.standard_normal(shape)).astype(np.float32) for shape in shapes],
        [
            (
                rng.standard_normal((BATCH, SIZES[0])).astype(np.float32),
                rng.integers(SIZES[-1], size=BATCH),
            )
            for _ in range(batches)
        ],
    )


def with_minigrad(inputs: Inputs) -> Peer:
    layers: list[mg.nn.Module] = []
    for n, m in pairwise(SIZES[:-1]):
        norm = mg.nn.BatchNorm(m, momentum=MOMENTUM, epsilon=EPS)
        layers += [mg.nn.Linear(n, m, bias=False), norm, mg.nn.Sigmoid()]
    model = mg.nn.Sequential(*layers, mg.nn.Linear(*SIZES[-2:]))
    linears = [layer for layer in model if isinstance(layer, mg.nn.Linear)]
    norms = [layer for layer in model if isinstance(layer, mg.nn.BatchNorm)]
    for layer, weight in zip(linears, inputs.weights, strict=True):
        layer.weight.data = weight
    optimizer = mg.optim.SGD(model.parameters(), lr=LR)
    data = cycle([(mg.tensor(x), mg.tensor(labels)) for x, labels in inputs.batches])
    loss = mg.zeros(())

    def step() -> None:
        nonlocal loss
        x, labels = next(data)
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()

    def numbers() -> Arrays:
        gradients = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
        statistics = [t.numpy() for norm in norms for t in (norm.running_mean, norm.running_var)]
        return named(loss.numpy(), gradients, statistics)

    return Peer(step, numbers)


def with_torch(inputs: Inputs) -> Peer:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for n, m in pairwise(SIZES[:-1]):
        norm = nn.BatchNorm1d(m, momentum=1 - MOMENTUM, eps=EPS)
        layers += [nn.Linear(n, m, bias=False), norm, nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(*SIZES[-2:]))
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    norms: Any = [layer for layer in model if isinstance(layer, nn.BatchNorm1d)]
    with torch.no_grad():
        for layer, weight in zip(linears, inputs.weights, strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
        linears[-1].bias.zero_()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    data = cycle([(torch.tensor(x), torch.tensor(labels)) for x, labels in inputs.batches])
    loss = torch.zeros(())

    def step() -> None:
        nonlocal loss
        x, labels = next(data)
        optimizer.zero_grad()
        loss = criterion(model(x), labels)
        loss.backward()
        optimizer.step()

    def numbers() -> Arrays:
        gradients = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
        statistics = [t.numpy() for norm in norms for t in (norm.running_mean, norm.running_var)]
        return named(loss.detach().numpy(), gradients, statistics)

    return Peer(step, numbers)


def named(loss: np.ndarray, gradients: Iterable[Any], statistics: Iterable[Any]) -> Arrays:
    """What must agree: gradients in the order of the parameters, running means and variances by turns."""
    return {
        "loss": loss,
        **{f"gradient {i}": g for i, g in enumerate(gradients)},
        **{f"running statistic {i}": s for i, s in enumerate(statistics)},
    }


MLP = Workload(
    name="mlp",
    about=f"one training step, batch {BATCH}, {'-'.join(map(str, SIZES))}, batch norm before each sigmoid, "
    "softmax cross-entropy, plain SGD (arXiv:1502.03167, section 4.1), eager",
    build=build,
    makers={OURS: with_minigrad, "torch": with_torch},
    check_steps=20,
    tolerance=1e-4,
    block=50,
)
