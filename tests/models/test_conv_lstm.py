"""ConvLSTM: the published counts, the cell, and how states go from network to network."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import nn
from models.conv_lstm import Cell, conv_lstm


@pytest.mark.parametrize(
    ("hidden", "parameters"),
    [((256,), 13_524_496), ((128, 128), 10_042_896), ((128, 64, 64), 7_585_296)],
)
def test_parameters(hidden, parameters, monkeypatch):
    """Table 1 of the paper, to the last one."""
    monkeypatch.setattr(nn.init, "uniform", lambda shape, *_, **__: np.zeros(shape, np.float32))
    assert sum(p.size for p in conv_lstm(hidden=hidden).parameters()) == parameters


def normal(rng, *shape):
    return mg.tensor(rng.standard_normal(shape).astype(np.float32))


class TestCell:
    def test_without_peepholes_it_is_the_layer(self, rng):
        """``nn.ConvLSTM``, whose convolutions of input and state are one here."""
        cell, layer = Cell(2, 3, 3, rng), nn.ConvLSTM(2, 3, 3)
        weight = cell.conv.weight.numpy()
        layer.input.weight.data = mg.tensor(weight[:, :2]).data
        layer.hidden.weight.data = mg.tensor(weight[:, 2:]).data
        for conv in (cell.conv, layer.input):
            conv.bias.data = mg.tensor(np.linspace(-1, 1, 12, dtype=np.float32)).data
        x, h, c = normal(rng, 4, 2, 5, 6), normal(rng, 4, 3, 5, 6), normal(rng, 4, 3, 5, 6)
        _, (expected_h, expected_c) = layer(x.reshape(4, 1, 2, 5, 6), (h, c))
        new_h, new_c = cell(x, h, c)
        close(new_h, expected_h, 1e-5)
        close(new_c, expected_c, 1e-5)

    def test_gates_see_the_cell(self, rng):
        """Those of input and forgetting the last one, that of the output the new one (equation 3)."""
        cell = Cell(0, 2, 3, rng)
        cell.conv.weight.data = cell.conv.weight.filled(0).data
        cell.peepholes.data = (
            mg.tensor(np.float32([[1, 2], [3, 4], [5, 6]])).reshape(3, 2, 1, 1).data
        )
        cell.conv.bias.data = mg.tensor(np.linspace(-1, 1, 8, dtype=np.float32)).data
        h, c = normal(rng, 3, 2, 4, 4), normal(rng, 3, 2, 4, 4)
        new_h, new_c = (t.numpy() for t in cell(None, h, c))
        b = np.linspace(-1, 1, 8).reshape(4, 2, 1, 1)
        w, old = cell.peepholes.numpy(), c.numpy()

        def sigmoid(a):
            return 1 / (1 + np.exp(-a))

        i, f = sigmoid(b[0] + w[0] * old), sigmoid(b[1] + w[1] * old)
        close(new_c, f * old + i * np.tanh(b[2]), 1e-5)
        close(new_h, sigmoid(b[3] + w[2] * new_c) * np.tanh(new_c), 1e-5)


class TestFilms:
    @pytest.fixture
    def model(self, rng):
        return conv_lstm(channels=2, hidden=(4, 3), kernel_size=3, rng=rng)

    def test_frames(self, model, rng):
        y = model(normal(rng, 2, 3, 2, 5, 6), steps=4).numpy()
        assert y.shape == (2, 4, 2, 5, 6)
        assert (y > 0).all() and (y < 1).all()

    def test_the_forecast_goes_on(self, model, rng):
        """Longer forecasts begin with the shorter ones, and each frame is another."""
        x = normal(rng, 2, 3, 2, 5, 6)
        short, long = model(x, steps=2), model(x, steps=4).numpy()
        close(short, long[:, :2], 1e-6)
        assert all(abs(long[:, i] - long[:, i + 1]).max() > 1e-3 for i in range(3))

    @pytest.mark.parametrize("t", [0, 2])
    def test_every_frame_counts(self, model, rng, t):
        x = normal(rng, 2, 3, 2, 5, 6).numpy()
        y = model(mg.tensor(x)).numpy()
        x[:, t] += 1
        assert abs(model(mg.tensor(x)).numpy() - y).max() > 1e-4

    def test_an_untouched_film_of_nothing(self, model):
        """All states begin at zero: with zeros and no biases nothing ever moves."""
        y = model(mg.zeros((1, 3, 2, 5, 6)), steps=2)
        close(y, np.full(y.shape, 0.5), 1e-6)
