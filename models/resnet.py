"""Residual networks: blocks that learn what to add to their input, with batch norm after each convolution.

He, Zhang, Ren & Sun 2015 (arXiv:1512.03385). For ImageNet, Table 1, with projections where the shape changes (option
B); bottlenecks halve the image in their 3 x 3 convolution, as in the trained states that are passed around, whose
names are those here. For CIFAR, section 4.2: 6 n + 2 layers in three stages, shortcuts without parameters (option A).
"""

from __future__ import annotations

from functools import partial

import numpy as np

import minigrad as mg
from minigrad import nn

norm = partial(nn.BatchNorm.like, "torch")
conv = partial(nn.Conv2d, bias=False, weight_init=nn.init.he_normal)


class Block(nn.Module):
    """relu(F(x) + x), where F is two 3 x 3 convolutions with batch norm (Figure 5, left).

    ``downsample`` takes the place of x where the shape changes; ``gamma_init`` is that of the last batch norm.
    """

    expansion = 1

    def __init__(self, inputs, width, stride, downsample, gamma_init, rng) -> None:
        self.conv1 = conv(inputs, width, 3, stride, padding=1, rng=rng)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, padding=1, rng=rng)
        self.bn2 = norm(width, gamma_init=gamma_init)
        self.downsample = downsample

    def residual(self, x: mg.Tensor) -> mg.Tensor:
        """F(x)."""
        return self.bn2(self.conv2(mg.relu(self.bn1(self.conv1(x)))))

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return mg.relu(self.residual(x) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(Block):
    """F is a 1 x 1, a 3 x 3, and a 1 x 1 convolution to four times as many channels (Figure 5, right)."""

    expansion = 4

    def __init__(self, inputs, width, stride, downsample, gamma_init, rng) -> None:
        self.conv1 = conv(inputs, width, 1, rng=rng)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, stride, padding=1, rng=rng)
        self.bn2 = norm(width)
        self.conv3 = conv(width, 4 * width, 1, rng=rng)
        self.bn3 = norm(4 * width, gamma_init=gamma_init)
        self.downsample = downsample

    def residual(self, x: mg.Tensor) -> mg.Tensor:
        x = mg.relu(self.bn2(self.conv2(mg.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(x))


class PadShortcut(nn.Module):
    """Option A: every other pixel, between ``new`` channels of zeros."""

    def __init__(self, new: int) -> None:
        self.channels = (new // 2, new - new // 2)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return mg.pad(x[:, :, ::2, ::2], [(0, 0), self.channels, (0, 0), (0, 0)])


class ResNet(nn.Module):
    """A first convolution, stages of blocks, each stage twice as wide as the last, and the classes.

    Parameters
    ----------
    block : Block or Bottleneck, the class
    depths : sequence of ints
        How many blocks each stage has.
    classes, channels, width : int
        Of the output, of the images, and of the first stage.
    small : bool
        The network for CIFAR: option A, and a first convolution of 3 x 3 that keeps the size of the image, instead of
        7 x 7 and max pooling, which leave a quarter of it.
    zero_gamma : bool
        Let gamma begin at 0 in the last batch norm of each block, so that a block begins as its shortcut (Goyal et al.
        2017, arXiv:1706.02677, section 5.1).
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights.
    """

    def __init__(
        self,
        block: type[Block],
        depths: tuple[int, ...],
        classes: int = 1000,
        channels: int = 3,
        width: int = 64,
        small: bool = False,
        zero_gamma: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        kernel, first = (3, 1) if small else (7, 2)
        self.conv1 = conv(channels, width, kernel, first, padding=kernel // 2, rng=rng)
        self.bn1 = norm(width)
        self.maxpool = None if small else nn.MaxPool2d(3, stride=2, padding=1)
        gamma_init = nn.init.zeros if zero_gamma else nn.init.ones
        inputs, self.stages = width, len(depths)
        for i, depth in enumerate(depths):
            outputs, stride, blocks = width * block.expansion, 2 if i else 1, []
            for _ in range(depth):
                down = None
                if small and stride > 1:
                    down = PadShortcut(outputs - inputs)
                elif (stride, inputs) != (1, outputs):
                    down = nn.Sequential(conv(inputs, outputs, 1, stride, rng=rng), norm(outputs))
                blocks.append(block(inputs, width, stride, down, gamma_init, rng))
                inputs, stride = outputs, 1
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            width *= 2
        self.fc = nn.Linear(inputs, classes, rng=rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Logits (n, classes) of images (n, channels, height, width)."""
        x = mg.relu(self.bn1(self.conv1(x)))
        x = x if self.maxpool is None else self.maxpool(x)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(mg.global_avg_pool2d(x))


def cifar(n: int, classes: int = 10, channels: int = 3, width: int = 16, **settings) -> ResNet:
    """The network of 6 n + 2 layers for images of 32 x 32; settings are those of ``ResNet``."""
    return ResNet(Block, (n, n, n), classes, channels, width, small=True, **settings)


resnet20, resnet32, resnet44, resnet56, resnet110 = (partial(cifar, n) for n in (3, 5, 7, 9, 18))
resnet18 = partial(ResNet, Block, (2, 2, 2, 2))
resnet34 = partial(ResNet, Block, (3, 4, 6, 3))
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3))
resnet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3))
resnet152 = partial(ResNet, Bottleneck, (3, 8, 36, 3))
