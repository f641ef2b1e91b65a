"""One training step of ResNet-20 (arXiv:1512.03385, section 4.2) on 128 random images 3x32x32, SGD with momentum.

Both networks are built from the same state, by the same names; PyTorch's is written here as its users write it. What
must agree are the losses and the running statistics of all layers, not the gradients: float32's rounding moves some of
the activations over the kink of a ReLU, and in single gradients even PyTorch's two memory formats differ by some per
cent. A wrong gradient shows in the steps that follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import minigrad as mg
from models.resnet import ResNet, resnet20

from ..agreement import OURS, Arrays, Peer
from ..harness import Figure, Times, Workload, spread
from .training import Inputs, fit_minigrad, fit_torch, random_inputs

#: a low rate, so that differences in rounding grow slowly
BATCH, LR, SGD_MOMENTUM = 128, 0.01, 0.9


def build(batch: int = BATCH, batches: int = 20) -> Inputs:
    return random_inputs([], (batch, 3, 32, 32), batches, mean=1.0)


def network() -> ResNet:
    return resnet20(rng=np.random.default_rng(0))


def with_minigrad(inputs: Inputs, captured: bool = False) -> Peer:
    return without_gradients(fit_minigrad(network(), inputs, captured, LR, SGD_MOMENTUM))


def without_gradients(peer: Peer) -> Peer:
    def numbers() -> Arrays:
        return {key: a for key, a in peer.numbers().items() if not key.startswith("gradient")}

    return peer._replace(numbers=numbers)


def with_torch(inputs: Inputs, **how: bool) -> Peer:
    import torch
    from torch import nn
    from torch.nn.functional import pad, relu

    def conv(inputs: int, width: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int) -> None:
            super().__init__()
            self.conv1 = conv(inputs, width, width // inputs)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = conv(width, width)
            self.bn2 = nn.BatchNorm2d(width)
            self.new = width - inputs

        def forward(self, x: Any) -> Any:
            y = relu(self.bn1(self.conv1(x)), inplace=True)
            y = self.bn2(self.conv2(y))
            if self.new:
                half = self.new // 2
                x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.new - half))
            return relu(y + x, inplace=True)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = conv(3, 16)
            self.bn1 = nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
            self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
            self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
            self.fc = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = relu(self.bn1(self.conv1(x)), inplace=True)
            return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    model, state = Twin(), mg.interop.to_torch(network())
    model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return without_gradients(fit_torch(model, inputs, lr=LR, momentum=SGD_MOMENTUM, **how))


def images_per_second(times: Times) -> Iterator[Figure]:
    for name, seconds in times.items():
        yield Figure(f"{name} trains on", "images per second", spread(BATCH / t for t in seconds))


RESNET = Workload(
    name="resnet20",
    about=f"one training step of ResNet-20, batch {BATCH} of 3x32x32, softmax cross-entropy, SGD with momentum, eager",
    build=build,
    makers={OURS: with_minigrad, "torch": with_torch},
    check_steps=3,
    tolerance=5e-4,
    block=20,
    figures=images_per_second,
)
