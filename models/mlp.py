"""The deep sigmoid MLP of Ioffe & Szegedy 2015 (arXiv:1502.03167), section 4.1.

Three fully connected hidden layers of 100 sigmoid units and an output layer of 10, weights from a small Gaussian; with
batch norm each hidden layer is sigmoid(BN(W u)) instead of sigmoid(W u + b): BN takes the bias away (section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

import minigrad as mg
from minigrad import nn


class MLP(nn.Module):
    """Fully connected layers with sigmoids between them.

    Parameters
    ----------
    sizes : sequence of ints
        Inputs, hidden layers, classes.
    batch_norm : bool
        Whether each hidden layer normalizes before its sigmoid.
    std : float
        Standard deviation of the Gaussian weights.
    momentum : float
        Of the running statistics, see ``minigrad.nn.BatchNorm``.
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights, with and without batch norm.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (784, 100, 100, 100, 10),
        batch_norm: bool = True,
        std: float = 0.1,
        momentum: float = 0.9,
        rng: np.random.Generator | None = None,
    ) -> None:
        gaussian = partial(nn.init.normal, std=std)
        *hidden, last, classes = sizes
        self.hidden = []
        for inputs, outputs in zip(hidden, [*hidden[1:], last], strict=True):
            linear = nn.Linear(inputs, outputs, bias=not batch_norm, weight_init=gaussian, rng=rng)
            norm = [nn.BatchNorm(outputs, momentum=momentum)] if batch_norm else []
            self.hidden.append(nn.Sequential(linear, *norm))
        self.output = nn.Linear(last, classes, weight_init=gaussian, rng=rng)

    def last_sigmoid_input(self, x: mg.Tensor) -> mg.Tensor:
        """What enters the sigmoids of the last hidden layer, shape (n, last)."""
        x = self.hidden[0](x)
        for layer in self.hidden[1:]:
            x = layer(mg.sigmoid(x))
        return x

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Logits (n, classes) of x (n, inputs)."""
        return self.output(mg.sigmoid(self.last_sigmoid_input(x)))
