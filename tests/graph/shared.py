"""What the tests of graphs share: a small network, its training step, and batches for it."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend, nn
from minigrad.kernels.numba import NumbaKernels

compiled_only = pytest.mark.skipif(
    not isinstance(backend.get("numpy").kernels, NumbaKernels),
    reason="only compiled kernels make programs",
)


def network(p=0.2):
    return nn.Sequential(
        nn.Linear(6, 8, bias=False),
        nn.BatchNorm(8),
        nn.Sigmoid(),
        nn.Dropout(p, rng=np.random.default_rng(3)),
        nn.Linear(8, 3),
    )


def step_of(model, optimizer):
    def step(x, t):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return step


def batches(rng, count=7, n=5):
    return [
        (mg.tensor(rng.standard_normal((n, 6)).astype("f")), mg.tensor(rng.integers(3, size=n)))
        for _ in range(count)
    ]
