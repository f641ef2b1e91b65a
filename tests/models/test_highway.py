"""Highway networks: the gate at its ends, the published count, and depth."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import nn
from models.highway import Highway, highway


@pytest.fixture
def x(rng):
    return mg.tensor(rng.standard_normal((4, 6)), dtype="float32")


def test_a_closed_gate_carries_the_input(x):
    close(Highway(6, gate_bias=-50)(x), x.numpy(), 0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_open_gate_transforms_it(x, batch_norm):
    layer = Highway(6, gate_bias=50, batch_norm=batch_norm)
    h = layer.transform(x)
    close(layer(x), mg.relu(layer.bn(h) if batch_norm else h).numpy(), 1e-6)


def test_a_gate_between(x):
    layer = Highway(6, gate_bias=0.0)
    t = mg.sigmoid(layer.gate(x)).numpy()
    assert t.min() > 0.01 and t.max() < 0.99
    h = mg.relu(layer.transform(x)).numpy()
    close(layer(x), t * h + (1 - t) * x.numpy(), 1e-6)


@pytest.mark.parametrize("depth", [1, 10, 20])
def test_depth_and_parameters(depth):
    """Each layer of 50 units has about 5,000 parameters (section 3.1)."""
    model = highway(depth)
    layers = [m for m in model.modules() if isinstance(m, Highway)]
    assert len(layers) == depth - 1
    assert {sum(p.size for p in layer.parameters()) for layer in layers} <= {5100}
    assert sum(isinstance(m, nn.Linear) for m in model) == 2


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients_reach_the_first_of_fifty_layers(rng, batch_norm):
    model = highway(50, classes=3, inputs=6, width=10, batch_norm=batch_norm, rng=rng)
    x = mg.tensor(rng.standard_normal((16, 6)), dtype="float32")
    mg.softmax_cross_entropy(model(x), mg.tensor(np.arange(16) % 3)).backward()
    first, last = (abs(model[i].weight.grad.numpy()).mean() for i in (0, len(model) - 1))
    assert 0.02 < first / last < 50
