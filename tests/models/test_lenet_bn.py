"""LeNet: sizes, with and without batch norm, and PyTorch's twin."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, refuses

import minigrad as mg
from minigrad.interop import from_torch
from models.lenet_bn import LeNet, lenet_bn


@pytest.mark.parametrize("size", [4, 8, 28, 32])
def test_sizes(rng, size):
    x = mg.tensor(rng.standard_normal((3, 2, size, size)), dtype="float32")
    assert lenet_bn(classes=7, channels=2, size=size)(x).shape == (3, 7)


@pytest.mark.parametrize("size", [0, 2, 30])
def test_sizes_that_two_pools_do_not_halve(size):
    with refuses(ValueError, f"LeNet: expected size to be a multiple of 4, got {size}"):
        lenet_bn(size=size)


def test_without_batch_norm_there_are_biases_and_the_same_weights():
    bn, plain = (LeNet(batch_norm=b, rng=np.random.default_rng(0)) for b in (True, False))
    ours, theirs = bn.state_dict(), plain.state_dict()
    assert set(theirs) - set(ours) == {f"{name}.bias" for name in ("conv1", "conv2", "fc1")}
    for name in ("conv1", "conv2", "fc1", "fc2"):
        close(ours[f"{name}.weight"], theirs[f"{name}.weight"], 0)


def test_the_activation_stands_behind_batch_norm(rng):
    """Each activation sees channels of mean 0 and variance 1."""
    seen = []

    def activation(x):
        seen.append(x.numpy())
        return mg.sigmoid(x)

    x = mg.tensor(3 + 5 * rng.standard_normal((20, 1, 8, 8)), dtype="float32")
    lenet_bn(size=8, activation=activation)(x)
    assert [a.shape for a in seen] == [(20, 16, 8, 8), (20, 32, 4, 4), (20, 128)]
    for a in seen:
        axes = (0, *range(2, a.ndim))
        close(a.mean(axes), np.zeros(a.shape[1]), 1e-5)
        close(a.var(axes), np.ones(a.shape[1]), 0.05)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_twin_in_torch(torch, rng, activation):
    t, f = torch.nn, torch.nn.functional
    act = getattr(torch, activation)

    class Twin(t.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = t.Conv2d(1, 16, 5, padding=2, bias=False), t.BatchNorm2d(16)
            self.conv2, self.bn2 = t.Conv2d(16, 32, 5, padding=2, bias=False), t.BatchNorm2d(32)
            self.fc1, self.bn3 = t.Linear(32 * 7 * 7, 128, bias=False), t.BatchNorm1d(128)
            self.fc2 = t.Linear(128, 10)

        def forward(self, x):
            x = f.max_pool2d(act(self.bn1(self.conv1(x))), 2)
            x = f.max_pool2d(act(self.bn2(self.conv2(x))), 2)
            return self.fc2(act(self.bn3(self.fc1(x.flatten(1)))))

    torch.manual_seed(0)
    x = rng.standard_normal((16, 1, 28, 28)).astype(np.float32)
    twin, model = Twin(), lenet_bn(activation=getattr(mg, activation))
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1 * torch.randn(p.shape))
        for _ in range(3):
            twin(torch.from_numpy(2 * x + 1))
        from_torch(model, twin.state_dict())
        close(model.eval()(mg.tensor(x)), twin.eval()(torch.from_numpy(x)).numpy(), 1e-5)
        model.train()(mg.tensor(x))
        twin.train()(torch.from_numpy(x))
        close(model.bn3.running_var, twin.bn3.running_var.numpy(), 1e-5)
