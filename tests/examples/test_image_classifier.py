"""Two epochs on the digits: accuracy, confusion, population statistics, and the recipe of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import rows, run

import minigrad as mg
from examples import experiment
from examples import image_classifier as job


def test_it_learns_and_counts_confusions(tmp_path):
    """And with population statistics, which change the running statistics alone."""
    checkpoint = tmp_path / "run.safetensors"
    options = "--epochs", 2, "--checkpoint", checkpoint
    curves = rows(run(job, tmp_path, *options, code=0) / "image_classifier_digits.csv")
    assert [row["epoch"] for row in curves] == ["1", "2"]
    accuracy = float(curves[-1]["test_accuracy"])
    assert accuracy > 0.8
    assert float(curves[1]["train_loss"]) < float(curves[0]["train_loss"])
    confusion = rows(tmp_path / "image_classifier_digits_confusion.csv")
    labels = mg.data.digits("test")[1]
    for truth in range(10):
        own = [int(r["images"]) for r in confusion if r["true_class"] == str(truth)]
        assert sum(own) == (labels == truth).sum()
    right = sum(int(r["images"]) for r in confusion if r["true_class"] == r["answer"])
    assert right / len(labels) == pytest.approx(accuracy)
    printed = (tmp_path / "printed").read_text()
    assert f"test accuracy with running statistics: {accuracy:.4f}" in printed
    running = mg.load(checkpoint)
    run(job, tmp_path, *options, "--resume", "--population", code=0)
    printed = (tmp_path / "printed").read_text()
    assert "test accuracy with population statistics: 0.9" in printed
    assert [line.split()[0] for line in printed.splitlines()[:3]] == ["epoch", "1", "2"]
    population = mg.load(checkpoint)
    for name in running:
        same = np.array_equal(running[name], population[name], equal_nan=True)
        assert same != ("running" in name), name


def test_a_data_set_brings_its_recipe_and_its_class_names(tmp_path, monkeypatch):
    """Pictures of 28 x 28 pixels whose brightness tells the class, under the name of Fashion-MNIST."""
    rng = np.random.default_rng(0)

    def clothes(split):
        labels = np.arange(40) % 10
        return np.float32(labels[:, None, None] / 10 + rng.normal(0, 0.02, (40, 28, 28))), labels

    monkeypatch.setitem(experiment.DATA, "fashion-mnist", clothes)
    options = "--data", "fashion-mnist", "--batch-size", "20"
    args = job.parse(options)
    assert (args.epochs, args.shift) == (10, 1)
    run(job, tmp_path, *options, "--epochs", "1", code=0)
    table = rows(tmp_path / "image_classifier_fashion-mnist_confusion.csv")
    classes = {row["true_class"] for row in table}
    assert len(classes) == 10
    assert {"coat", "sandal", "boot"} < classes
