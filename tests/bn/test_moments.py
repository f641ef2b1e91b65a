"""Moments: the statistics of parts merge to those of the whole, and weights count positions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, equal, error_table, leaf, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("ddof", [0, 1])
def test_var(rng, ddof):
    x = normal(rng, 5, 3, 2)
    close(mg.moments(x).var(ddof), x.numpy().var((0, 2), ddof=ddof))
    close(mg.moments(x, axis=(0, 1)).mean, x.numpy().mean(2))
    equal(mg.moments(x, axis=[0, 1]).mean, mg.moments(x, axis=(0, 1)).mean)


@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
def test_merging_in_float32(rng, mean):
    x = (mean + 0.1 * rng.standard_normal((600, 3))).astype(np.float32)
    parts = np.split(x, [100, 101, 350])
    merged = mg.merge_moments([mg.moments(mg.tensor(part)) for part in parts])
    exact = x.astype(np.float64)
    assert merged.count.item() == 600 and merged.mean.dtype == np.float32
    np.testing.assert_allclose(merged.mean.numpy(), exact.mean(0), rtol=2**-22, atol=1e-7)
    # The parts' means are rounded to float32, and so their distances are off by up to a unit of it.
    unit = np.spacing(np.float32(mean))
    distances = [len(p) / 600 * np.abs(p.mean(0, dtype=float) - exact.mean(0)) for p in parts]
    atol = (2 * np.sum(distances, axis=0).max() + unit) * unit
    np.testing.assert_allclose(merged.var().numpy(), exact.var(0), rtol=1e-5, atol=atol)
    one = mg.moments(mg.tensor(x))
    assert mg.merge_moments([one]).mean is one.mean
    equal(mg.merge_moments([one]).m2, one.m2)


def test_large_means_with_weights(rng):
    """Moments, the gradient of M2, outputs, and running statistics of a frozen layer that moves."""
    values = (1e6 + 0.1 * rng.standard_normal((256, 3))).astype(np.float32)
    found = mg.moments(mg.tensor(values), weight=device(np.ones(256)))
    close(found.var(), values.astype(np.float64).var(0), 1e-4)
    same = mg.tensor(np.full((9, 3), 1e6 / 3, np.float32))
    assert not mg.moments(same, weight=device(np.ones(9))).m2.numpy().any()
    single, double = (
        mg.grad(mg.moments(x).m2.sum(), x).numpy()
        for x in (leaf(values, dtype) for dtype in (np.float32, np.float64))
    )
    assert np.abs(single - double).max() < 1e-4 * np.abs(double).max()
    mask = rng.random(256) < 0.7
    y = nn.BatchNorm(3, eps=1e-6)(mg.tensor(values), mask=device(mask)).numpy()[mask]
    there = values[mask].astype(np.float64)
    close(y, (there - there.mean(0)) / np.sqrt(there.var(0) + 1e-6), 1e-5)
    bn = nn.BatchNorm(3, momentum=0).freeze(moving=False)
    bn.num_batches.data = bn.num_batches.data + 1
    bn(mg.tensor(values), mask=device(mask))
    close(bn.running_var, there.var(0, ddof=1), 1e-4)


def test_weights_may_be_lists_and_stay_constants(rng):
    """Values of weight 0 may be anything."""
    x = normal(rng, 3, 2, requires_grad=True)
    with mg.no_grad():
        x[1] = np.nan
    y, found = mg.weighted_batch_norm(x, [1.5, 0, 2], None, None)
    close(found.count, np.array(3.5))
    close(found.mean, (x.numpy()[[0, 2]] * [[1.5], [2]]).sum(0) / 3.5)
    assert y.requires_grad and not y.numpy()[1].any()
    close(mg.weighted_batch_norm(x[::2], [1, 1], None, None, axis=[1])[1].mean, x[::2].mean(0))


def test_degrees_of_freedom(rng):
    x, ones = normal(rng, 8, 3), device(np.ones(8))
    expected = mg.batch_norm(x, None, None, ddof=1)[0]
    close(mg.weighted_batch_norm(x, ones, None, None, ddof=1)[0], expected)
    close(nn.BatchNorm(3, ddof_norm=1, dtype=np.float64)(x, weight=ones), expected)
    with nn.merging_statistics(lambda layer, own: own):
        close(nn.BatchNorm(3, ddof_norm=1, dtype=np.float64)(x), expected)
    for ddof in (-1, 8, 9):
        with refuses(ValueError, "expected 0 <= ddof < 8"):
            mg.batch_norm(x, None, None, ddof=ddof)
        with refuses(ValueError, "expected 0 <= ddof < 8.0, the sum of the weights"):
            mg.weighted_batch_norm(x, ones, None, None, ddof=ddof)


def weighted(weight, ddof=0):
    return mg.weighted_batch_norm(mg.ones((2, 3)), weight, None, None, ddof=ddof)


@error_table(
    {
        "no parts": (
            ValueError,
            "merge_moments: expected at least one part",
            lambda: mg.merge_moments([]),
        ),
        "shapes": (
            ValueError,
            "merge_moments: expected means of one shape, got (3,) and (1,)",
            lambda: mg.merge_moments([mg.moments(mg.ones((2, n))) for n in (3, 1)]),
        ),
        "no values": (
            ValueError,
            "moments: expected at least one value per channel, got shape (0, 3)",
            lambda: mg.moments(mg.zeros((0, 3))),
        ),
        "integers": (
            TypeError,
            "moments: expected a floating dtype, got int64",
            lambda: mg.moments(mg.zeros((2, 2), dtype="int64")),
        ),
        "gradient": (
            TypeError,
            "weights are constants, got one that requires a gradient",
            lambda: weighted(mg.ones(2, requires_grad=True)),
        ),
        "ddof": (
            ValueError,
            "weighted_batch_norm: expected 0 <= ddof < 0.5, the sum of the weights, got 1",
            lambda: weighted([0.25, 0.25], 1),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
