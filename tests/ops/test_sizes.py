"""Sizes that no machine has the memory for: a ValueError that says which, before anything is allocated."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn
from minigrad.data import augment

X, W = (1, 1, 4, 4), (1, 1, 2, 2)


def convolved(name, **settings):
    cut = 3 if name == "conv1d" else 4
    return getattr(mg, name)(mg.ones(X[:cut]), mg.ones(W[:cut]), **settings)


WINDOWS = {
    "padding": lambda n: {"padding": n},
    "stride": lambda n: {"stride": n},
    "both": lambda n: {"padding": n, "stride": n},
    "dilation": lambda n: {"dilation": n},
    "dilation in padding": lambda n: {"dilation": n, "padding": n},
}


@pytest.mark.parametrize("n", [2**31, 2**40, 2**62, 2**63, 2**64])
@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("settings", WINDOWS)
def test_convolutions(name, settings, n):
    with refuses(ValueError, f"{name}: expected ") as caught:
        convolved(name, **WINDOWS[settings](n))
    assert str(n) in str(caught.value)


CALLS = {
    "conv2d: expected a height of 1 to 2147483647": lambda: convolved("conv2d", padding=2**30),
    "conv2d, padding included: expected fewer than 2**40": lambda: convolved(
        "conv2d", padding=2**19
    ),
    "conv2d: expected fewer than 2**40": lambda: mg.conv2d(
        mg.ones((1, 1, 2**10, 2**10)), mg.ones((2**20, 1, 1, 1))
    ),
    "conv_transpose2d: expected a height": lambda: convolved("conv_transpose2d", stride=2**31 - 1),
    "conv_transpose2d, padding included": lambda: convolved("conv_transpose2d", dilation=2**20),
    "output_padding of at most": lambda: convolved("conv_transpose2d", output_padding=2**62),
    "expected groups to divide": lambda: convolved("conv2d", groups=2**62),
    "max_pool2d: expected kernel_size of at most": lambda: mg.max_pool2d(mg.ones(X), 2**40),
    "MaxPool2d: expected stride of at most": lambda: nn.MaxPool2d(2, 2**62)(mg.ones(X)),
    "avg_pool2d: expected padding of at most": lambda: mg.avg_pool2d(mg.ones(X), 2, 2, 2**63),
    "avg_pool2d, padding included": lambda: mg.avg_pool2d(mg.ones(X), 2**20, 1, 2**19),
    "pad: expected fewer": lambda: mg.pad(mg.ones(2), 2**40),
    "full: expected fewer": lambda: mg.full(2**62, 1),
    "got shape (1099511627776,)": lambda: mg.zeros(2**40),
    "got shape (2097152, 2097152)": lambda: mg.ones((2**21, 2**21)),
    "broadcast_to: expected fewer": lambda: mg.ones(1).broadcast_to((2**62,)),
    "zeros: expected fewer": lambda: mg.zeros(0, 2**40),
    "pad: expected fewer than 2**40 elements, got shape (0,": lambda: mg.pad(
        mg.zeros(0, 2), ((0, 0), (2**63, 0))
    ),
    "shift: expected fewer": lambda: augment.shift(np.zeros((1, 4, 4)), 2**63, None),
    "arange: expected fewer": lambda: mg.arange(2**62),
    "expected finite numbers and step != 0, got 0, 1, 0": lambda: mg.arange(0, 1, 0),
    "expected finite numbers and step != 0, got 0, inf": lambda: mg.arange(0, float("inf")),
    "got shape (1152921504606846976,)": lambda: mg.arange(0, 1, 2**-60),
    "uniform: expected fewer": lambda: nn.Linear(2**21, 2**21),
    "Linear, in_features: expected fewer": lambda: nn.Linear(2**62, 1),
    "Conv2d: expected kernel_size of at most": lambda: nn.Conv2d(1, 1, 2**40),
    "Conv1d, kernel_size: expected fewer": lambda: nn.Conv1d(1, 1, 2**40),
    "BatchNorm, num_features: expected fewer": lambda: nn.BatchNorm(2**62),
    "dense 'n/dense', units: expected fewer": lambda: mg.layers.make_template(
        "n", lambda x: mg.layers.dense(x, 2**62)
    )(mg.ones((2, 3))),
}


@pytest.mark.parametrize("words", CALLS)
def test_everything_else(words):
    with refuses(ValueError, words):
        CALLS[words]()
