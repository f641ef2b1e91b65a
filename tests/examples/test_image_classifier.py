"""Two epochs on the digits: what the files say, and the same bits again."""

from __future__ import annotations

import csv

import pytest

import minigrad as mg
from examples import image_classifier as job


@pytest.fixture(autouse=True)
def default_backend():
    yield
    mg.set_backend("numpy")


def train(out, *options):
    job.main(["--epochs", "2", "--out", str(out), *options])
    return out


def rows(out, part=""):
    with (out / f"image_classifier_digits{part}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_learns_and_says_what_it_confuses(tmp_path):
    curves = rows(train(tmp_path))
    assert [row["epoch"] for row in curves] == ["1", "2"]
    accuracy = float(curves[-1]["test_accuracy"])
    assert accuracy > 0.8
    confusion = rows(tmp_path, "_confusion")
    total = sum(int(row["images"]) for row in confusion)
    right = sum(int(row["images"]) for row in confusion if row["true_class"] == row["answer"])
    assert total == len(mg.data.digits("test")[1])
    assert right / total == pytest.approx(accuracy)
    assert (tmp_path / "image_classifier_digits.png").stat().st_size > 10_000


def test_same_seed_gives_the_same_bits(tmp_path):
    files = [
        (train(tmp_path / str(i), "--seed", seed) / "image_classifier_digits.csv").read_text()
        for i, seed in enumerate("112")
    ]
    assert files[0] == files[1] != files[2]


def test_bad_arguments(capsys):
    with pytest.raises(SystemExit):
        job.main(["--epochs", "0"])
    assert "--epochs" in capsys.readouterr().err
