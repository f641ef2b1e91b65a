"""LeNet with batch norm: small convolutions that read digits.

After LeCun, Bottou, Bengio & Haffner 1998 (Gradient-based learning applied to document recognition, Proceedings of the
IEEE 86, Figure 2): convolution, activation and pooling, twice, and a hidden layer before the classes; with max pooling,
and with batch norm between each linear map and its activation (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minigrad as mg
from minigrad import nn


class LeNet(nn.Module):
    """Two blocks of 5 x 5 convolution and 2 x 2 pooling, and two fully connected layers.

    Parameters
    ----------
    classes, channels : int
        Of the output, and of the images.
    size : int
        Height and width of the images, a multiple of 4.
    widths : three ints
        Channels of the two convolutions, units of the hidden layer.
    activation : callable of a Tensor
        ``mg.relu``, ``mg.sigmoid``, ...
    batch_norm : bool
        Whether each activation's input is normalized; if not, there are biases instead.
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights, with and without batch norm.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: int = 28,
        widths: tuple[int, int, int] = (16, 32, 128),
        activation: Callable[[mg.Tensor], mg.Tensor] = mg.relu,
        batch_norm: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        if size % 4 or size < 4:
            raise ValueError(f"LeNet: expected size to be a multiple of 4, got {size}")
        first, second, hidden = widths
        settings = {"bias": not batch_norm, "rng": rng}
        self.activation = activation
        self.conv1 = nn.Conv2d(channels, first, 5, padding=2, **settings)
        self.bn1 = nn.BatchNorm.like("torch", first) if batch_norm else None
        self.conv2 = nn.Conv2d(first, second, 5, padding=2, **settings)
        self.bn2 = nn.BatchNorm.like("torch", second) if batch_norm else None
        self.fc1 = nn.Linear(second * (size // 4) ** 2, hidden, **settings)
        self.bn3 = nn.BatchNorm.like("torch", hidden) if batch_norm else None
        self.fc2 = nn.Linear(hidden, classes, rng=rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Logits (n, classes) of images (n, channels, size, size)."""
        x = mg.max_pool2d(self._active(self.conv1(x), self.bn1), 2)
        x = mg.max_pool2d(self._active(self.conv2(x), self.bn2), 2)
        return self.fc2(self._active(self.fc1(mg.flatten(x, 1)), self.bn3))

    def _active(self, x: mg.Tensor, bn: nn.BatchNorm | None) -> mg.Tensor:
        return self.activation(x if bn is None else bn(x))


def lenet_bn(
    classes: int = 10,
    channels: int = 1,
    size: int = 28,
    activation: Callable[[mg.Tensor], mg.Tensor] = mg.relu,
    rng: np.random.Generator | None = None,
) -> LeNet:
    """LeNet with batch norm for grey images of 28 x 28, or of 8 x 8 with ``size=8``; see ``LeNet``."""
    return LeNet(classes, channels, size, activation=activation, rng=rng)
