"""Layers: each is its op, says its settings, and Dropout differs between training and eval."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, double, equal, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}

#: a layer with random parameters, the same by its op, an input's shape, and the shapes of the state
OPS = {
    "Sigmoid": (nn.Sigmoid, lambda m, x: mg.sigmoid(x), (4, 3), {}),
    "ReLU": (nn.ReLU, lambda m, x: mg.relu(x), (4, 3), {}),
    "Tanh": (nn.Tanh, lambda m, x: mg.tanh(x), (4, 3), {}),
    **{
        f"Flatten {shape}": (nn.Flatten, lambda m, x: x.reshape(len(x), x.size // 2), shape, {})
        for shape in [(2, 3), (2, 3, 4), (2, 3, 4, 5)]
    },
    **{
        f"Linear {shape}": (
            lambda: nn.Linear(3, 2, **F64),
            lambda m, x: x @ m.weight.T + m.bias,
            shape,
            {"weight": (2, 3), "bias": (2,)},
        )
        for shape in [(3,), (4, 3), (2, 4, 3)]
    },
    "Linear without bias": (
        lambda: nn.Linear(3, 2, bias=False, **F64),
        lambda m, x: x @ m.weight.T,
        (4, 3),
        {"weight": (2, 3)},
    ),
    "Conv2d": (
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, **F64),
        lambda m, x: mg.conv2d(x, m.weight, m.bias, (2, 1), (1, 0), (1, 2), 2),
        (2, 4, 7, 6),
        {"weight": (6, 2, 3, 2), "bias": (6,)},
    ),
    "Conv1d": (
        lambda: nn.Conv1d(4, 6, 3, 2, "same", groups=2, **F64),
        lambda m, x: mg.conv1d(x, m.weight, m.bias, 2, "same", groups=2),
        (2, 4, 7),
        {"weight": (6, 2, 3), "bias": (6,)},
    ),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, **F64),
        lambda m, x: mg.conv_transpose2d(x, m.weight, m.bias, 2, 1, 1, groups=2),
        (2, 4, 3, 5),
        {"weight": (4, 3, 3, 3), "bias": (6,)},
    ),
    "MaxPool2d": (
        lambda: nn.MaxPool2d(3, 2, 1),
        lambda m, x: mg.max_pool2d(x, 3, 2, 1),
        (2, 3, 7, 6),
        {},
    ),
    "AvgPool2d": (
        lambda: nn.AvgPool2d((2, 3)),
        lambda m, x: mg.avg_pool2d(x, (2, 3)),
        (2, 3, 7, 6),
        {},
    ),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, lambda m, x: x.mean((2, 3)), (2, 3, 7, 6), {}),
    "LayerNorm": (
        lambda: nn.LayerNorm((3, 4), **F64),
        lambda m, x: mg.layer_norm(x, m.gamma, m.beta, 2),
        (5, 2, 3, 4),
        {"gamma": (3, 4), "beta": (3, 4)},
    ),
    "GroupNorm": (
        lambda: nn.GroupNorm(2, 4, **F64),
        lambda m, x: mg.group_norm(x, 2, m.gamma, m.beta),
        (5, 4, 3),
        {"gamma": (4,), "beta": (4,)},
    ),
    "InstanceNorm": (
        lambda: nn.InstanceNorm(3, affine=True, **F64),
        lambda m, x: mg.instance_norm(x, m.gamma, m.beta),
        (5, 3, 4),
        {"gamma": (3,), "beta": (3,)},
    ),
    **{
        f"{name} without parameters": (make, function, (2, 4, 3), {})
        for name, make, function in [
            ("LayerNorm", lambda: nn.LayerNorm(3, affine=False), lambda m, x: mg.layer_norm(x)),
            (
                "GroupNorm",
                lambda: nn.GroupNorm(2, 4, affine=False),
                lambda m, x: mg.group_norm(x, 2),
            ),
            ("InstanceNorm", lambda: nn.InstanceNorm(4), lambda m, x: mg.instance_norm(x)),
        ]
    },
}


@pytest.mark.parametrize(("make", "function", "shape", "state"), OPS.values(), ids=OPS)
def test_is_its_op_in_both_modes(rng, make, function, shape, state):
    layer, x = double(make()), normal(rng, *shape)
    before = content(layer)
    for training in [True, False]:
        close(layer.train(training)(x), function(layer, x), 1e-14)
    assert content(layer) == before and not layer.buffers()
    assert {name: a.shape for name, a in layer.state_dict().items()} == state


def test_initial_weights_are_hes():
    weight = nn.Conv2d(50, 40, 3, rng=np.random.default_rng(0)).weight.numpy()
    assert abs(weight.std() - np.sqrt(2 / (50 * 9))) < 1e-3
    assert not nn.Conv2d(3, 4, 3).bias.numpy().any()


def test_sizes_may_be_numpy_integers():
    assert nn.Linear(np.int64(3), np.int32(2)).weight.shape == (2, 3)


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
        (nn.LayerNorm(4, affine=False), "LayerNorm((4,), eps=1e-05, affine=False)"),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05)"),
    ],
    ids=str,
)
def test_repr(layer, text):
    assert repr(layer) == text


@pytest.mark.parametrize("given", [True, False])
def test_dropout(rng, given):
    """``minigrad.dropout`` in training, by the given generator or the default one; the identity in eval."""
    x, seed = normal(rng, 4, 3), np.random.default_rng
    layer = nn.Dropout(0.3, seed(5) if given else None)
    mg.manual_seed(5)
    y = layer(x)
    mg.manual_seed(5)
    equal(y, mg.dropout(x, 0.3, seed(5) if given else None))
    assert layer.eval()(x) is x


POSITIVE = "expected {} to be a positive integer, got {!r}"
#: words of the ValueError, and what raises it
ERRORS = {
    f"Linear: {POSITIVE.format('out_features', 2.0)}": lambda: nn.Linear(3, 2.0),
    **{
        f"Dropout: expected 0 <= p < 1, got {p}": lambda p=p: nn.Dropout(p)
        for p in [-0.1, 1, 1.5, np.nan]
    },
    "flatten: axis 1 is out of range for shape (1,)": lambda: nn.Flatten()(mg.ones(())),
    "flatten: axis 1 is out of range for shape (3,)": lambda: nn.Flatten()(mg.ones(3)),
    f"Conv2d: {POSITIVE.format('in_channels', 0)}": lambda: nn.Conv2d(0, 1, 3),
    "Conv2d: expected groups to divide 4 and 6 channels, got 4": lambda: nn.Conv2d(
        4, 6, 3, groups=4
    ),
    "Conv2d: expected kernel_size as an int >= 1 or a pair of them, got (3, 0)": lambda: nn.Conv2d(
        4, 6, (3, 0)
    ),
    "conv2d: expected x of 3 channels": lambda: nn.Conv2d(3, 6, 3)(mg.ones((1, 4, 5, 5))),
    f"Conv1d: {POSITIVE.format('kernel_size', (3, 3))}": lambda: nn.Conv1d(4, 6, (3, 3)),
    "LayerNorm: expected x of shape (..., 3, 4), got (2, 4, 3)": lambda: nn.LayerNorm((3, 4))(
        mg.ones((2, 4, 3))
    ),
    "GroupNorm '0': expected x of shape (n, 4, ...), got (2, 3)": lambda: nn.Sequential(
        nn.GroupNorm(2, 4)
    )(mg.ones((2, 3))),
    "InstanceNorm: expected x of shape (n, 4, ...), got (2, 3, 5)": lambda: nn.InstanceNorm(4)(
        mg.ones((2, 3, 5))
    ),
    "GroupNorm: expected groups that divide 4 channels, got 3": lambda: nn.GroupNorm(3, 4),
    f"LayerNorm: {POSITIVE.format('normalized_shape', 0)}": lambda: nn.LayerNorm(0),
    f"{POSITIVE.format('normalized_shape', 0)} ": lambda: nn.LayerNorm(()),
}


@pytest.mark.parametrize(("words", "call"), ERRORS.items(), ids=ERRORS)
def test_errors(words, call):
    with refuses(ValueError, words.strip()):
        call()
