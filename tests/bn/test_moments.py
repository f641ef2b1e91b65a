"""Moments: the statistics of parts make those of the whole, and weights count positions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, equal, normal

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("ddof", [0, 1])
def test_var(rng, ddof):
    x = normal(rng, 5, 3, 2)
    close(mg.moments(x).var(ddof), x.numpy().var((0, 2), ddof=ddof))
    close(mg.moments(x, axis=(0, 1)).mean, x.numpy().mean(2))


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


def test_one_part_is_the_whole(rng):
    found = mg.moments(normal(rng, 4, 3))
    assert mg.merge_moments([found]).mean is found.mean
    equal(mg.merge_moments([found]).m2, found.m2)


def test_float16(rng):
    x = mg.tensor(rng.standard_normal((64, 2)) + 1e4, dtype="float16")
    for found in [mg.moments(x), mg.moments(x, weight=device(np.ones(64)))]:
        assert {t.dtype.name for t in (found.count, found.mean, found.m2)} == {"float32"}
        close(found.mean, x.numpy().astype(np.float64).mean(0), 1e-6)
    y, _ = mg.weighted_batch_norm(x, device(np.ones(64)), None, None)
    assert y.dtype == np.float16


def test_weights_may_be_lists_and_stay_constants(rng):
    """What they leave out may be anything."""
    x = normal(rng, 3, 2, requires_grad=True)
    with mg.no_grad():
        x[1] = np.nan
    y, found = mg.weighted_batch_norm(x, [1.5, 0, 2], None, None)
    close(found.count, np.array(3.5))
    close(found.mean, (x.numpy()[[0, 2]] * [[1.5], [2]]).sum(0) / 3.5)
    assert y.requires_grad and not y.numpy()[1].any()
