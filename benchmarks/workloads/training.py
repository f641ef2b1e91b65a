"""What the training workloads share: the inputs, and the step of each peer around its own model.

It is fair because every peer is written as its users would write it, with its own defaults for all that does not
change the numbers, and starts from the same weights and reads the same batches, made into its tensors beforehand.
Losses, gradients, and running statistics must agree over the first steps. Two things differ in name only: the eps of
a batch norm is 1e-3 here and 1e-5 in PyTorch unless told, and PyTorch's momentum is one minus ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg

from ..agreement import Arrays, Peer

LR, EPS, MOMENTUM = 0.1, 1e-3, 0.99
CLASSES = 10


class Inputs(NamedTuple):
    """Initial weights of the layers that have one beside batch norms, and batches (x, labels)."""

    weights: list[np.ndarray]
    batches: list[tuple[np.ndarray, np.ndarray]]


def random_inputs(
    weights: Iterable[tuple[int, ...]], x: tuple[int, ...], batches: int = 20
) -> Inputs:
    """Gaussian weights of deviation 0.1, and normal batches with random labels."""
    rng = np.random.default_rng(0)
    return Inputs(
        [(0.1 * rng.standard_normal(shape)).astype(np.float32) for shape in weights],
        [
            (rng.standard_normal(x).astype(np.float32), rng.integers(CLASSES, size=x[0]))
            for _ in range(batches)
        ],
    )


def train_minigrad(model: mg.nn.Sequential, inputs: Inputs) -> Peer:
    norms = [layer for layer in model if isinstance(layer, mg.nn.BatchNorm)]
    weighted = [layer for layer in model if isinstance(layer, (mg.nn.Linear, mg.nn.Conv2d))]
    for layer, weight in zip(weighted, inputs.weights, strict=True):
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


def train_torch(model: Any, inputs: Inputs) -> Peer:
    import torch
    from torch import nn

    norms: Any = [layer for layer in model if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
    weighted = [layer for layer in model if isinstance(layer, (nn.Linear, nn.Conv2d))]
    with torch.no_grad():
        for layer, weight in zip(weighted, inputs.weights, strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
        weighted[-1].bias.zero_()
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
