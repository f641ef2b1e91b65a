"""Maxout: the largest of the pieces, and where dropout stands."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import nn
from models.maxout_network import MaxoutConv2d, maxout_mlp, maxout_network


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_largest_piece_then_the_largest_place(rng, batch_norm):
    layer = MaxoutConv2d(2, 3, 4, 3, 1, 2, batch_norm, rng)
    x = mg.tensor(rng.standard_normal((5, 2, 6, 6)), dtype="float32")
    maps = layer.conv(x)
    maps = (layer.bn(maps) if batch_norm else maps).numpy()
    assert maps.shape == (5, 12, 6, 6)
    pieces = np.stack([maps[:, 4 * c : 4 * c + 4].max(1) for c in range(3)], axis=1)
    close(layer(x), pieces.reshape(5, 3, 3, 2, 3, 2).max((3, 5)), 1e-6)


def test_parameters():
    """Of the convolutions with 48, 48 and 24 channels and the authors' kernels; of 240 units with 5 pieces, twice."""
    convolutions = 96 * (8 * 8 + 1) + 96 * (48 * 8 * 8 + 1) + 96 * (48 * 5 * 5 + 1)
    assert sum(p.size for p in maxout_network().parameters()) == convolutions + 10 * (24 * 4 + 1)
    dense = 1200 * (784 + 1) + 1200 * (240 + 1) + 10 * (240 + 1)
    assert sum(p.size for p in maxout_mlp().parameters()) == dense


@pytest.mark.parametrize("factory", [maxout_network, maxout_mlp])
def test_dropout_before_every_layer(factory):
    """An input is dropped less often than a hidden unit."""
    model = factory(width=4)
    p = [layer.p for layer in model if isinstance(layer, nn.Dropout)]
    layers = [m for m in model if isinstance(m, (nn.Maxout, MaxoutConv2d, nn.Linear))]
    assert p == [0.2, *[0.5] * (len(layers) - 1)]


def test_batch_norm_instead_of_dropout():
    model = maxout_network(width=4, batch_norm=True)
    kinds = [type(m) for m in model.modules()]
    assert nn.Dropout not in kinds and kinds.count(nn.BatchNorm) == 3
