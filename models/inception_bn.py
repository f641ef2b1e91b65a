"""Inception with batch norm: modules whose branches convolve with windows of several sizes.

Ioffe & Szegedy 2015 (arXiv:1502.03167), Figure 5: the network of Szegedy et al. 2014 (arXiv:1409.4842) with its 5 x 5
convolutions made of two of 3 x 3, and with batch norm between every convolution and its ReLU. ``inception_bn`` is the
figure's table, but for an ordinary first convolution; ``inception_bn_small`` is reduced for small images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

RNG = np.random.Generator | None

#: 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool, its projection. Without 1x1 a module halves the image.
TABLE: dict[str, tuple[Any, ...]] = {
    "3a": (64, 64, 64, 64, 96, nn.AvgPool2d, 32),
    "3b": (64, 64, 96, 64, 96, nn.AvgPool2d, 64),
    "3c": (0, 128, 160, 64, 96, nn.MaxPool2d, 0),
    "4a": (224, 64, 96, 96, 128, nn.AvgPool2d, 128),
    "4b": (192, 96, 128, 96, 128, nn.AvgPool2d, 128),
    "4c": (160, 128, 160, 128, 160, nn.AvgPool2d, 96),
    "4d": (96, 128, 192, 160, 192, nn.AvgPool2d, 96),
    "4e": (0, 128, 192, 192, 256, nn.MaxPool2d, 0),
    "5a": (352, 192, 320, 160, 224, nn.AvgPool2d, 128),
    "5b": (352, 192, 320, 192, 224, nn.MaxPool2d, 128),
}


class ConvBN(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, rng: RNG = None
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, rng=rng)
        super().__init__(conv, nn.BatchNorm.like("torch", outputs), nn.ReLU())


class Inception(nn.Module):
    """One module, a ``row`` of the table: (n, inputs, height, width) to (n, outputs, height, width), or half of it."""

    def __init__(self, inputs: int, row: Sequence[Any], rng: RNG = None) -> None:
        one, reduce, three, reduce_double, double, pool, projection = row
        stride, conv = 1 if one else 2, partial(ConvBN, rng=rng)
        branches = [
            [conv(inputs, one, 1)] if one else [],
            [conv(inputs, reduce, 1), conv(reduce, three, 3, stride)],
            [
                conv(inputs, reduce_double, 1),
                conv(reduce_double, double, 3),
                conv(double, double, 3, stride),
            ],
            [pool(3, stride, padding=1), *([conv(inputs, projection, 1)] if projection else [])],
        ]
        self.branches = [nn.Sequential(*branch) for branch in branches if branch]
        self.outputs = one + three + double + (projection or inputs)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return mg.concatenate([branch(x) for branch in self.branches], axis=1)


def inception_bn(classes: int = 1000, channels: int = 3, rng: RNG = None) -> nn.Sequential:
    """From images (n, channels, 224, 224) to logits (n, classes).

    Networks built from equal generators ``rng`` have equal weights.
    """
    pool = partial(nn.MaxPool2d, 3, stride=2, padding=1)
    stem = [ConvBN(channels, 64, 7, 2, rng), pool(), ConvBN(64, 64, 1, rng=rng)]
    stem += [ConvBN(64, 192, 3, rng=rng), pool()]
    return nn.Sequential(*stem, *_modules(192, TABLE.values(), classes, rng))


def inception_bn_small(
    classes: int = 10,
    channels: int = 3,
    scale: float = 0.25,
    modules: Sequence[str] = ("3a", "3b", "3c", "4a", "4e", "5b"),
    rng: RNG = None,
) -> nn.Sequential:
    """From images (n, channels, height, width) of about 32 x 32 to logits (n, classes).

    One 3 x 3 convolution precedes the ``modules``, rows of the table, and all widths are ``scale`` times as large.
    """
    rows = [[round(scale * n) if isinstance(n, int) else n for n in TABLE[m]] for m in modules]
    width = round(scale * 192)
    stem = ConvBN(channels, width, 3, rng=rng)
    return nn.Sequential(stem, *_modules(width, rows, classes, rng))


def _modules(inputs: int, rows: Any, classes: int, rng: RNG) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for row in rows:
        layers.append(Inception(inputs, row, rng))
        inputs = layers[-1].outputs
    return [*layers, nn.GlobalAvgPool2d(), nn.Linear(inputs, classes, rng=rng)]
