"""Inception: the table of the paper, row by row."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models.inception_bn import TABLE, ConvBN, Inception, inception_bn, inception_bn_small

#: the column "output size" of the table: channels, and height and width for images of 224
OUTPUTS = {"3a": (256, 28), "3b": (320, 28), "3c": (576, 14)}
OUTPUTS |= dict.fromkeys(("4a", "4b", "4c", "4d"), (576, 14))
OUTPUTS |= dict.fromkeys(("4e", "5a", "5b"), (1024, 7))


@pytest.mark.parametrize("name", TABLE)
def test_outputs_of_a_module(name, monkeypatch):
    """Where a module halves the image, the table's size is that of what comes in; here it is what goes out."""
    monkeypatch.setattr(nn.init, "uniform", lambda shape, *_, **__: np.zeros(shape, np.float32))
    names = list(OUTPUTS)
    inputs, size = OUTPUTS[names[names.index(name) - 1]] if name != "3a" else (192, 28)
    module = Inception(inputs, TABLE[name])
    x = mg.zeros((1, inputs, size, size))
    with mg.no_grad():
        assert module(x).shape == (1, *OUTPUTS[name], OUTPUTS[name][1])
    assert module.outputs == OUTPUTS[name][0]


def test_branches_stand_side_by_side(rng):
    """In the order of the table's columns; where a module halves the image, its input passes through the pool."""
    x = mg.tensor(rng.standard_normal((2, 4, 6, 6)), dtype="float32")
    module = Inception(4, (0, 2, 3, 2, 5, nn.MaxPool2d, 0), rng)
    y = module(x).numpy()
    assert y.shape == (2, 12, 3, 3)
    np.testing.assert_array_equal(y[:, 8:], mg.max_pool2d(x, 3, 2, 1).numpy())
    np.testing.assert_array_equal(y[:, :3], module.branches[0](x).numpy())
    module = Inception(4, (1, 2, 3, 2, 5, nn.AvgPool2d, 2), rng)
    assert [b[0].__class__ for b in module.branches] == [ConvBN, ConvBN, ConvBN, nn.AvgPool2d]
    assert [len(b) for b in module.branches] == [1, 2, 3, 2]
    assert module(x).shape == (2, 11, 6, 6)


def test_the_whole_network(monkeypatch):
    """Eleven million parameters, of which a million stand before the softmax; the stem takes an eighth of the image."""
    monkeypatch.setattr(nn.init, "uniform", lambda shape, *_, **__: np.zeros(shape, np.float32))
    model = inception_bn()
    assert sum(p.size for p in model.parameters()) == 11_194_984
    assert model[-1].weight.shape == (1000, 1024)
    stem = nn.Sequential(*model.layers[:5])
    with mg.no_grad():
        assert stem(mg.zeros((1, 3, 64, 64))).shape == (1, 192, 8, 8)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm)]
    assert len(convolutions) == len(norms) == 3 + 8 * 7 + 2 * 5
    assert all(c.bias is None for c in convolutions)


def test_scale():
    rows = [m for m in inception_bn_small(scale=0.25).modules() if isinstance(m, Inception)]
    assert [m.outputs for m in rows] == [64, 80, 144, 144, 256, 256]
