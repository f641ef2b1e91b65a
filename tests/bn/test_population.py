"""Population statistics are NumPy's of the whole data, and a pass that fails changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, device, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}
DATA = np.random.default_rng(5).standard_normal((12, 3)) * [1, 5, 0.1] + [0, 100, -3]


@pytest.mark.parametrize("cuts", [[4, 8], [2, 5, 9], []], ids=["even", "uneven", "one batch"])
def test_estimators(cuts):
    """The variance of everything, and Algorithm 2."""
    batches = np.split(DATA, cuts)
    bn = nn.BatchNorm(3, **F64)
    nn.population_statistics(bn, batches, "total")
    close(bn.running_mean, DATA.mean(0))
    close(bn.running_var, DATA.var(0))
    assert bn.num_batches.item() == len(cuts) + 1
    nn.population_statistics(bn, batches)
    close(bn.running_mean, DATA.mean(0))
    variances, sizes = [b.var(0, ddof=1) for b in batches], [len(b) for b in batches]
    close(bn.running_var, np.average(variances, axis=0, weights=sizes))


def test_only_batch_norms_run_as_in_training():
    """Dropout stays off, each layer sees what it saw in training, and modes are as they were."""
    model = nn.Sequential(nn.BatchNorm(3, **F64), nn.Dropout(0.5), nn.BatchNorm(3, **F64))
    model[2].training, batches = False, np.split(DATA, [4, 8])
    nn.population_statistics(model, [(batch, "labels") for batch in batches], "total")
    normalized = [(b - b.mean(0)) / np.sqrt(b.var(0) + 1e-3) for b in batches]
    close(model[2].running_var, np.concatenate(normalized).var(0))
    assert [m.training for m in model.modules()] == [True, True, True, False]


@pytest.mark.parametrize("moving", [True, False])
def test_frozen_layers_keep_theirs(moving):
    first, second = (nn.BatchNorm(3, **F64) for _ in range(2))
    first(mg.tensor(DATA))
    before = content(first.freeze(moving=moving))
    nn.population_statistics(nn.Sequential(first, second), np.split(DATA, [6]), "total")
    assert content(first) == before
    close(second.running_mean, first.eval()(mg.tensor(DATA)).mean(0))
    for model in (first, nn.Linear(3, 3)):
        with refuses(ValueError, "the model has no batch norm that is not frozen"):
            nn.population_statistics(model, [DATA])


def test_a_small_variance_beside_a_large_mean(rng):
    """Sums are in float64: in float32 the squares of the batch means alone would be off by more than the variance."""
    values = (1e4 + 0.1 * rng.standard_normal((4000, 1))).astype(np.float32)
    bn = nn.BatchNorm(1)
    nn.population_statistics(bn, np.split(values, 1000), "total")
    close(bn.running_var, values.astype(np.float64).var(0), 1e-4)


@pytest.mark.parametrize("bad", [np.full((4, 3), np.nan), np.ones((4, 2)), np.ones((1, 3))])
def test_a_failing_batch_leaves_everything_as_it_was(bad):
    model = nn.Sequential(nn.BatchNorm(3, **F64), nn.Dropout(0.5))
    model(mg.tensor(DATA))
    before = content(model)
    with refuses(ValueError, "BatchNorm '0': "):
        nn.population_statistics(model, [DATA, bad])
    assert content(model) == before and all(m.training for m in model.modules())


def test_skipped_batches_count_for_nothing():
    bn = nn.BatchNorm(3, on_nonfinite="skip", **F64)
    nn.population_statistics(bn, [DATA, np.full((4, 3), np.nan)], "total")
    close(bn.running_mean, DATA.mean(0))
    assert bn.num_batches.item() == 1
    for words, batches, estimator in [
        ("at least one batch that counts, got none", [], "total"),
        ("expected estimator 'batch_mean' or 'total', got 'mean'", [DATA], "mean"),
    ]:
        with refuses(ValueError, words):
            nn.population_statistics(bn, batches, estimator)


class Weighing(nn.Module):
    """Weighs all positions alike."""

    def __init__(self, bn, weight):
        self.bn, self.weight = bn, weight

    def forward(self, x):
        return self.bn(x, weight=device(np.full(len(x), self.weight)))


@pytest.mark.parametrize("function", [nn.population_statistics, mg.study.gap])
def test_too_little_weight(function):
    with refuses(ValueError, "expected more than one value per channel, got 0.8"):
        function(Weighing(nn.BatchNorm(3, **F64), 0.2), [DATA[:4]])


def test_a_schedule_is_kept():
    bn = nn.BatchRenorm(3, **F64)
    bn.num_batches.data = bn.num_batches.data + 40_000
    nn.population_statistics(bn, [DATA])
    assert bn.bounds() == (3, 5)


def test_time_steps(rng):
    bn, x = nn.RecurrentBatchNorm(3, 5, **F64), normal(rng, 6, 3)

    class Steps(nn.Module):
        def __init__(self):
            self.bn = bn

        def forward(self, x):
            return mg.stack([self.bn(x + 10 * t, t) for t in range(5)])

    for t in range(3):
        bn(x, t)
    nn.population_statistics(Steps(), [x], "total")
    for t, layer in enumerate(bn.steps):
        close(layer.running_mean, x.numpy().mean(0) + 10 * t)
