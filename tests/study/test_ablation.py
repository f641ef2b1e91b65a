"""Training without a path of the gradient: section 2 of the paper, a bias that grows while the loss stands still."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal, normal, refuses

import minigrad as mg
from minigrad import nn
from minigrad.study import AblatedBatchNorm

pytestmark = pytest.mark.usefixtures("backend")


def biases(layer, steps=50):
    """The bias before a batch norm over training, and the losses."""
    rng = np.random.default_rng(0)
    linear = nn.Linear(1, 1, rng=rng, dtype=np.float64)
    x, t = (mg.tensor(rng.standard_normal((16, 1))) for _ in range(2))
    t = t + 1
    optimizer = mg.optim.SGD([linear.bias], lr=0.1)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mg.mse_loss(layer(linear(x)), t)
        loss.backward()
        optimizer.step()
        history.append((linear.bias.item(), loss.item()))
    return np.array(history).T


def test_without_the_mean_path_the_bias_grows_and_the_loss_stands_still():
    settings = {"center": False, "dtype": np.float64}
    bias, losses = biases(AblatedBatchNorm(1, ("mean",), **settings))
    close(losses, np.full(50, losses[0]), 1e-9)
    assert np.diff(bias).min() > 0 and bias[-1] > 5
    bias, losses = biases(nn.BatchNorm(1, **settings))
    close(bias, np.full(50, bias[0]), 1e-9)


def test_nothing_left_out_is_batch_norm(rng):
    a, b = AblatedBatchNorm(3, (), dtype=np.float64), nn.BatchNorm(3, dtype=np.float64)
    x, gy = normal(rng, 6, 3, requires_grad=True), normal(rng, 6, 3)
    close(a(x), b(x))
    close(mg.grad(a(x), x, gy), mg.grad(b(x), x, gy))
    for p, q in zip(a.buffers(), b.buffers(), strict=True):
        equal(p, q)


def test_masks_are_refused(rng):
    with refuses(ValueError, "AblatedBatchNorm: expected neither mask nor weight"):
        AblatedBatchNorm(3, dtype=np.float64)(normal(rng, 2, 3), mask=[True, True])
