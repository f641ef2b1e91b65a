"""A few steps of a small network: the numbers in the files, sequences longer than trained, the same bits again."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import rows, run

import minigrad as mg
from examples import experiment
from examples import sequential_mnist as job

OPTIONS = ["--steps", "60", "--hidden", "12", "--lr", "0.02"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of one run over two seeds."""
    return run(job, tmp_path_factory.mktemp("out"), *OPTIONS, "--seeds", 2)


def table(out, part=""):
    return rows(out / f"sequential_mnist_digits{part}.csv")


def data(rng, n=30):
    """Images whose rows tell their class, which is 0, 1 or 2."""
    labels = rng.integers(3, size=n)
    images = rng.normal(size=(n, 4, 5)) + labels[:, None, None]
    return np.float32(images), labels


def test_both_learn_and_batch_norm_learns_faster(whole):
    found = table(whole)
    assert len(found) == 2 * 2 * job.EVALUATIONS
    last = {network: [] for network in job.NETWORKS}
    for seed, network in [(s, n) for s in "01" for n in job.NETWORKS]:
        curve = [r for r in found if (r["seed"], r["network"]) == (seed, network)]
        assert [int(r["step"]) for r in curve] == sorted({int(r["step"]) for r in found})
        losses = [float(r["train_loss"]) for r in curve]
        assert losses[0] == pytest.approx(np.log(10), abs=0.5)
        assert losses[-1] < 0.7 * losses[0]
        last[network].append(float(curve[-1]["test_accuracy"]))
    plain, normalized = map(np.mean, last.values())
    assert normalized > plain + 0.02 > 0.5


def test_estimating_again_for_longer_sequences_helps(whole):
    for seed in "01":
        found = {
            (r["sequence"], r["statistics"]): float(r["test_accuracy"])
            for r in table(whole, "_longer")
            if r["seed"] == seed
        }
        for sequence in ("blank rows before", "the image twice"):
            assert found[sequence, "re-estimated"] > found[sequence, "last step"]


def test_longer_sequences_are_made_of_the_image():
    x = np.arange(12.0).reshape(1, 4, 3)
    made = {name: lengthen(x) for name, lengthen in job.LONGER.items()}
    assert {y.shape for y in made.values()} == {(1, 8, 3)}
    np.testing.assert_array_equal(made["every row twice"][:, 1::2], x)
    np.testing.assert_array_equal(made["the image twice"][:, 4:], x)
    np.testing.assert_array_equal(made["blank rows before"][:, 4:], x)
    np.testing.assert_array_equal(made["blank rows after"][:, :4], x)
    assert made["blank rows before"].sum() == made["blank rows after"].sum() == x.sum()


def test_later_steps_use_the_last_trained_statistics_until_they_have_their_own(rng):
    model = job.make_network("BN-LSTM", rows=4, columns=5, hidden=6, seed=0)
    train, test = data(rng), data(rng)
    next(job.train(model, train, batch_size=30, lr=0.1, seed=0))
    counts = [int(step.num_batches.item()) for step in model.lstm.bn_h.steps]
    assert counts == [1] * 4 + [0] * 4

    state = model.state_dict()
    found = list(job.longer(model, "BN-LSTM", {"train": train, "test": test}))
    assert [row[:2] for row in found] == [
        (sequence, statistics)
        for sequence in job.LONGER
        for statistics in ("last step", "re-estimated")
    ]
    after = model.state_dict()
    assert all(np.array_equal(after[name], value) for name, value in state.items())

    short = job.make_network("BN-LSTM", rows=2, columns=5, hidden=6, seed=0)
    short.load_state_dict({k: v for k, v in state.items() if k in short.state_dict()})
    x = mg.tensor(job.LONGER["every row twice"](test[0]))
    with mg.no_grad():
        np.testing.assert_array_equal(model.eval()(x).numpy(), short.eval()(x).numpy())


def test_both_are_trained_on_the_same_batches(monkeypatch):
    plain, normalized = (job.make_network(name, 4, 5, 6, seed=1) for name in job.NETWORKS)
    seen = []
    monkeypatch.setattr(
        job.mg, "softmax_cross_entropy", lambda y, t: seen.append(t.numpy()) or y.sum()
    )
    for model in (plain, normalized):
        training = job.train(model, data(np.random.default_rng(0)), batch_size=10, lr=0.1, seed=1)
        for _ in range(7):  # more than two epochs
            next(training)
    for a, b in zip(seen[:7], seen[7:], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not all(np.array_equal(a, b) for a, b in zip(seen[:3], seen[3:6], strict=True))


def test_a_run_over_seeds_is_the_runs_of_each(whole, tmp_path):
    run(job, tmp_path, *OPTIONS, "--seed", 1, "--seeds", 1)
    for part in ("", "_longer"):
        assert table(tmp_path, part) == [r for r in table(whole, part) if r["seed"] == "1"]


def test_mnist_is_read_in_28_table(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = np.float32(rng.random((20, 28, 28)))
    monkeypatch.setitem(experiment.DATA, "mnist", lambda split: (images, np.arange(20) % 10))
    made = []
    make = job.make_network
    monkeypatch.setattr(job, "make_network", lambda *a: made.append(make(*a)) or made[-1])
    options = "--data mnist --steps 1 --hidden 4 --seeds 1 --batch-size 20"
    run(job, tmp_path, *options.split())
    assert [model.lstm.weight_ih.shape for model in made] == [(16, 28), (16, 28)]
    counts = [int(step.num_batches.item()) for step in made[1].lstm.bn_c.steps]
    assert counts == [1] * 28 + [0] * 28
    assert (tmp_path / "sequential_mnist_mnist_longer.csv").exists()
