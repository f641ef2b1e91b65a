"""Recurrent layers against their equations, and PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, error_table, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def randomized(layer, rng):
    for p in layer.parameters():
        p.data = mg.tensor(rng.standard_normal(p.shape) / 2).data
    return layer


def test_lstm_by_its_equations(rng):
    layer, x = randomized(nn.LSTM(3, 4, **F64), rng), normal(rng, 2, 5, 3)
    hidden, (last_h, last_c) = layer(x)
    h, c = np.zeros((2, 2, 4))
    for t in range(5):
        total = x.numpy()[:, t] @ layer.weight_ih.numpy().T + h @ layer.weight_hh.numpy().T
        i, f, g, o = np.split(total + layer.bias.numpy(), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        close(hidden[:, t], h)
    close(last_h, h)
    close(last_c, c)


@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_pieces_make_the_whole(rng, name):
    layer, x = getattr(nn, name)(3, 4, **F64), normal(rng, 2, 6, 3)
    whole, _ = layer(x)
    first, state = layer(x[:, :2])
    second, _ = layer(x[:, 2:], state)
    close(mg.concatenate([first, second], axis=1), whole)
    whole.sum().backward()
    assert all(p.grad.numpy().any() for p in layer.parameters())


def test_an_lstm_starts_by_remembering():
    layer = nn.LSTM(3, 2)
    np.testing.assert_array_equal(layer.bias.numpy(), [0, 0, 1, 1, 0, 0, 0, 0])
    assert repr(layer) == "LSTM(3, 2)"


@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_torch(rng, torch, name):
    layer = randomized(getattr(nn, name)(3, 4, **F64), rng)
    other = getattr(torch.nn, name)(3, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        other.weight_ih_l0.copy_(torch.tensor(layer.weight_ih.numpy()))
        other.weight_hh_l0.copy_(torch.tensor(layer.weight_hh.numpy()))
        other.bias_ih_l0.copy_(torch.tensor(layer.bias.numpy()))
        other.bias_hh_l0.zero_()
    x = rng.standard_normal((2, 7, 3))
    close(layer(mg.tensor(x))[0], other(torch.tensor(x))[0].detach().numpy(), 1e-10)


@error_table(
    {
        "size": (
            ValueError,
            "LSTM: expected x of shape (n, time, 3), got (2, 5, 4)",
            lambda: nn.LSTM(3, 2)(mg.ones((2, 5, 4))),
        ),
        "no steps": (ValueError, "got (2, 0, 3)", lambda: nn.RNN(3, 2)(mg.ones((2, 0, 3)))),
        "hidden": (
            ValueError,
            "RNN: expected hidden_size to be a positive integer, got 0",
            lambda: nn.RNN(3, 0),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
