"""Training on the backend under test and on NumPy gives the same losses and state, in float32."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim
from minigrad.data import DataLoader
from models.lenet_bn import LeNet
from models.mlp import MLP


def mlp(rng):
    return MLP((64, 100, 100, 100, 10), rng=rng)


def plain(rng):
    return MLP((64, 100, 100, 100, 10), batch_norm=False, rng=rng)


def cnn(rng):
    return LeNet(size=8, rng=rng)


#: network, its optimizer, steps, tolerance of losses and state
TRAINED = {
    "MLP, SGD": (mlp, lambda p: optim.SGD(p, lr=0.1), 100, 1e-4),
    "MLP, momentum": (mlp, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 100, 1e-4),
    "MLP, Adam": (mlp, optim.Adam, 100, 1e-4),
    "MLP without batch norm": (plain, optim.Adam, 100, 1e-4),
    "MLP, one step": (mlp, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 1, 1e-5),
    "CNN, one step": (cnn, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 1, 1e-5),
}


def trained(backend, make, make_optimizer, steps):
    """Losses, and for one step what the model holds after it."""
    images, labels = mg.data.digits()
    model = make(np.random.default_rng(0)).to(backend)
    images = images.reshape(-1, *((1, 8, 8) if make is cnn else (64,)))
    optimizer = make_optimizer(model.parameters())
    loader = DataLoader([images, labels], 60, rng=np.random.default_rng(1), backend=backend)
    losses = []
    while len(losses) < steps:
        for x, t in loader:
            assert x.backend == t.backend == backend and x.dtype == np.float32
            optimizer.zero_grad()
            loss = mg.softmax_cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return {"losses": np.array(losses)} | (model.state_dict() if steps == 1 else {})


@pytest.mark.parametrize(("make", "optimizer", "steps", "atol"), TRAINED.values(), ids=TRAINED)
def test_training_agrees(backend, make, optimizer, steps, atol):
    expected = trained("numpy", make, optimizer, steps)
    found = expected if backend == "numpy" else trained(backend, make, optimizer, steps)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol, err_msg=name)
    if steps == 100 and make is mlp:
        assert expected["losses"][-1] < 0.5 * expected["losses"][0]
