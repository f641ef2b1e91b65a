"""A training step transfers nothing between host and device, and waits for nothing, except for reading the loss."""

from __future__ import annotations

import numpy as np
import pytest
import strict
from graph.shared import step_of

import minigrad as mg
from minigrad import nn, optim
from models.mlp import MLP
from models.resnet import resnet20

pytestmark = pytest.mark.usefixtures("emulated")


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(72, 10),
    )


CASES = {
    "MLP, SGD": (MLP, (784,), lambda p: optim.SGD(p, lr=0.1)),
    "convolutional, Adam": (convolutional, (3, 8, 8), optim.Adam),
    "ResNet-20, momentum": (
        resnet20,
        (3, 8, 8),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    ),
}


@pytest.mark.parametrize(("make", "shape", "optimizer"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
def test_a_step_sends_nothing_but_the_loss(make, shape, optimizer, captured, rng):
    model = make()
    optimizer = optimizer(model.parameters())
    x = mg.tensor(rng.standard_normal((6, *shape)).astype(np.float32))
    t = mg.tensor(np.arange(6))

    step = step_of(model, optimizer)
    if captured:
        step = mg.capture(step, x, t)
        step(x, t), step(x, t)
    before = strict.crossings.copy()
    loss = step(x, t)
    # Seeds of dropout masks are drawn by the host: a recording has to be sent them.
    sent = int(captured and make is convolutional)
    assert crossed(before) == {"from_numpy": sent, "to_numpy": 0}
    assert np.isfinite(loss.item())
    assert crossed(before) == {"from_numpy": sent, "to_numpy": 1}


def test_changes_in_place_send_nothing():
    p, g = mg.ones(3, requires_grad=True), mg.ones(3)
    before = strict.crossings.copy()
    with mg.no_grad():
        p -= 0.1 * g
        p **= 2
        p[1] = 3
        p.copy_(2.5)
    assert crossed(before) == {"from_numpy": 0, "to_numpy": 0}


@pytest.mark.parametrize(
    ("direction", "way"),
    [
        ("to_numpy", lambda x: bool(x.data)),
        ("to_numpy", lambda x: x.data.item()),
        ("to_numpy", lambda x: x.data.tolist()),
        ("to_numpy", lambda x: x.numpy()),
        ("from_numpy", lambda x: mg.tensor([1.0])),
        ("from_numpy", lambda x: mg.backend.default().xp.asarray(1.0)),
    ],
)
def test_every_way_is_counted(direction, way):
    x, before = mg.ones(1), strict.crossings.copy()
    way(x)
    assert crossed(before)[direction] == 1


def crossed(before):
    return {direction: n - before[direction] for direction, n in strict.crossings.items()}
