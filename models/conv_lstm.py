"""ConvLSTM: an LSTM over images that continues a film.

Shi, Chen, Wang, Yeung, Wong & Woo 2015 (arXiv:1506.04214). Products are convolutions, gates also see the cell, channel
by channel (equation 3), and an encoder reads the film and passes its states to a forecaster (section 3.3)::

    i, f = sigmoid(W [x_t, h_(t-1)] + w c_(t-1) + b),   g = tanh(W [x_t, h_(t-1)] + b)
    c_t = f c_(t-1) + i g,   o = sigmoid(W [x_t, h_(t-1)] + w c_t + b),   h_t = o tanh(c_t)
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

State = tuple[mg.Tensor, mg.Tensor]


class Cell(nn.Module):
    """One step of one layer; without ``inputs`` it depends on its state alone."""

    def __init__(
        self, inputs: int, hidden: int, kernel_size: int, rng: np.random.Generator | None
    ) -> None:
        padding, self.hidden = kernel_size // 2, hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel_size, padding=padding, rng=rng)
        self.peepholes = nn.Parameter(np.zeros((3, hidden, 1, 1)), np.float32)

    def forward(self, x: mg.Tensor | None, h: mg.Tensor, c: mg.Tensor) -> State:
        """The next (h, c), each (n, hidden, height, width)."""
        sums = self.conv(h if x is None else mg.concatenate([x, h], axis=1))
        i, f, g, o = (sums[:, k * self.hidden : (k + 1) * self.hidden] for k in range(4))
        to_i, to_f, to_o = (self.peepholes[k] for k in range(3))
        c = mg.sigmoid(f + to_f * c) * c + mg.sigmoid(i + to_i * c) * mg.tanh(g)
        return mg.sigmoid(o + to_o * c) * mg.tanh(c), c


class ConvLSTM(nn.Module):
    """Encoder and forecaster of layers with ``hidden`` channels, and a 1 x 1 convolution of all forecasting layers.

    Parameters
    ----------
    channels : int
        Of the frames.
    hidden : sequence of ints
        Channels of the layers, from the frames to the deepest.
    kernel_size : int
        Odd.
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights.
    """

    def __init__(
        self,
        channels: int,
        hidden: tuple[int, ...],
        kernel_size: int,
        rng: np.random.Generator | None = None,
    ) -> None:
        below, above = (channels, *hidden[:-1]), (*hidden[1:], 0)
        self.hidden = hidden
        self.encoder = [Cell(n, m, kernel_size, rng) for n, m in zip(below, hidden, strict=True)]
        self.forecaster = [Cell(n, m, kernel_size, rng) for n, m in zip(above, hidden, strict=True)]
        self.output = nn.Conv2d(sum(hidden), channels, 1, rng=rng)

    def forward(self, x: mg.Tensor, steps: int = 1) -> mg.Tensor:
        """The ``steps`` frames that follow, (n, steps, channels, height, width), with values in (0, 1).

        x is a film (n, time, channels, height, width); both networks pass states from layer to layer, the forecaster
        from the deepest one up.
        """
        n, time, _, height, width = x.shape
        kind: Any = {"dtype": x.dtype, "backend": x.backend}
        zeros = [mg.zeros((n, m, height, width), **kind) for m in self.hidden]
        states = [(z, z) for z in zeros]
        for t in range(time):
            seen = x[:, t]
            for k, cell in enumerate(self.encoder):
                states[k] = cell(seen, *states[k])
                seen, _ = states[k]
        frames = []
        for _ in range(steps):
            seen = None
            for k in reversed(range(len(states))):
                states[k] = self.forecaster[k](seen, *states[k])
                seen, _ = states[k]
            frames.append(mg.sigmoid(self.output(mg.concatenate([h for h, _ in states], axis=1))))
        return mg.stack(frames, axis=1)


def conv_lstm(
    channels: int = 16,
    hidden: tuple[int, ...] = (128, 64, 64),
    kernel_size: int = 5,
    rng: np.random.Generator | None = None,
) -> ConvLSTM:
    """By default the best network of section 4.1 for moving digits, in frames whose 4 x 4 pixels are 16 channels."""
    return ConvLSTM(channels, hidden, kernel_size, rng)
