"""The network of the digits example on the backend under test and on NumPy: one hundred steps, the same losses."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader
from models.mlp import MLP

STEPS = 100


def losses(backend, batch_norm, make_optimizer):
    """Of the steps that ``examples.deep_sigmoid_mlp`` takes, in float32."""
    images, labels = mg.data.digits()
    model = MLP((64, 100, 100, 100, 10), batch_norm=batch_norm, rng=np.random.default_rng(0))
    optimizer = make_optimizer(model.to(backend).parameters())
    loader = DataLoader(
        [images.reshape(-1, 64), labels], 60, rng=np.random.default_rng(1), backend=backend
    )
    found = []
    while len(found) < STEPS:
        for x, t in loader:
            assert x.backend == t.backend == backend and x.dtype == np.float32
            optimizer.zero_grad()
            loss = mg.softmax_cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found[:STEPS]


@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "plain"])
@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda p: mg.optim.SGD(p, lr=0.1),
        lambda p: mg.optim.SGD(p, lr=0.1, momentum=0.9),
        mg.optim.Adam,
    ],
    ids=["SGD", "momentum", "Adam"],
)
def test_losses_agree_over_100_steps(backend, batch_norm, make_optimizer):
    expected = losses("numpy", batch_norm, make_optimizer)
    np.testing.assert_allclose(
        losses(backend, batch_norm, make_optimizer), expected, rtol=0, atol=1e-4
    )
    assert not batch_norm or expected[-1] < 0.5 * expected[0]
