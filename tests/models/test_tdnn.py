"""Time-delay networks: what each output sees, and the published count of connections."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from models.tdnn import tdnn, waibel_tdnn


def seen(model, x, t):
    """The frames that the logits at frame ``t`` depend on, in eval, since batch norm sees all in training."""
    x = mg.tensor(x, requires_grad=True)
    model(x)
    gx = mg.grad(model.eval().frames(x)[:, :, t].sum(), x)
    return set(np.flatnonzero(gx.numpy().any((0, 1))))


@pytest.fixture
def x(rng):
    return rng.standard_normal((8, 4, 30)).astype(np.float32)


@pytest.mark.parametrize("t", [0, 3])
def test_frames_that_the_network_of_2015_sees(x, t):
    """Sums of one offset of each layer: from 13 frames before to 9 after."""
    offsets = product(range(-2, 3), (-1, 2), (-3, 3), (-7, 2))
    expected = {13 + t + sum(o) for o in offsets}
    assert min(expected) == t and max(expected) == t + 22
    assert seen(tdnn(features=4, width=32), x, t) == expected


def test_frames_that_the_network_of_1989_sees(x):
    assert seen(waibel_tdnn(features=4), x, 2) == set(range(2, 2 + 3 + 5 - 1))


def test_connections_of_the_network_of_1989():
    """6,233 with those of the sum, whose weights are fixed: 9 for each class and a bias."""
    model = waibel_tdnn()
    hidden = model.layers[0](mg.zeros((1, 16, 15)))
    frames = model.frames(mg.zeros((1, 16, 15)))
    assert hidden.shape == (1, 8, 13) and frames.shape == (1, 3, 9)
    first, second = (
        sum(p.size for p in layer.parameters()) for layer in (model.layers[0], model.output)
    )
    assert 13 * first + 9 * second + 3 * (9 + 1) == 6233


def test_logits_are_means_over_time(x):
    model, x = waibel_tdnn(features=4), mg.tensor(x)
    close(model(x), model.frames(x).numpy().mean(2), 1e-6)
    assert model(x[:, :, :7]).shape == (8, 3)


def test_batch_norm_takes_the_biases_away():
    bn, plain = tdnn(features=4, width=5), waibel_tdnn()
    biases = [name for name, _ in bn.named_parameters() if name.endswith("bias")]
    assert biases == ["output.bias"]
    assert len([name for name, _ in plain.named_parameters() if name.endswith("bias")]) == 2
