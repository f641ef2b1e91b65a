"""LSTMs that read a sequence and name its class, with recurrent batch norm and without.

Cooijmans, Ballas, Laurent, Gulcehre & Courville 2017 (arXiv:1603.09025), equations 6 to 8, with statistics for each
time step, gammas that begin at 0.1, and one bias for the gates, whose batch norms have no beta::

    i, f, g, o = BN(W_h h_(t-1)) + BN(W_x x_t) + b
    c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g),   h_t = sigmoid(o) tanh(BN(c_t))
"""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import nn


class BNLSTM(nn.LSTM):
    """A batch-normalized LSTM, (n, time, input_size) to (n, time, hidden_size).

    Parameters
    ----------
    input_size, hidden_size : int
    max_steps : int
        Time steps that have statistics of their own; later ones use the last.
    noise : float
        Deviation of the hidden state before the first step in training. Sequences that begin alike would have no
        variance to divide by there (section 5.1).
    rng : numpy.random.Generator, optional
        Of the weights, which are those of an ``nn.LSTM`` from an equal generator, and of the noise.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        max_steps: int,
        noise: float = 0.1,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng)
        gates = {"num_features": 4 * hidden_size, "max_steps": max_steps, "center": False}
        self.bn_x = nn.RecurrentBatchNorm(**gates, momentum=0.9)
        self.bn_h = nn.RecurrentBatchNorm(**gates, momentum=0.9)
        self.bn_c = nn.RecurrentBatchNorm(hidden_size, max_steps, momentum=0.9)
        self.noise, self.rng = noise, rng

    def initial(self, x: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        h, c = super().initial(x)
        if self.training and self.noise:
            values = nn.init.normal(h.shape, self.rng, std=self.noise)
            h = mg.tensor(values, dtype=x.dtype, backend=x.backend)
        return h, c

    def forward(self, x: mg.Tensor, state=None) -> tuple[mg.Tensor, tuple[mg.Tensor, mg.Tensor]]:
        """The hidden states of all steps, and the last (h, c), each (n, hidden_size)."""
        h, c = self.initial(x) if state is None else state
        hidden, size = [], self.hidden_size
        for t in range(x.shape[1]):
            from_x = self.bn_x(mg.linear(x[:, t], self.weight_ih), t)
            gates = self.bn_h(mg.linear(h, self.weight_hh), t) + from_x + self.bias
            i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
            c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
            h = mg.sigmoid(o) * mg.tanh(self.bn_c(c, t))
            hidden.append(h)
        return mg.stack(hidden, axis=1), (h, c)


class SequenceClassifier(nn.Module):
    """A linear map of an LSTM's last hidden state: sequences (n, time, features) to logits (n, classes)."""

    def __init__(self, lstm: nn.LSTM, classes: int, rng: np.random.Generator | None) -> None:
        self.lstm, self.fc = lstm, nn.Linear(lstm.hidden_size, classes, rng=rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        _, (h, _) = self.lstm(x)
        return self.fc(h)


def bn_lstm(
    classes: int = 10,
    features: int = 1,
    hidden: int = 100,
    max_steps: int = 784,
    noise: float = 0.1,
    rng: np.random.Generator | None = None,
) -> SequenceClassifier:
    """By default the network of section 5.1, which reads MNIST pixel by pixel; see ``BNLSTM``."""
    return SequenceClassifier(BNLSTM(features, hidden, max_steps, noise, rng), classes, rng)


def lstm(
    classes: int = 10,
    features: int = 1,
    hidden: int = 100,
    rng: np.random.Generator | None = None,
) -> SequenceClassifier:
    """The same without batch norm; equal generators give both equal weights."""
    return SequenceClassifier(nn.LSTM(features, hidden, rng=rng), classes, rng)
