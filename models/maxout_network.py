"""Maxout networks: each unit is the largest of several linear maps, so activations are learned, and dropout averages.

Goodfellow, Warde-Farley, Mirza, Courville & Bengio 2013 (arXiv:1302.4389). ``maxout_network`` is the convolutional
network for MNIST of section 5.1, three convolutional maxout layers with max pooling and a dense softmax layer,
``maxout_mlp`` the fully connected one. The paper gives no widths; these are the authors'.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn


class Maxout(nn.Module):
    """The maximum of ``pieces`` linear maps, unit by unit; (..., in_features) to (..., out_features)."""

    def __init__(
        self, in_features: int, out_features: int, pieces: int = 2, **settings: Any
    ) -> None:
        self.pieces = pieces
        self.linear = nn.Linear(in_features, out_features * pieces, **settings)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        y = self.linear(x)
        return y.reshape(*y.shape[:-1], y.shape[-1] // self.pieces, self.pieces).max(axis=-1)


class MaxoutConv2d(nn.Module):
    """The maximum of ``pieces`` convolutions, channel by channel, then max pooling of stride 2."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        pieces: int,
        kernel_size: int,
        padding: int,
        pool: int,
        batch_norm: bool,
        rng: np.random.Generator | None,
    ) -> None:
        maps, bias = outputs * pieces, not batch_norm
        self.pieces, self.pool = pieces, nn.MaxPool2d(pool, stride=2)
        self.conv = nn.Conv2d(inputs, maps, kernel_size, padding=padding, bias=bias, rng=rng)
        self.bn = nn.BatchNorm.like("torch", maps) if batch_norm else None

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        y = self.conv(x) if self.bn is None else self.bn(self.conv(x))
        n, maps, height, width = y.shape
        return self.pool(y.reshape(n, maps // self.pieces, self.pieces, height, width).max(axis=2))


def maxout_network(
    classes: int = 10,
    channels: int = 1,
    width: int = 48,
    dropout: tuple[float, float] = (0.2, 0.5),
    batch_norm: bool = False,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """From images (n, channels, 28, 28) to logits (n, classes).

    ``dropout`` is that of the images and of hidden units; ``batch_norm`` normalizes the maps before the largest is
    taken, without biases and dropout. Networks built from equal generators ``rng`` have equal weights.
    """
    drop = [] if batch_norm else [nn.Dropout(p, rng) for p in dropout]
    first, hidden = drop[:1], drop[1:]
    return nn.Sequential(
        *(*first, MaxoutConv2d(channels, width, 2, 8, 0, 4, batch_norm, rng)),
        *(*hidden, MaxoutConv2d(width, width, 2, 8, 3, 4, batch_norm, rng)),
        *(*hidden, MaxoutConv2d(width, width // 2, 4, 5, 3, 2, batch_norm, rng)),
        *(*hidden, nn.Flatten(), nn.Linear(width // 2 * 2 * 2, classes, rng=rng)),
    )


def maxout_mlp(
    classes: int = 10,
    inputs: int = 784,
    width: int = 240,
    pieces: int = 5,
    dropout: tuple[float, float] = (0.2, 0.5),
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """From vectors (n, inputs) to logits (n, classes); as ``maxout_network``."""
    first, hidden = (nn.Dropout(p, rng) for p in dropout)
    return nn.Sequential(
        *(first, Maxout(inputs, width, pieces, rng=rng)),
        *(hidden, Maxout(width, width, pieces, rng=rng)),
        *(hidden, nn.Linear(width, classes, rng=rng)),
    )
