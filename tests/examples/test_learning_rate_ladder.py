"""Few steps of the five rows: the order in which they learn, what the table says, divergence, the same bits again."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import rows, run

import minigrad as mg
from examples import learning_rate_ladder as job

STEPS, EVALUATIONS = 40, 8


@pytest.fixture(scope="module", autouse=True)
def fewer_evaluations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "EVALUATIONS", EVALUATIONS)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fewer_evaluations):
    """The folder of one run over two seeds."""
    return run(job, tmp_path_factory.mktemp("out"), "--steps", STEPS, "--seeds", 2)


def table(out):
    return rows(out / "learning_rate_ladder_digits.csv")


def curves(out, name):
    """Test accuracies, shape (seeds, evaluations)."""
    found = [float(r["test_accuracy"]) for r in table(out) if r["row"] == name]
    return np.reshape(found, (-1, EVALUATIONS))


def test_batch_norm_learns_at_once_and_the_baseline_has_not_begun(whole):
    last = {name: curves(whole, name).mean(axis=0)[-1] for name in job.ROWS}
    assert last["BN-x5"] > 0.8
    assert last["BN-Baseline"] > 0.6
    assert last["baseline"] < 0.3
    losses = [float(r["train_loss"]) for r in table(whole) if r["row"] == "BN-Baseline"]
    assert losses[0] == pytest.approx(np.log(10), abs=0.8)
    assert losses[EVALUATIONS - 1] < 0.7 * losses[0]


def test_the_file_has_the_papers_rows_and_their_learning_rates(whole):
    rates = {r["row"]: float(r["first_lr"]) for r in table(whole)}
    times = {"baseline": 1, "BN-Baseline": 1, "BN-x5": 5, "BN-x30": 30, "BN-x5-Sigmoid": 5}
    assert rates == {name: pytest.approx(0.1 * t) for name, t in times.items()}
    steps = range(STEPS // EVALUATIONS, STEPS + 1, STEPS // EVALUATIONS)
    assert [int(r["step"]) for r in table(whole)] == list(steps) * 2 * len(rates)
    assert (whole / "learning_rate_ladder_digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_learning_rate_falls_exponentially_from_a_multiple(monkeypatch, rng):
    seen = []
    step = mg.optim.SGD.step
    monkeypatch.setattr(mg.optim.SGD, "step", lambda self: (seen.append(self.lr), step(self)))
    images, labels = rng.normal(size=(8, 1, 8, 8)).astype(np.float32), np.arange(8)
    splits = dict.fromkeys(("train", "test"), (images, labels))
    list(job.train(job.ROWS["BN-x5"], splits, [2, 4], 0.1, 4, seed=0))
    np.testing.assert_allclose(seen, 0.5 * job.DECAY ** (np.arange(4) / 4))


def test_a_training_that_diverges_ends_and_stays_at_chance(tmp_path):
    run(job, tmp_path, "--steps", 6, "--seeds", 1, "--lr", "1e9")
    found = [r for r in table(tmp_path) if r["row"] == "baseline"]
    assert [r["train_loss"] for r in found[1:]] == ["nan"] * (len(found) - 1)
    assert [float(r["test_accuracy"]) for r in found[1:]] == [job.CHANCE] * (len(found) - 1)
    assert "baseline" in (tmp_path / "printed").read_text()


def test_same_seed_gives_the_same_bits(whole, tmp_path):
    run(job, tmp_path, "--steps", STEPS, "--seed", 1, "--seeds", 1)
    assert table(tmp_path) == [r for r in table(whole) if r["seed"] == "1"]
