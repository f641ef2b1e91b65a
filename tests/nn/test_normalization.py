"""Layer, group and instance norm as layers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, double, error_table, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}
LAYERS = {
    "LayerNorm": (lambda: nn.LayerNorm((3, 4), **F64), (5, 2, 3, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4, **F64), (5, 4, 3)),
    "InstanceNorm": (lambda: nn.InstanceNorm(3, affine=True, **F64), (5, 3, 4)),
}


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_is_its_op_in_both_modes(rng, make, shape):
    layer, x = double(make()), normal(rng, *shape)
    gamma, beta = layer.gamma, layer.beta
    expected = {
        "LayerNorm": lambda: mg.layer_norm(x, gamma, beta, 2),
        "GroupNorm": lambda: mg.group_norm(x, 2, gamma, beta),
        "InstanceNorm": lambda: mg.instance_norm(x, gamma, beta),
    }[type(layer).__name__]()
    before = content(layer)
    for training in [True, False]:
        close(layer.train(training)(x), expected, 0)
    assert content(layer) == before and not layer.buffers()


def test_without_parameters(rng):
    layers = [nn.LayerNorm(4, affine=False), nn.GroupNorm(2, 4, affine=False), nn.InstanceNorm(4)]
    for layer in layers:
        assert not layer.state_dict()
        assert layer(mg.tensor(rng.standard_normal((2, 4, 4)))).shape == (2, 4, 4)
    assert repr(layers[0]) == "LayerNorm((4,), eps=1e-05, affine=False)"
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05)"


@error_table(
    {
        "features": (
            ValueError,
            "LayerNorm: expected x of shape (..., 3, 4), got (2, 4, 3)",
            lambda: nn.LayerNorm((3, 4))(mg.ones((2, 4, 3))),
        ),
        "channels": (
            ValueError,
            "GroupNorm '0': expected x of shape (n, 4, ...), got (2, 3)",
            lambda: nn.Sequential(nn.GroupNorm(2, 4))(mg.ones((2, 3))),
        ),
        "instance channels": (
            ValueError,
            "InstanceNorm: expected x of shape (n, 4, ...), got (2, 3, 5)",
            lambda: nn.InstanceNorm(4)(mg.ones((2, 3, 5))),
        ),
        "groups": (
            ValueError,
            "GroupNorm: expected groups that divide 4 channels, got 3",
            lambda: nn.GroupNorm(3, 4),
        ),
        "size": (
            ValueError,
            "LayerNorm: expected normalized_shape to be a positive integer, got 0",
            lambda: nn.LayerNorm(0),
        ),
        "no axes": (
            ValueError,
            "LayerNorm: expected normalized_shape to be a positive integer, got 0",
            lambda: nn.LayerNorm(()),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
