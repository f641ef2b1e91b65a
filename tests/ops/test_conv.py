"""Convolutions: sizes, tiles, layouts, and PyTorch as an oracle; what all ops have in common is in test_every_op."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from helpers import close, leaf, normal

import minigrad as mg
from minigrad import backend as backends
from minigrad.kernels import pool

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (9, 6)),
        ({"padding": 1}, (11, 8)),
        ({"padding": (2, 0)}, (13, 6)),
        ({"padding": ((0, 1), (2, 3))}, (10, 11)),
        ({"padding": "valid"}, (9, 6)),
        ({"padding": "same"}, (11, 7)),
        ({"padding": "same", "stride": 2}, (6, 4)),
        ({"padding": "same", "stride": (3, 1), "dilation": 2}, (4, 7)),
        ({"stride": 2}, (5, 3)),
        ({"stride": 100}, (1, 1)),
        ({"dilation": (5, 6)}, (1, 1)),
    ],
)
def test_sizes(settings, shape):
    x, w = mg.ones((2, 1, 11, 7)), mg.ones((3, 1, 3, 2))
    assert mg.conv2d(x, w, **settings).shape == (2, 3, *shape)


@pytest.mark.parametrize("tile", [1, 60, 200, 1000])
@pytest.mark.parametrize("groups", [1, 2])
def test_tiles_change_nothing(rng, monkeypatch, tile, groups):
    """Many images in a tile, one, and a few rows of one: the same sums."""
    x, w = (
        leaf(rng.standard_normal((5, 4, 7, 6))),
        leaf(rng.standard_normal((6, 4 // groups, 3, 2))),
    )
    settings = {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "groups": groups}
    gy = normal(rng, 5, 6, 4, 6)

    def everything():
        y = mg.conv2d(x, w, **settings)
        return [y, *mg.grad(y, [x, w], gy)]

    whole = everything()
    monkeypatch.setattr(type(backends.default().kernels), "tile", tile)
    for a, b in zip(everything(), whole, strict=True):
        close(a, b)


def test_no_column_matrix_of_the_whole_batch(backend, monkeypatch):
    """64 MiB at most beside what goes in and comes out, forward and backward, whatever the batch."""
    if backend != "numpy":
        pytest.skip("memory is measured where NumPy allocates it")
    monkeypatch.setattr(pool, "LARGE", sys.maxsize)
    x, w = (
        mg.ones((64, 32, 48, 48), requires_grad=True),
        mg.ones((32, 32, 3, 3), requires_grad=True),
    )
    columns = 64 * 46 * 46 * 32 * 9 * 4
    gy = mg.ones((64, 32, 46, 46))
    tracemalloc.start()
    y = mg.conv2d(x, w)
    peak_forward = tracemalloc.get_traced_memory()[1] - y.data.nbytes
    tracemalloc.reset_peak()
    gx, gw = mg.grad(y, [x, w], gy)
    peak_backward = (
        tracemalloc.get_traced_memory()[1] - y.data.nbytes - gx.data.nbytes - gw.data.nbytes
    )
    tracemalloc.stop()
    assert columns > 128 * 2**20
    assert max(peak_forward, peak_backward) < 64 * 2**20


def test_transposed_is_the_transpose(rng):
    """<conv(x), y> = <x, conv_transpose(y)>, for every size that convolves to one."""
    w = normal(rng, 4, 2, 3, 2)
    for extra in [(0, 0), (1, 0), (1, 2)]:
        size = ((3 - 1) * 2 - 2 + 2 + extra[0] + 1, (4 - 1) * 3 - 0 + 1 + extra[1] + 1)
        x, y = normal(rng, 2, 2, *size), normal(rng, 2, 4, 3, 4)
        settings = {"stride": (2, 3), "padding": (1, 0)}
        up = mg.conv_transpose2d(y, w, output_padding=extra, **settings)
        assert up.shape == x.shape
        close((mg.conv2d(x, w, **settings) * y).sum(), (x * up).sum())


def configurations(n, seed):
    """Random shapes and settings."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        groups = int(rng.integers(1, 4))
        inputs, outputs = (groups * int(rng.integers(1, 4)) for _ in range(2))
        kernel, stride, dilation = (rng.integers(1, 4, 2) for _ in "ksd")
        padding = rng.integers(0, 4, (2, 2))
        size = np.maximum(rng.integers(0, 6, 2), 1)
        extra = [int(rng.integers(0, max(p))) for p in zip(stride, dilation, strict=True)]
        settings = {
            "stride": tuple(map(int, stride)),
            "padding": tuple((int(p), int(q)) for p, q in padding),
            "dilation": tuple(map(int, dilation)),
            "groups": groups,
        }
        shape = int(rng.integers(1, 4)), inputs, *map(int, size)
        yield rng, shape, (outputs, inputs // groups, *map(int, kernel)), extra, settings


def torch_conv2d(torch, x, w, b, padding, **settings):
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    return torch.nn.functional.conv2d(padded, w, b, **settings)


def torch_transpose2d(torch, x, w, b, padding, **settings):
    (top, bottom), (left, right) = padding
    y = torch.nn.functional.conv_transpose2d(x, w, b, **settings)
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_values_and_two_derivatives_are_those_of_torch(torch, name):
    """With any stride, padding, output padding, dilation and groups."""
    transposed, compared, beyond = "transpose" in name, 0, 0
    ours, theirs = getattr(mg, name), torch_transpose2d if transposed else torch_conv2d
    for rng, shape, weight, extra, settings in configurations(60, 0):
        if transposed:
            weight = (shape[1], weight[0] // settings["groups"], *weight[2:])
            settings |= {"output_padding": tuple(extra)}
            beyond += any(e >= s for e, s in zip(extra, settings["stride"], strict=True))
        bias = weight[1] * settings["groups"] if transposed else weight[0]
        arrays = [rng.standard_normal(s) for s in (shape, weight, bias)]
        a, b = [leaf(v) for v in arrays], [torch.tensor(v, requires_grad=True) for v in arrays]
        try:
            y = ours(*a, **settings)
        except ValueError:  # too small for the window, or nothing is left
            continue
        z = theirs(torch, *b, **settings)
        close(y, z.detach().numpy(), 1e-10)
        cotangents = [rng.standard_normal(s) for s in (y.shape, shape, weight)]
        gy, *v = [leaf(c) for c in cotangents]
        gz, *u = [torch.tensor(c, requires_grad=True) for c in cotangents]
        first = mg.grad(y, a, gy, create_graph=True)
        expected = torch.autograd.grad(z, b, gz, create_graph=True)
        for f, e in zip(first, expected, strict=True):
            close(f, e.detach().numpy(), 1e-10)
        second = mg.grad(sum((f * d).sum() for f, d in zip(first, v)), [*a[:2], gy])  # noqa: B905
        total = sum((e * d).sum() for e, d in zip(expected, u))  # noqa: B905
        for f, e in zip(second, torch.autograd.grad(total, [*b[:2], gz]), strict=True):
            close(f, e.numpy(), 1e-10)
        compared += 1
    assert compared > 25 and (beyond > 5 or not transposed)


def test_rows_beyond_all_windows_of_a_transposed_convolution():
    """Output padding of a stride or more: the gradients have the inputs' shapes, in any composition."""
    settings = {"output_padding": 1, "dilation": 2}
    x, w = (mg.ones((1, 1, 2, 2), requires_grad=True) for _ in range(2))
    mg.conv_transpose2d(x, w, **settings).sum().backward()
    close(x.grad, np.full((1, 1, 2, 2), 4))
    close(w.grad, np.full((1, 1, 2, 2), 4))
    y = mg.conv_transpose2d(mg.relu(mg.pad(x, [(0, 0), (0, 0), (1, 0), (0, 1)])), w, **settings)
    assert y.shape == (1, 1, 6, 6)
    assert mg.grad(y.sum(), x).shape == x.shape


def test_one_window_over_padding_alone():
    """Before the image, so that none of its values is seen."""
    x, w = (mg.ones((1, 1, n, n), requires_grad=True) for n in (2, 1))
    y = mg.conv2d(x, w, stride=6, padding=((3, 0), (3, 0)))
    gx, gw = mg.grad(y.sum(), [x, w])
    close(gx, np.zeros(x.shape))
    close(gw, np.zeros(w.shape))


def test_a_stride_beyond_the_image_costs_nothing():
    """Neither forward nor backward."""
    x, w = (mg.ones((1, 1, 4, 4), requires_grad=True) for _ in range(2))
    y = mg.conv2d(x, w, stride=2**30, dilation=1)
    gx, gw = mg.grad(y.sum(), [x, w])
    close(gx, np.ones(x.shape))
    close(gw, np.ones(w.shape))
