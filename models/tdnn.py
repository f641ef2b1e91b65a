"""Time-delay neural networks: convolutions over time, which look further back layer by layer.

Waibel, Hanazawa, Hinton, Shikano & Lang 1989 (Phoneme recognition using time-delay neural networks, IEEE Transactions
on Acoustics, Speech, and Signal Processing 37), and Peddinti, Povey & Khudanpur 2015 (A time delay neural network
architecture for efficient modeling of long temporal contexts, Interspeech), whose layers look at few frames far apart:
dilated convolutions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minigrad as mg
from minigrad import nn


class TDNN(nn.Module):
    """Convolutions over time, and the mean over time of what the last one finds.

    Parameters
    ----------
    classes, features : int
        Of the output, and of each frame.
    layers : sequence of (width, kernel_size, dilation)
        The hidden layers.
    last : int
        Frames that each output sees of the last hidden layer.
    activation : callable of a Tensor
    batch_norm : bool
        Whether each activation's input is normalized; if not, there are biases instead.
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights, with and without batch norm.
    """

    def __init__(
        self,
        classes: int,
        features: int,
        layers: tuple[tuple[int, int, int], ...],
        last: int,
        activation: Callable[[mg.Tensor], mg.Tensor],
        batch_norm: bool,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.activation, self.layers = activation, []
        for width, kernel, dilation in layers:
            bias = not batch_norm
            conv = nn.Conv1d(features, width, kernel, dilation=dilation, bias=bias, rng=rng)
            norm = [nn.BatchNorm.like("torch", width)] if batch_norm else []
            self.layers.append(nn.Sequential(conv, *norm))
            features = width
        self.output = nn.Conv1d(features, classes, last, rng=rng)

    def frames(self, x: mg.Tensor) -> mg.Tensor:
        """Logits (n, classes, time - context + 1): what each stretch of ``context`` frames says."""
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.output(x)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Logits (n, classes) of sequences (n, features, time)."""
        return self.frames(x).mean(2)


def waibel_tdnn(
    classes: int = 3, features: int = 16, rng: np.random.Generator | None = None
) -> TDNN:
    """The network of 1989 for b, d and g: 8 units that see 3 frames, 3 that see 5, summed over time with equal weights.

    It reads 15 frames; the units of its second layer are logits here, without sigmoids.
    """
    return TDNN(classes, features, ((8, 3, 1),), 5, mg.sigmoid, False, rng)


def tdnn(
    classes: int = 10,
    features: int = 40,
    width: int = 512,
    rng: np.random.Generator | None = None,
) -> TDNN:
    """The network of 2015 (Table 1) with ReLU and batch norm.

    Its layers see the frames [-2, 2], {-1, 2}, {-3, 3}, {-7, 2} and {0} of the one below, in all 23.
    """
    layers = ((width, 5, 1), (width, 2, 3), (width, 2, 6), (width, 2, 9), (width, 1, 1))
    return TDNN(classes, features, layers, 1, mg.relu, True, rng)
