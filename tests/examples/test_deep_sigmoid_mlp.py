"""The main job at few steps: its numbers, its files, interruption and resumption."""

from __future__ import annotations

import csv
import signal

import numpy as np
import pytest

import minigrad as mg
from examples import deep_sigmoid_mlp as job


@pytest.fixture(autouse=True)
def default_backend():
    yield
    mg.set_backend("numpy")


def run(out, *options, code=0):
    assert job.main(["--steps", "60", "--out", str(out), *map(str, options)]) == code


def rows(out, data="digits"):
    with (out / f"deep_sigmoid_mlp_{data}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_writes_what_figure_one_shows(tmp_path, capsys):
    run(tmp_path, "--seeds", 2)
    table = rows(tmp_path)
    assert len(table) == 2 * 2 * 61  # seeds, networks, evaluations
    assert {r["network"] for r in table} == {"without batch norm", "with batch norm"}
    assert sorted({int(r["seed"]) for r in table}) == [0, 1]
    assert len({r["unit"] for r in table}) == 1
    last = {(r["seed"], r["network"]): r for r in table if r["step"] == "60"}
    for seed in "01":
        with_bn = float(last[seed, "with batch norm"]["test_accuracy"])
        without = float(last[seed, "without batch norm"]["test_accuracy"])
        assert with_bn > 0.7 > 0.3 > without
    for r in table:
        assert float(r["p15"]) <= float(r["p50"]) <= float(r["p85"])
        assert (r["train_loss"] == "") == (r["step"] == "0")
    assert (tmp_path / "deep_sigmoid_mlp_digits.png").read_bytes().startswith(b"\x89PNG")
    assert "with batch norm" in capsys.readouterr().out


def test_batch_norm_keeps_the_input_of_a_sigmoid_spread_out(tmp_path):
    run(tmp_path)
    spread = {
        r["network"]: float(r["p85"]) - float(r["p15"]) for r in rows(tmp_path) if r["step"] == "60"
    }
    assert spread["with batch norm"] > 10 * spread["without batch norm"]


def test_both_networks_start_from_the_same_weights():
    settings = job.Settings(steps=1)
    state = job.Run(settings, job.Data.load(settings), job.Curves.empty(settings))
    plain, normalized = (m.state_dict() for m in state.models)
    shared = [name for name in plain if name.endswith("weight")]
    assert len(shared) == 4
    for name in shared:
        np.testing.assert_array_equal(plain[name], normalized[name])


def test_same_seed_gives_the_same_bits(tmp_path):
    for name in "ab":
        run(tmp_path / name, "--binary")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


@pytest.mark.parametrize("at", [(0, 17), (0, 60), (1, 33)])
def test_resumes_to_the_same_bits_after_ctrl_c(tmp_path, monkeypatch, capsys, at):
    options = ["--seeds", 2, "--seed", 3]
    run(tmp_path / "whole", *options, "--checkpoint", tmp_path / "whole.safetensors")

    checkpoint = tmp_path / "cut.safetensors"
    step = job.Run.train_step

    def interrupted_step(self, *batch):
        step(self, *batch)
        if (self.run, self.step) == at:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(job.Run, "train_step", interrupted_step)
        run(tmp_path / "cut", *options, "--checkpoint", checkpoint, code=130)
    assert f"after step {at[1]} of seed {3 + at[0]}" in capsys.readouterr().out
    assert not (tmp_path / "cut" / "deep_sigmoid_mlp_digits.csv").exists()

    run(tmp_path / "cut", *options, "--checkpoint", checkpoint, "--resume")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    whole, cut = mg.load(tmp_path / "whole.safetensors"), mg.load(checkpoint)
    assert whole.keys() == cut.keys()
    assert all(whole[name].tobytes() == cut[name].tobytes() for name in whole)


def test_refuses_a_checkpoint_of_other_settings(tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    run(tmp_path, "--checkpoint", checkpoint)
    with pytest.raises(SystemExit, match=r"other settings: lr \(0\.1 there, 0\.2 here\)"):
        run(tmp_path, "--checkpoint", checkpoint, "--resume", "--lr", 0.2)
    mg.save(checkpoint, {"a": np.zeros(1)})
    with pytest.raises(SystemExit, match="not a checkpoint of this experiment"):
        run(tmp_path, "--checkpoint", checkpoint, "--resume")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume needs --checkpoint"),
        (["--resume", "--checkpoint", "absent"], "there is no absent"),
        (["--steps", "0"], "positive integer"),
        (["--batch-size", "1"], "at least 2"),
        (["--lr", "-1"], "positive number"),
        (["--data", "imagenet"], "invalid choice"),
    ],
)
def test_bad_options_are_explained(capsys, options, message):
    with pytest.raises(SystemExit) as error:
        job.main(options)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_batch_larger_than_the_data(tmp_path):
    with pytest.raises(SystemExit, match="training set has only 1437"):
        run(tmp_path, "--batch-size", 2000)


def test_mnist_from_a_folder(tmp_path, monkeypatch):
    """The data set is looked up where MINIGRAD_DATA says, and errors say what to put there."""
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path))
    monkeypatch.setitem(job.DATA, "mnist", lambda split: mg.data.mnist(split, download=False))
    with pytest.raises(SystemExit, match="train-images-idx3-ubyte"):
        run(tmp_path, "--data", "mnist")
