"""Two epochs on the digits: what the files say, interruption and resumption, and the same bits again."""

from __future__ import annotations

import csv
import signal

import numpy as np
import pytest

import minigrad as mg
from examples import experiment
from examples import image_classifier as job


@pytest.fixture(autouse=True)
def default_backend():
    yield
    mg.set_backend("numpy")


def train(out, *options, code=0):
    assert job.main(["--epochs", "2", "--out", str(out), *map(str, options)]) == code
    return out


def rows(out, part=""):
    with (out / f"image_classifier_digits{part}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_learns_and_says_what_it_confuses(tmp_path, capsys):
    curves = rows(train(tmp_path))
    assert [row["epoch"] for row in curves] == ["1", "2"]
    accuracy = float(curves[-1]["test_accuracy"])
    assert accuracy > 0.8
    assert float(curves[1]["train_loss"]) < float(curves[0]["train_loss"])
    confusion = rows(tmp_path, "_confusion")
    labels = mg.data.digits("test")[1]
    for truth in range(10):
        own = [int(r["images"]) for r in confusion if r["true_class"] == str(truth)]
        assert sum(own) == (labels == truth).sum()
    right = sum(int(r["images"]) for r in confusion if r["true_class"] == r["answer"])
    assert right / len(labels) == pytest.approx(accuracy)
    assert (tmp_path / "image_classifier_digits.png").read_bytes().startswith(b"\x89PNG")
    assert f"test accuracy with running statistics: {accuracy:.4f}" in capsys.readouterr().out


def test_same_seed_gives_the_same_bits(tmp_path):
    files = [
        (train(tmp_path / str(i), "--seed", seed) / "image_classifier_digits.csv").read_text()
        for i, seed in enumerate("112")
    ]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("at", [1, 9, 14, 20])
def test_resumes_to_the_same_bits_after_ctrl_c(tmp_path, monkeypatch, capsys, at):
    """Within an epoch, at its end, and at its begin; an epoch has 14 steps."""
    options = ["--seed", 3]
    train(tmp_path / "whole", *options, "--checkpoint", tmp_path / "whole.safetensors")
    checkpoint = tmp_path / "cut.safetensors"
    step = job.Run.train_step

    def interrupted_step(self, *batch):
        step(self, *batch)
        if self.step == at:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(job.Run, "train_step", interrupted_step)
        train(tmp_path / "cut", *options, "--checkpoint", checkpoint, code=130)
    assert f"interrupted after step {at} of 28; --resume goes on" in capsys.readouterr().out
    assert not (tmp_path / "cut" / "image_classifier_digits.csv").exists()

    train(tmp_path / "cut", *options, "--checkpoint", checkpoint, "--resume")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert rows(tmp_path / "cut", "_confusion") == rows(tmp_path / "whole", "_confusion")
    whole, cut = mg.load(tmp_path / "whole.safetensors"), mg.load(checkpoint)
    assert whole.keys() == cut.keys()
    assert all(whole[name].tobytes() == cut[name].tobytes() for name in whole)
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[:3]] == ["epoch", "1", "2"]


def test_a_finished_run_resumes_to_its_end(tmp_path):
    options = ["--checkpoint", tmp_path / "run.safetensors"]
    train(tmp_path / "a", *options)
    train(tmp_path / "b", *options, "--resume")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_population_statistics_replace_the_running_ones(tmp_path, capsys):
    checkpoint = tmp_path / "run.safetensors"
    train(tmp_path, "--checkpoint", checkpoint)
    running = mg.load(checkpoint)
    train(tmp_path, "--checkpoint", checkpoint, "--resume", "--population")
    population = mg.load(checkpoint)
    assert "test accuracy with population statistics: 0.9" in capsys.readouterr().out
    for name in running:
        same = np.array_equal(running[name], population[name], equal_nan=True)
        assert same != ("running" in name), name


def test_refuses_a_checkpoint_of_other_settings(tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    train(tmp_path, "--checkpoint", checkpoint)
    with pytest.raises(SystemExit, match=r"other settings: shift \(1 there, 0 here\)"):
        train(tmp_path, "--checkpoint", checkpoint, "--resume", "--shift", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume needs --checkpoint"),
        (["--resume", "--checkpoint", "absent"], "there is no absent"),
        (["--epochs", "0"], "--epochs: expected a positive integer, got 0"),
        (["--batch-size", "1"], "at least 2"),
        (["--lr", "0"], "--lr: expected a positive number, got 0"),
        (["--shift", "-1"], "--shift: expected an integer, 0 or more, got -1"),
        (["--data", "imagenet"], "invalid choice"),
    ],
)
def test_bad_options_are_explained(capsys, options, message):
    with pytest.raises(SystemExit) as error:
        job.main(options)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_data_set_brings_its_recipe_and_its_class_names(tmp_path, monkeypatch):
    """Pictures of 28 x 28 pixels whose brightness tells the class, under the name of Fashion-MNIST."""
    rng = np.random.default_rng(0)

    def clothes(split):
        labels = np.arange(40) % 10
        return np.float32(labels[:, None, None] / 10 + rng.normal(0, 0.02, (40, 28, 28))), labels

    monkeypatch.setitem(experiment.DATA, "fashion-mnist", clothes)
    args = job.parse(["--data", "fashion-mnist"])
    assert (args.epochs, args.shift) == (10, 1)
    job.main(
        ["--data", "fashion-mnist", "--epochs", "1", "--batch-size", "20", "--out", str(tmp_path)]
    )
    with (tmp_path / "image_classifier_fashion-mnist_confusion.csv").open(newline="") as file:
        classes = {row["true_class"] for row in csv.DictReader(file)}
    assert len(classes) == 10
    assert {"coat", "sandal", "boot"} < classes


def test_help(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        job.main(["--help"])
    assert "20 for digits, 3 for mnist, 10 for fashion-mnist" in " ".join(
        capsys.readouterr().out.split()
    )
