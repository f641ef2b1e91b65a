"""Everything together: a net with batch norm learns, the same on every backend, and the same bits every time."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def spirals(n, rng):
    """Two interleaved spirals, which no line tells apart."""
    radius, labels = rng.uniform(0.2, 1, n), rng.integers(0, 2, n)
    angle = 5 * radius + np.pi * labels
    points = radius * np.stack([np.cos(angle), np.sin(angle)])
    return points.T.astype(np.float32), labels


def adam(params):
    return mg.optim.Adam(params, lr=0.02)


def sgd(params):
    return mg.optim.SGD(params, lr=0.2, momentum=0.9, nesterov=True)


def train(make_optimizer=adam, epochs=30, seed=0, dropout=0.0):
    """The losses, what was learnt, and the share of new points that it tells apart."""
    mg.manual_seed(seed)
    data_rng = np.random.default_rng(5)
    x, labels = spirals(256, data_rng)
    net = nn.Sequential(
        nn.Linear(2, 32, bias=False),
        nn.BatchNorm(32, momentum=0.9),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(32, 2),
    )
    optimizer = make_optimizer(net.parameters())
    losses = []
    for _ in range(epochs):
        for batch, its_labels in mg.data.DataLoader([x, labels], 32):
            loss = mg.softmax_cross_entropy(net(batch), its_labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    new_x, new_labels = spirals(500, data_rng)
    with mg.no_grad():
        told = mg.argmax(net.eval()(mg.tensor(new_x)), axis=1).numpy()
    return np.array(losses), net.state_dict(), (told == new_labels).mean()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("make_optimizer", [adam, sgd])
def test_it_learns(make_optimizer):
    losses, state, right = train(make_optimizer)
    assert losses[-8:].mean() < losses[:8].mean() / 5
    assert right > 0.95
    assert state["1.num_batches"] == len(losses) == 240


@pytest.mark.usefixtures("backend")
def test_a_seed_repeats_every_bit():
    def bits(seed):
        losses, state, _ = train(epochs=2, seed=seed, dropout=0.2)
        return [losses.tobytes(), *(a.tobytes() for a in state.values())]

    one = bits(1)
    assert bits(1) == one
    assert bits(2) != one
