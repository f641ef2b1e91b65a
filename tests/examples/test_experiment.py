"""What the experiments share."""

from __future__ import annotations

import argparse
import signal

import numpy as np
import pytest

import minigrad as mg
from examples import experiment
from minigrad import nn


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (experiment.natural, "0", 0),
        (experiment.positive, "1", 1),
        (experiment.at_least_two, "2", 2),
        (experiment.positive_number, "0.5", 0.5),
    ],
)
def test_types_of_options(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (experiment.natural, "-1"),
        (experiment.positive, "0"),
        (experiment.at_least_two, "1"),
        (experiment.positive_number, "0"),
        (experiment.positive_number, "inf"),
        (experiment.positive_number, "nan"),
    ],
)
def test_types_refuse_and_say_what_came(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"got {text}$"):
        kind(text)


def test_predictions_are_made_in_parts_and_in_eval_mode(monkeypatch, rng):
    model = nn.Sequential(nn.Linear(5, 3, rng=rng), nn.BatchNorm(3))
    seen = []
    monkeypatch.setattr(
        nn.Sequential, "forward", lambda self, x: (seen.append((len(x), self.training)), x)[1]
    )
    x = rng.normal(size=(30, 5)).astype(np.float32)
    monkeypatch.setattr(experiment, "PART", 7)
    np.testing.assert_array_equal(experiment.predict(model, x), x)
    assert seen == [(7, False)] * 4 + [(2, False)]
    assert model.training
    labels = x.argmax(axis=1)
    assert experiment.accuracy(model, x, labels) == 1
    assert experiment.accuracy(model, x, np.r_[labels[:15], (labels[15:] + 1) % 5]) == 0.5


def test_load_refuses_a_batch_larger_than_the_data():
    assert len(experiment.load("digits", 1437)["train"][0]) == 1437
    with pytest.raises(ValueError, match="--batch-size 1438: the training set has only 1437"):
        experiment.load("digits", 1438)


def test_ctrl_c_waits_once(recwarn):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), experiment.interruption() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_checkpoints_come_back_by_part_and_only_under_the_same_settings(tmp_path):
    file = tmp_path / "run.safetensors"
    state = experiment.flatten_state({"settings": {"lr": 0.1}, "model": {"a.b": np.ones(2)}})
    mg.save(file, state)
    parts = experiment.load_checkpoint(file, state)
    assert parts["settings"] == {"lr": 0.1}
    np.testing.assert_array_equal(parts["model"]["a.b"], [1, 1])
    with pytest.raises(ValueError, match=r"other settings: lr \(0\.1 there, 0\.2 here\)"):
        experiment.load_checkpoint(file, state | {"settings.lr": np.asarray(0.2)})
    with pytest.raises(ValueError, match="not a checkpoint of this experiment"):
        experiment.load_checkpoint(file, {"other": np.ones(1)})


@pytest.mark.parametrize("error", [ImportError, OSError, ValueError])
def test_reasons_end_with_one_line(error):
    with pytest.raises(SystemExit, match=r"^needs pooch$"), experiment.reasons():
        raise error("needs pooch")
