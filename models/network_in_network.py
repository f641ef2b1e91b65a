"""Network in Network: a small multilayer perceptron slides over the image, and each class averages a map of its own.

Lin, Chen & Yan 2014 (arXiv:1312.4400), section 3. A k x k convolution followed by 1 x 1 convolutions is that perceptron
("mlpconv"); global average pooling takes the place of fully connected layers. Widths are those of the authors' network
for CIFAR-10. The last map has no ReLU here: what is averaged are logits.
"""

from __future__ import annotations

import numpy as np

from minigrad import nn


def mlpconv(
    inputs: int,
    widths: tuple[int, ...],
    kernel_size: int,
    batch_norm: bool,
    rng: np.random.Generator | None,
) -> list[nn.Module]:
    """The layers of one mlpconv, each convolution with its ReLU, and with a batch norm or a bias before it."""
    layers: list[nn.Module] = []
    for outputs in widths:
        padding, bias = kernel_size // 2, not batch_norm
        layers.append(nn.Conv2d(inputs, outputs, kernel_size, padding=padding, bias=bias, rng=rng))
        layers += [nn.BatchNorm.like("torch", outputs)] if batch_norm else []
        layers.append(nn.ReLU())
        inputs, kernel_size = outputs, 1
    return layers


def network_in_network(
    classes: int = 10,
    channels: int = 3,
    width: int = 192,
    dropout: float = 0.5,
    batch_norm: bool = False,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Three mlpconv blocks with 3 x 3 max pooling of stride 2 between them, and global average pooling.

    Parameters
    ----------
    classes, channels : int
        Of the output, and of the images, which may be of any size.
    width : int
        Channels of the widest layers; the others keep their proportion.
    dropout : float in [0, 1)
        After the first two blocks.
    batch_norm : bool
        Normalize before each ReLU, without biases and dropout.
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights, with and without batch norm.

    Returns
    -------
    Sequential
        From images (n, channels, height, width) to logits (n, classes).
    """
    narrow, out = 5 * width // 6, width // 2

    def between() -> list[nn.Module]:
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        return [pool] if batch_norm else [pool, nn.Dropout(dropout, rng)]

    return nn.Sequential(
        *mlpconv(channels, (width, narrow, out), 5, batch_norm, rng),
        *between(),
        *mlpconv(out, (width, width, width), 5, batch_norm, rng),
        *between(),
        *mlpconv(width, (width, width), 3, batch_norm, rng),
        nn.Conv2d(width, classes, 1, rng=rng),
        nn.GlobalAvgPool2d(),
    )
