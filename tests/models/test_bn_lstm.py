"""Recurrent batch norm: the equations, statistics of each step, and the noise before the first."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from models.bn_lstm import BNLSTM, bn_lstm, lstm


@pytest.fixture
def x(rng):
    return mg.tensor(rng.standard_normal((7, 4, 3)), dtype="float32")


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def test_equations(x, rng):
    """6 to 8 of the paper, in NumPy."""
    layer = BNLSTM(3, 5, max_steps=4, noise=0, rng=rng)
    for p in layer.parameters():
        p.data = mg.tensor(rng.standard_normal(p.shape).astype(np.float32)).data
    p = {name.replace("steps.0.", ""): v.numpy() for name, v in layer.named_parameters()}

    def bn(a):
        return (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-3)

    h = c = np.zeros((7, 5))
    hidden, (last_h, last_c) = layer(x)
    for t in range(4):
        from_h = p["bn_h.gamma"] * bn(h @ p["weight_hh"].T)
        from_x = p["bn_x.gamma"] * bn(x.numpy()[:, t] @ p["weight_ih"].T)
        i, f, g, o = np.split(from_h + from_x + p["bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(p["bn_c.gamma"] * bn(c) + p["bn_c.beta"])
        close(hidden[:, t], h, 1e-4)
    close(last_h, h, 1e-4)
    close(last_c, c, 1e-4)


def test_parameters_begin_as_in_the_paper():
    """Gammas at 0.1, one bias for the gates, whose batch norms have no beta; the forget gate's bias at 1."""
    layer = BNLSTM(3, 5, max_steps=4)
    p = {name.replace("steps.0.", ""): v.numpy() for name, v in layer.named_parameters()}
    norms = {"bn_x.gamma", "bn_h.gamma", "bn_c.gamma", "bn_c.beta"}
    assert set(p) == {"weight_ih", "weight_hh", "bias"} | norms
    for name in ("bn_x.gamma", "bn_h.gamma", "bn_c.gamma"):
        close(p[name], np.full(p[name].shape, np.float32(0.1)), 0)
    close(p["bias"], np.repeat(np.float32([0, 1, 0, 0]), 5), 0)
    count = sum(a.size for a in p.values())
    assert count == 4 * 5 * (3 + 5 + 1) + 2 * 4 * 5 + 2 * 5


def test_weights_are_those_of_the_plain_network():
    bn, plain = (
        factory(features=3, hidden=5, rng=np.random.default_rng(0)).state_dict()
        for factory in (bn_lstm, lstm)
    )
    assert set(plain) < set(bn)
    for name, a in plain.items():
        close(bn[name], a, 0)


def test_each_step_has_statistics_of_its_own(x):
    layer = BNLSTM(3, 5, max_steps=4)
    layer(x[:, :3])
    for norm in (layer.bn_x, layer.bn_h, layer.bn_c):
        assert [int(step.num_batches.item()) for step in norm.steps] == [1, 1, 1, 0]
        means = [step.running_mean.numpy() for step in norm.steps]
        assert (means[1] != means[2]).any()
    expected = 0.1 * (x.numpy()[:, 1] @ layer.weight_ih.numpy().T).mean(0)
    close(layer.bn_x.steps[1].running_mean, expected, 1e-5)


def test_longer_sequences_in_eval(x):
    model = bn_lstm(classes=2, features=3, hidden=5, max_steps=2)
    model(x[:, :2])
    longer, last = model.eval().lstm(x)[0].numpy(), model.lstm.bn_c.steps[1].num_batches
    assert longer.shape == (7, 4, 5) and np.isfinite(longer).all()
    close(model.lstm(x[:, :3])[0], longer[:, :3], 1e-6)
    assert last.item() == 1


def test_noise_before_the_first_step_in_training_only(x):
    """It gives the first step of the hidden state a variance to divide by."""
    layer = BNLSTM(3, 5, max_steps=4, rng=np.random.default_rng(0))
    h, c = layer.initial(mg.zeros((2000, 1, 3)))
    assert abs(h.numpy().std() - 0.1) < 0.005 and not c.numpy().any()
    assert (layer.initial(x)[0].numpy() != layer.initial(x)[0].numpy()).all()
    assert not layer.eval().initial(x)[0].numpy().any()
    assert not BNLSTM(3, 5, 4, noise=0).initial(x)[0].numpy().any()


def test_sequences_that_begin_alike_train(rng):
    """As pictures do, whose first rows are black."""
    model = bn_lstm(classes=2, features=3, hidden=5, max_steps=20, rng=rng)
    x = np.zeros((8, 20, 3), np.float32)
    x[:, 15:] = rng.standard_normal((8, 5, 3))
    loss = mg.softmax_cross_entropy(model(mg.tensor(x)), mg.tensor(np.arange(8) % 2))
    loss.backward()
    assert max(abs(p.grad.numpy()).max() for p in model.parameters()) < 10
