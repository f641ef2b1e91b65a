"""Both parts at few steps: what happens to accuracy, what moves inside a network, and that no label of B is used."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import rows, run

from examples import covariate_shift as job

STEPS = 20
NORMALIZED = job.NETWORKS[1:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of one run, of STEPS."""
    return run(job, tmp_path_factory.mktemp("out"), "--steps", STEPS)


@pytest.fixture
def small(monkeypatch):
    """Fewer members of the populations, for tests that train again."""
    monkeypatch.setattr(job, "SIZE", 1200)


def accuracies(out):
    return {
        (r["network"], r["tested_on"], r["statistics"]): float(r["accuracy"])
        for r in rows(out / "covariate_shift_populations.csv")
    }


def test_estimating_again_brings_the_accuracy_back(whole):
    found = accuracies(whole)
    assert len(found) == 2 + 2 * 6
    for network in job.NETWORKS:
        assert found[network, "A", "as trained on A"] > 0.8
        lost = found[network, "A", "as trained on A"] - found[network, "B", "as trained on A"]
        assert lost > 0.15
    for network in NORMALIZED:
        for estimator in ("batch_mean", "total"):
            after = found[network, "B", f"{estimator} of B, shuffled"]
            assert after > found[network, "B", "as trained on A"] + 0.1
    of_inputs = found["of inputs too", "B", "total of B, shuffled"]
    assert of_inputs == pytest.approx(found["of inputs too", "A", "as trained on A"], abs=0.03)
    assert of_inputs > found["in hidden layers", "B", "total of B, shuffled"] + 0.03


def test_batches_that_are_not_alike_need_the_law_of_total_variance(whole):
    found = accuracies(whole)
    total, batch_mean = (
        found["of inputs too", "B", f"{estimator} of B, sorted by a feature"]
        for estimator in ("total", "batch_mean")
    )
    assert total > batch_mean + 0.15
    shuffled = found["of inputs too", "B", "total of B, shuffled"]
    assert total == pytest.approx(shuffled, abs=0.01)


def test_a_shift_alone_is_undone_in_hidden_layers(small):
    found, _ = job.between_populations(0, shift=2, scale=0)
    before, after = (
        found["in hidden layers", "B", s] for s in ("as trained on A", "total of B, shuffled")
    )
    of_a = found["in hidden layers", "A", "as trained on A"]
    assert before < of_a - 0.2
    assert after == pytest.approx(of_a, abs=0.04)


def test_two_samples_of_one_population_agree(small):
    found, gaps = job.between_populations(0, shift=0, scale=0)
    for network in job.NETWORKS:
        of_a = found[network, "A", "as trained on A"]
        assert found[network, "B", "as trained on A"] == pytest.approx(of_a, abs=0.04)
    assert not any(layer.wide for gap in gaps.values() for layer in gap)


def test_the_gap_closes(small, whole):
    _, gaps = job.between_populations(0, shift=1.5, scale=0.4)
    for network in NORMALIZED:
        assert gaps[network, "A"][0].wide
        assert not any(layer.wide for layer in gaps[network, "B"])
    assert gaps["in hidden layers", "A"][0].name == "hidden.0.1"
    before, after = (whole / "printed").read_text().split("against statistics of B")
    assert before.count("another population") == 2
    assert "hidden.0.1" in after and "another population" not in after


def test_no_label_of_b_is_used_and_no_weight_moves(small, monkeypatch):
    samples, seen = [], []
    sample, estimate = job.Populations.sample, job.nn.population_statistics

    def sample_without_labels(self, name):
        x, kinds = sample(self, name)
        samples.append(name)
        return (x, None) if samples == ["A", "A", "B"] else (x, kinds)

    def watched(model, batches, estimator):
        before = [p.numpy().copy() for p in model.parameters()]
        statistics = [b.numpy().copy() for b in model.buffers()]
        estimate(model, batches, estimator)
        for p, value in zip(model.parameters(), before, strict=True):
            np.testing.assert_array_equal(p.numpy(), value)
        moved = [
            not np.array_equal(b.numpy(), s)
            for b, s in zip(model.buffers(), statistics, strict=True)
        ]
        seen.append((any(moved), {b.shape for b in batches}))

    expected = job.between_populations(0, 1.5, 0.4)
    monkeypatch.setattr(job.Populations, "sample", sample_without_labels)
    monkeypatch.setattr(job.nn, "population_statistics", watched)
    assert job.between_populations(0, 1.5, 0.4) == expected
    assert samples == ["A", "A", "B", "B"]
    assert seen == [(True, {(job.BATCH, job.FEATURES)})] * 8


def test_populations_differ_by_shift_and_scale_of_each_feature():
    populations = job.Populations(0, shift=3, scale=0.5)
    (a, _), (b, kinds) = map(populations.sample, "AB")
    assert a.dtype == b.dtype == np.float32
    assert set(kinds) == set(range(job.KINDS))
    ratio, moved = b.std(axis=0) / a.std(axis=0), b.mean(axis=0) - a.mean(axis=0)
    np.testing.assert_allclose(ratio, populations.scale, rtol=0.06)
    by_scale = (populations.scale - 1) * a.mean(axis=0)
    np.testing.assert_allclose(moved, populations.shift + by_scale, atol=0.25)


def test_drift_is_measured_in_deviations_per_100_steps():
    at, seen = np.array([0, 10, 60]), np.ones((1, 3, 5, 2))
    seen[0, :, 0] = [[0, 1], [3, -3], [3, -3]]  # means of two units: they move by 3 and -4
    seen[0, :, 1] = [[1, 2], [1, 2], [2, 1]]  # deviations: they double and halve
    (mean,), (log_deviation,) = job.drift(at, seen)
    np.testing.assert_allclose(mean, [10 * np.sqrt((3**2 + 2**2) / 2), 0])
    np.testing.assert_allclose(log_deviation, [0, 2 * np.log(2)])


def test_what_enters_a_sigmoid_moves_less_after_batch_norm(whole):
    table = rows(whole / "covariate_shift_network.csv")
    assert len(table) == len(job.PLACES) * (STEPS + 1)
    assert len({r["unit"] for r in table}) == 1
    for r in table:
        assert float(r["p15"]) < float(r["p50"]) < float(r["p85"])
        assert (r["mean_moved"] == "") == (r["step"] == "0")
    moved = {
        place: np.mean([float(r["mean_moved"]) for r in table if r["place"] == place and r["step"] != "0"])
        for place in job.PLACES
    }  # fmt: skip
    without, before, after = moved.values()
    assert without > 2 * before > 20 * after
    start = next(r for r in table if (r["place"], r["step"]) == ("after batch norm", "0"))
    assert float(start["mean"]) == pytest.approx(0, abs=1e-5)
    assert 0.8 < float(start["deviation"]) <= 1
