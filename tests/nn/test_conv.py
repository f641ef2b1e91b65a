"""Convolutions and pools as layers: each is its op, with weights of the field's shapes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, double, error_table, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


def test_conv2d_is_its_op(rng):
    layer = double(nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, **F64))
    x = normal(rng, 2, 4, 7, 6)
    expected = mg.conv2d(x, layer.weight, layer.bias, (2, 1), (1, 0), (1, 2), 2)
    close(layer(x), expected, 0)
    assert {n: a.shape for n, a in layer.state_dict().items()} == {
        "weight": (6, 2, 3, 2),
        "bias": (6,),
    }


def test_conv1d_is_its_op(rng):
    layer = double(nn.Conv1d(4, 6, 3, 2, "same", groups=2, **F64))
    x = normal(rng, 2, 4, 7)
    close(layer(x), mg.conv1d(x, layer.weight, layer.bias, 2, "same", groups=2), 0)
    assert layer.weight.shape == (6, 2, 3)


def test_conv_transpose2d_is_its_op(rng):
    layer = double(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, **F64))
    x = normal(rng, 2, 4, 3, 5)
    expected = mg.conv_transpose2d(x, layer.weight, layer.bias, 2, 1, 1, groups=2)
    close(layer(x), expected, 0)
    assert layer.weight.shape == (4, 3, 3, 3)


def test_pools_are_their_ops(rng):
    x = normal(rng, 2, 3, 7, 6)
    close(nn.MaxPool2d(3, 2, 1)(x), mg.max_pool2d(x, 3, 2, 1), 0)
    close(nn.AvgPool2d((2, 3))(x), mg.avg_pool2d(x, (2, 3)), 0)
    close(nn.GlobalAvgPool2d()(x), x.mean((2, 3)), 0)


def test_weights_begin_as_he_has_them():
    weight = nn.Conv2d(50, 40, 3, rng=np.random.default_rng(0)).weight.numpy()
    assert abs(weight.std() - np.sqrt(2 / (50 * 9))) < 1e-3
    assert not nn.Conv2d(3, 4, 3).bias.numpy().any()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(1, 16, 3), "Conv2d(1, 16, kernel_size=(3, 3), stride=1)"),
        (
            nn.Conv2d(4, 8, (3, 5), 2, "same", 1, 4, bias=False),
            "Conv2d(4, 8, kernel_size=(3, 5), stride=2, padding='same', groups=4, bias=False)",
        ),
        (nn.Conv1d(1, 2, 5, dilation=2), "Conv1d(1, 2, kernel_size=(5,), stride=1, dilation=2)"),
        (
            nn.ConvTranspose2d(2, 1, 2, 2, output_padding=1),
            "ConvTranspose2d(2, 1, kernel_size=(2, 2), stride=2, output_padding=1)",
        ),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0)"),
        (nn.AvgPool2d(3, 1, 1), "AvgPool2d(kernel_size=3, stride=1, padding=1)"),
    ],
)
def test_repr(layer, text):
    assert repr(layer) == text


@error_table(
    {
        "channels": (
            ValueError,
            "Conv2d: expected in_channels to be a positive integer, got 0",
            lambda: nn.Conv2d(0, 1, 3),
        ),
        "groups": (
            ValueError,
            "Conv2d: expected groups to divide 4 and 6 channels, got 4",
            lambda: nn.Conv2d(4, 6, 3, groups=4),
        ),
        "kernel": (
            ValueError,
            "Conv2d: expected kernel_size as an int >= 1 or a pair of them, got (3, 0)",
            lambda: nn.Conv2d(4, 6, (3, 0)),
        ),
        "kernel of a sequence": (
            ValueError,
            "Conv1d: expected kernel_size to be a positive integer, got (3, 3)",
            lambda: nn.Conv1d(4, 6, (3, 3)),
        ),
        "input": (
            ValueError,
            "conv2d: expected x of 3 channels",
            lambda: nn.Conv2d(3, 6, 3)(mg.ones((1, 4, 5, 5))),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
