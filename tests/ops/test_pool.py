"""Pools: ties, overlaps and padding as PyTorch has them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, leaf, refuses

import minigrad as mg
from minigrad.kernels.convolution import Window
from minigrad.ops.pool import MaxPool2d

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_the_place_is_in_the_image_whatever_the_values(value, dtype):
    """Of -inf, or of NaN, in all places: the first that is no padding."""
    x = mg.tensor(np.full((1, 1, 3, 3), value), requires_grad=True, dtype=dtype)
    y = mg.max_pool2d(x, 2, 2, 1)
    gy = mg.tensor(np.arange(1, 5).reshape(1, 1, 2, 2), requires_grad=True, dtype=dtype)
    gx = mg.grad(y, x, gy, create_graph=True)
    close(gx, [[[[1, 2, 0], [3, 4, 0], [0, 0, 0]]]])
    close(
        mg.grad(gx, gy, mg.tensor(np.arange(9).reshape(1, 1, 3, 3), dtype=dtype)),
        [[[[0, 1], [3, 4]]]],
    )


def test_an_infinite_gradient_stays_at_its_place():
    x = leaf([[[[1.0, 2.0]]]])
    y = mg.max_pool2d(x, (1, 2))
    gy = leaf([[[[np.inf]]]])
    gx = mg.grad(y, x, gy, create_graph=True)
    np.testing.assert_array_equal(gx.numpy(), [[[[0, np.inf]]]])
    close(mg.grad(gx, gy, mg.tensor(np.array([[[[np.inf, 3.0]]]]))), [[[[3]]]])


@pytest.mark.parametrize(
    ("window", "size"),
    [
        (Window((2, 2), (1, 1), ((3, 3), (0, 0))), (4, 4)),
        (Window((2, 2), (1, 1), ((0, 0), (0, 3))), (4, 4)),
        (Window((2, 2), (1, 1), ((1, 1), (1, 1)), (2, 2)), (1, 1)),
        (Window((1, 3), (1, 1), ((0, 0), (4, 6)), (1, 4)), (2, 2)),
        (Window((2, 2**14), (1, 1), ((0, 0), (0, 0))), (2, 2**14)),
    ],
)
def test_no_door_takes_windows_without_a_place(window, size):
    with refuses(ValueError, "max_pool2d: "):
        MaxPool2d(window, size)


def test_windows_that_reach_over_padding_are_taken():
    for window, size in (
        (Window((2, 2), (3, 3), ((1, 1), (1, 1)), (2, 2)), (2, 2)),
        (Window((3, 1), (1, 1), ((2, 2), (0, 0))), (1, 1)),
    ):
        x = leaf(np.full((1, 1, *size), -np.inf))
        y, _ = x.apply(MaxPool2d(window, size), x)
        close(mg.grad(y.sum(), x).sum(), y.size)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("max_pool2d", lambda rng: {"dilation": tuple(map(int, rng.integers(1, 3, 2)))}),
        ("avg_pool2d", lambda rng: {"count_include_pad": bool(rng.integers(2))}),
    ],
)
def test_two_hundred_configurations_of_torch(torch, name, more, ceil_mode):
    """Small integers, so that there are many ties."""
    rng = np.random.default_rng(0)
    for i in range(200):
        kernel, stride = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
        padding = [rng.integers(0, k // 2 + 1) for k in kernel]
        rest = {"ceil_mode": ceil_mode, **(more(rng) if i % 2 else {})}
        least = kernel if "dilation" not in rest else (kernel - 1) * rest["dilation"] + 1
        values = rng.integers(0, 4, (2, 3, *(least + rng.integers(0, 6, 2)))).astype(float)
        settings = [tuple(map(int, s)) for s in (kernel, stride, padding)]
        x, z = leaf(values), torch.tensor(values, requires_grad=True)
        ours = getattr(mg, name)(x, *settings, **rest)
        theirs = getattr(torch.nn.functional, name)(z, *settings, **rest)
        close(ours, theirs.detach().numpy())
        gy = rng.standard_normal(ours.shape)
        (expected,) = torch.autograd.grad(theirs, z, torch.tensor(gy))
        close(mg.grad(ours, x, mg.tensor(gy)), expected.numpy())
