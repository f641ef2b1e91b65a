"""Training on the backend under test and on NumPy: one step of an MLP and of a CNN, a hundred of the digits example."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader
from models.lenet_bn import LeNet
from models.mlp import MLP

STEPS = 100

#: how to make a network, and the shape of its images
NETWORKS = {
    "MLP": (lambda rng: MLP((64, 100, 100, 100, 10), rng=rng), (60, 64)),
    "CNN": (lambda rng: LeNet(size=8, rng=rng), (32, 1, 8, 8)),
}


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


def one_step(backend, make, shape):
    """The loss, and what the model holds after a step of SGD with momentum, in float32."""
    rng = np.random.default_rng(0)
    model = make(rng).to(backend)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = mg.tensor(rng.standard_normal(shape), dtype="float32", backend=backend)
    t = mg.tensor(rng.integers(10, size=shape[0]), backend=backend)
    loss = mg.softmax_cross_entropy(model(x), t)
    loss.backward()
    optimizer.step()
    return {"loss": loss.numpy(), **model.state_dict()}


@pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)
def test_one_step_agrees(backend, make, shape):
    expected, found = (one_step(name, make, shape) for name in ("numpy", backend))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
