"""Convolutions: sizes, tiles, layouts, and PyTorch as an oracle; what all ops have in common is in test_every_op."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from helpers import close, device, error_table, leaf, normal, refuses

import minigrad as mg
from minigrad import backend as backends
from minigrad.kernels import pool

pytestmark = pytest.mark.usefixtures("backend")


def test_by_hand():
    x = mg.arange(9).reshape(1, 1, 3, 3)
    w = mg.tensor([[[[1, 0], [0, -1]]]])
    close(mg.conv2d(x, w), np.full((1, 1, 2, 2), -4))
    close(mg.conv2d(x, w, mg.tensor([10])), np.full((1, 1, 2, 2), 6))


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


def test_an_empty_batch():
    x = mg.ones((0, 2, 5, 5), requires_grad=True)
    w = mg.ones((3, 2, 3, 3), requires_grad=True)
    y = mg.conv2d(x, w)
    assert y.shape == (0, 3, 3, 3)
    gx, gw = mg.grad(y.sum(), [x, w])
    assert gx.shape == x.shape and not gw.numpy().any()


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


def test_memory_layouts_give_the_same(rng):
    values = rng.standard_normal((2, 3, 5, 4))
    last = mg.Tensor(
        device(np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    )
    w = normal(rng, 4, 3, 3, 3)
    close(mg.conv2d(last, w), mg.conv2d(mg.tensor(values), w), 0)


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


def configurations(n, seed=0):
    """Random shapes and settings that fit."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        groups = int(rng.integers(1, 4))
        inputs, outputs = (groups * int(rng.integers(1, 4)) for _ in range(2))
        kernel, stride = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
        dilation, padding = rng.integers(1, 3, 2), rng.integers(0, 3, 2)
        size = rng.integers(0, 6, 2) + (kernel - 1) * dilation + 1
        arrays = [
            rng.standard_normal((int(rng.integers(1, 4)), inputs, *size)),
            rng.standard_normal((outputs, inputs // groups, *kernel)),
            rng.standard_normal(outputs),
        ]
        settings = {
            "stride": tuple(map(int, stride)),
            "padding": tuple(map(int, padding)),
            "dilation": tuple(map(int, dilation)),
            "groups": groups,
        }
        yield arrays, settings


def test_two_hundred_configurations_of_torch(rng, torch):
    for arrays, settings in configurations(200):
        ours = [leaf(a) for a in arrays]
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        y, z = mg.conv2d(*ours, **settings), torch.nn.functional.conv2d(*theirs, **settings)
        gy = rng.standard_normal(y.shape)
        close(y, z.detach().numpy(), 1e-10)
        grads = torch.autograd.grad(z, theirs, torch.tensor(gy))
        for a, b in zip(mg.grad(y, ours, mg.tensor(gy)), grads, strict=True):
            close(a, b.numpy(), 1e-10)


def test_transposed_configurations_of_torch(rng, torch):
    compared = 0
    for (x, w, _), settings in configurations(100, seed=1):
        weight = rng.standard_normal((x.shape[1], len(w) // settings["groups"], *w.shape[2:]))
        bias = rng.standard_normal(len(w))
        pairs = zip(settings["stride"], settings["dilation"], strict=True)
        extra = tuple(int(rng.integers(0, max(pair))) for pair in pairs)
        arguments = [torch.tensor(a) for a in (x, weight, bias)]
        try:
            z = torch.nn.functional.conv_transpose2d(*arguments, output_padding=extra, **settings)
        except RuntimeError:  # the padding leaves nothing
            continue
        ours = [mg.tensor(a) for a in (x, weight, bias)]
        close(mg.conv_transpose2d(*ours, output_padding=extra, **settings), z.numpy(), 1e-10)
        compared += 1
    assert compared > 80


X, W = (2, 4, 6, 5), (6, 4, 3, 3)


def wrong(function="conv2d", x=X, w=W, **settings):
    return lambda: getattr(mg, function)(mg.ones(x), mg.ones(w), **settings)


@error_table(
    {
        "not images": (
            ValueError,
            "conv2d: expected x of shape (n, channels, height, width), got (4, 6, 5)",
            wrong(x=(4, 6, 5)),
        ),
        "weight": (
            ValueError,
            "expected weight of shape (out, channels / groups, kernel height, kernel width), got (6, 4)",
            wrong(w=(6, 4)),
        ),
        "channels": (
            ValueError,
            "conv2d: expected x of 3 channels for weight (6, 3, 3, 3) and groups=1, got x (2, 4, 6, 5)",
            wrong(w=(6, 3, 3, 3)),
        ),
        "channels of groups": (ValueError, "expected x of 8 channels", wrong(groups=2)),
        "groups": (ValueError, "expected groups to divide the 6 of weight's", wrong(groups=4)),
        "no groups": (ValueError, "got 0", wrong(groups=0)),
        "bias": (
            ValueError,
            "conv2d: expected bias of shape (6,), got (4,)",
            lambda: mg.conv2d(mg.ones(X), mg.ones(W), mg.ones(4)),
        ),
        "too small": (
            ValueError,
            "conv2d: the window does not fit into the width: it spans 7 (kernel 3, dilation 3), the "
            "input has 5 + 1 of padding",
            wrong(dilation=(1, 3), padding=((0, 0), (1, 0))),
        ),
        "stride": (
            ValueError,
            "expected stride as an int >= 1 or a pair of them, got 0",
            wrong(stride=0),
        ),
        "stride of three": (ValueError, "got (1, 2, 3)", wrong(stride=(1, 2, 3))),
        "dilation": (ValueError, "expected dilation as an int >= 1", wrong(dilation=1.5)),
        "padding": (ValueError, "expected padding as an int >= 0", wrong(padding=-1)),
        "a word": (
            ValueError,
            "expected padding 'same', 'valid', an int or pairs of ints, got 'full'",
            wrong(padding="full"),
        ),
        "dtype": (
            TypeError,
            "conv2d: x is float32 and weight float64: cast x with x.astype('float64')",
            lambda: mg.conv2d(mg.ones(X), mg.ones(W, dtype=np.float64)),
        ),
        "integers": (
            TypeError,
            "conv2d: expected a floating dtype, got int64",
            lambda: mg.conv2d(mg.ones(X, dtype=np.int64), mg.ones(W)),
        ),
        "no weight": (ValueError, "got None", lambda: mg.conv2d(mg.ones(X), None)),
        "sequences": (
            ValueError,
            "conv1d: expected x of three axes, got shape (2, 4, 6, 5)",
            wrong("conv1d"),
        ),
        "transposed weight": (
            ValueError,
            "expected weight of shape (4, out / groups, kernel height, kernel width) for x (2, 4, 6, 5)",
            wrong("conv_transpose2d"),
        ),
        "output_padding": (
            ValueError,
            "expected output_padding below the stride or the dilation, got 2 with stride 2 and "
            "dilation 1 along the height",
            wrong("conv_transpose2d", w=(4, 2, 3, 3), stride=2, output_padding=(2, 0)),
        ),
        "nothing left": (
            ValueError,
            "conv_transpose2d: padding (5, 5) leaves nothing of the height of x (2, 4, 6, 5)",
            wrong("conv_transpose2d", w=(4, 2, 3, 3), padding=(5, 0)),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
