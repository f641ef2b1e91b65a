"""Population statistics are NumPy's of the whole data, and a pass that fails changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

SPLITS = {"even": [4, 8], "uneven": [2, 5, 9], "one batch": []}
splits = pytest.mark.parametrize("cuts", SPLITS.values(), ids=SPLITS)


def data():
    return np.random.default_rng(5).standard_normal((12, 3)) * [1, 5, 0.1] + [0, 100, -3]


def batches(cuts):
    return np.split(data(), cuts)


@splits
def test_total_is_the_variance_of_everything(cuts):
    bn = nn.BatchNorm(3, dtype=np.float64)
    nn.population_statistics(bn, batches(cuts), "total")
    close(bn.running_mean, data().mean(0))
    close(bn.running_var, data().var(0))
    assert bn.num_batches.item() == len(cuts) + 1


@splits
def test_batch_mean_is_algorithm_two(cuts):
    bn = nn.BatchNorm(3, dtype=np.float64)
    nn.population_statistics(bn, batches(cuts))
    sizes = [len(b) for b in batches(cuts)]
    close(bn.running_mean, data().mean(0))
    variances = [b.var(0, ddof=1) for b in batches(cuts)]
    close(bn.running_var, np.average(variances, axis=0, weights=sizes))


def test_only_batch_norms_run_as_in_training():
    """Dropout stays off, each layer sees what it saw in training, and modes are as they were."""
    model = nn.Sequential(
        nn.BatchNorm(3, dtype=np.float64), nn.Dropout(0.5), nn.BatchNorm(3, dtype=np.float64)
    )
    model[2].training = False
    nn.population_statistics(model, [(batch, "labels") for batch in batches([4, 8])], "total")
    normalized = [(b - b.mean(0)) / np.sqrt(b.var(0) + 1e-3) for b in batches([4, 8])]
    close(model[2].running_var, np.concatenate(normalized).var(0))
    assert [m.training for m in model.modules()] == [True, True, True, False]


def test_frozen_layers_keep_theirs():
    first, second = (nn.BatchNorm(3, dtype=np.float64) for _ in range(2))
    first(mg.tensor(data()))
    before = content(first)
    nn.population_statistics(nn.Sequential(first.freeze(), second), batches([6]), "total")
    assert content(first) == before
    frozen = first.eval()(mg.tensor(data()))
    close(second.running_mean, frozen.mean(0))


def test_a_small_variance_beside_a_large_mean(rng):
    """Sums are in float64: in float32 the squares of the batch means alone would be off by more than the variance."""
    values = (1e4 + 0.1 * rng.standard_normal((4000, 1))).astype(np.float32)
    bn = nn.BatchNorm(1)
    nn.population_statistics(bn, np.split(values, 1000), "total")
    close(bn.running_var, values.astype(np.float64).var(0), 1e-4)


@pytest.mark.parametrize("bad", [np.full((4, 3), np.nan), np.ones((4, 2)), np.ones((1, 3))])
def test_a_failing_batch_leaves_everything_as_it_was(bad):
    model = nn.Sequential(nn.BatchNorm(3, dtype=np.float64), nn.Dropout(0.5))
    model(mg.tensor(data()))
    before = content(model)
    with refuses(ValueError, "BatchNorm '0': "):
        nn.population_statistics(model, [data(), bad])
    assert content(model) == before and all(m.training for m in model.modules())


def test_skipped_batches_count_for_nothing():
    bn = nn.BatchNorm(3, on_nonfinite="skip", dtype=np.float64)
    nn.population_statistics(bn, [data(), np.full((4, 3), np.nan)], "total")
    close(bn.running_mean, data().mean(0))
    assert bn.num_batches.item() == 1
