"""Highway networks: layers that learn how much of their input to let pass, so that a hundred of them still train.

Srivastava, Greff & Schmidhuber 2015 (arXiv:1505.00387), equation 3::

    y = H(x) T(x) + x (1 - T(x)),   H(x) = relu(W_H x + b_H),   T(x) = sigmoid(W_T x + b_T)

The bias of the gate T begins below zero, so that a new network carries its input through (section 2.2). The network is
that of section 3: a plain layer, 9, 19, 49 or 99 highway layers of 50 units, and the classes.
"""

from __future__ import annotations

from functools import partial

import numpy as np

import minigrad as mg
from minigrad import nn


class Highway(nn.Module):
    """One highway layer, (n, width) to (n, width).

    Parameters
    ----------
    width : int
    gate_bias : float
        Where the bias of the gate begins.
    batch_norm : bool
        Whether H(x) is relu(BN(W_H x)) instead.
    rng : numpy.random.Generator, optional
    """

    def __init__(
        self,
        width: int,
        gate_bias: float = -2.0,
        batch_norm: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        bias = partial(nn.init.constant, value=gate_bias)
        self.transform = nn.Linear(width, width, bias=not batch_norm, rng=rng)
        self.bn = nn.BatchNorm.like("torch", width) if batch_norm else None
        self.gate = nn.Linear(width, width, bias_init=bias, rng=rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        h = self.transform(x) if self.bn is None else self.bn(self.transform(x))
        t = mg.sigmoid(self.gate(x))
        return mg.relu(h) * t + x * (1 - t)


def highway(
    depth: int = 10,
    classes: int = 10,
    inputs: int = 784,
    width: int = 50,
    gate_bias: float = -2.0,
    batch_norm: bool = False,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """A highway network.

    Parameters
    ----------
    depth : int
        Hidden layers: one plain, the others highway layers.
    classes, inputs, width : int
        Of the output, of the input, and of all layers between.
    gate_bias, batch_norm, rng
        As for ``Highway``; two networks built from equal generators have equal weights.

    Returns
    -------
    Sequential
        From vectors (n, inputs) to logits (n, classes).
    """
    layers = [nn.Linear(inputs, width, rng=rng), nn.ReLU()]
    layers += [Highway(width, gate_bias, batch_norm, rng) for _ in range(depth - 1)]
    return nn.Sequential(*layers, nn.Linear(width, classes, rng=rng))
