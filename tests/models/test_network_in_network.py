"""Network in Network: the authors' count of parameters, and what batch norm replaces."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import nn
from models.network_in_network import network_in_network


def kinds(model):
    return [type(layer).__name__ for layer in model]


def test_parameters():
    """Those of the network that the authors published for CIFAR-10."""
    assert sum(p.size for p in network_in_network().parameters()) == 966_986


@pytest.mark.parametrize("size", [8, 11, 32])
def test_images_of_any_size(rng, size):
    """Each class has a map, a quarter as large as the image; its mean is the logit."""
    model = network_in_network(classes=7, width=6)
    x = mg.tensor(rng.standard_normal((2, 3, size, size)), dtype="float32")
    maps = nn.Sequential(*model.eval().layers[:-1])(x)
    assert maps.shape == (2, 7, -(-size // 4), -(-size // 4))
    close(model(x), maps.numpy().mean((2, 3)), 1e-6)


def test_batch_norm_instead_of_biases_and_dropout():
    plain, bn = (
        network_in_network(width=6, batch_norm=b, rng=np.random.default_rng(0))
        for b in (False, True)
    )
    assert kinds(plain).count("Dropout") == 2 and kinds(plain).count("BatchNorm") == 0
    assert kinds(bn).count("Dropout") == 0 and kinds(bn).count("BatchNorm") == 8
    for layer, following in zip(bn, list(bn)[1:], strict=False):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(following, nn.BatchNorm) == (layer.bias is None)
    ours, theirs = ([p.numpy() for p in m.parameters() if p.ndim == 4] for m in (bn, plain))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 0)
