"""What the examples share: options, seeds, interruption and resumption, and the functions of ``experiment``."""

from __future__ import annotations

import argparse
import re
import runpy
import signal
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from jobs import rows, run

import minigrad as mg
from examples import (
    covariate_shift,
    deep_sigmoid_mlp,
    experiment,
    image_classifier,
    learning_rate_ladder,
    sequential_mnist,
)
from minigrad import nn

FILES = sorted((Path(__file__).parents[2] / "examples").glob("[!_]*.py"))
HELPERS = ("classifier_report", "experiment", "figure_one")

#: an option that the help shows, and wrong options with words of the message
OPTIONS = """
backprop_through_bn | --seed
backprop_through_bn | --steps 0 | --steps: expected a positive integer, got 0
covariate_shift | --scale
covariate_shift | --steps 0 | positive integer
covariate_shift | --shift -1 | --shift: expected a number >= 0, got -1.0
covariate_shift | --scale nan | --scale: expected a number >= 0, got nan
covariate_shift | --seed -1 | --seed: expected an integer, 0 or more, got -1
deep_sigmoid_mlp | --resume
deep_sigmoid_mlp | --resume | --resume needs --checkpoint
deep_sigmoid_mlp | --resume --checkpoint absent | there is no absent
deep_sigmoid_mlp | --steps 0 | positive integer
deep_sigmoid_mlp | --batch-size 1 | at least 2
deep_sigmoid_mlp | --lr -1 | positive number
deep_sigmoid_mlp | --data imagenet | invalid choice
deep_sigmoid_mlp | --batch-size 2000 | training set has only 1437
distributed_mlp | mpiexec -n 4
distributed_mlp | --steps 0 | positive integer
image_classifier | 20 for digits, 3 for mnist, 10 for fashion-mnist
image_classifier | --resume | --resume needs --checkpoint
image_classifier | --resume --checkpoint absent | there is no absent
image_classifier | --epochs 0 | --epochs: expected a positive integer, got 0
image_classifier | --batch-size 1 | at least 2
image_classifier | --lr 0 | --lr: expected a positive number, got 0
image_classifier | --shift -1 | --shift: expected an integer, 0 or more, got -1
image_classifier | --data imagenet | invalid choice
learning_rate_ladder | --seeds
learning_rate_ladder | --steps 0 | --steps: expected a positive integer, got 0
learning_rate_ladder | --seeds 0 | --seeds: expected a positive integer, got 0
learning_rate_ladder | --batch-size 1 | at least 2
learning_rate_ladder | --lr -1 | --lr: expected a positive number, got -1
learning_rate_ladder | --data imagenet | invalid choice
sequential_mnist | --hidden
sequential_mnist | --steps 0 | positive integer
sequential_mnist | --hidden 0 | positive integer
sequential_mnist | --seeds -1 | positive integer
sequential_mnist | --batch-size 1 | at least 2
sequential_mnist | --lr 0 | --lr: expected a positive number, got 0
sequential_mnist | --lr nan | --lr: expected a positive number, got nan
sequential_mnist | --seed -1 | --seed: expected an integer, 0 or more, got -1
sequential_mnist | --data imagenet | invalid choice
sequential_mnist | --batch-size 2000 | training set has only 1437
swap_backends | --steps
swap_backends | --steps 0 | --steps: expected a positive integer, got 0
tf_layers | --steps
tf_layers | --steps 0 | --steps: expected a positive integer, got 0
two_graphs | --batch-size
two_graphs | --batch-size 1 | batch statistics need at least 2 images
"""


@pytest.fixture(autouse=True)
def default_backend():
    yield
    mg.set_backend("numpy")


@pytest.mark.parametrize("row", OPTIONS.strip().splitlines())
def test_help_and_wrong_options(row, capsys):
    name, *options, words = map(str.strip, row.split("|"))
    with pytest.raises(SystemExit) as ended:
        import_module(f"examples.{name}").main(options[0].split() if options else ["--help"])
    printed = capsys.readouterr()
    text = printed.err if options else printed.out
    if not isinstance(ended.value.code, str):  # a string is printed by the interpreter
        assert ended.value.code == (2 if options else 0)
    else:
        text = ended.value.code
    assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("covariate_shift", "--steps 2", None),
        ("deep_sigmoid_mlp", "--steps 6 --binary", 0),
        ("image_classifier", "--epochs 1 --batch-size 500", 0),
        ("sequential_mnist", "--steps 3 --hidden 4 --seeds 1", None),
    ],
)
def test_a_seed_determines_the_bits(name, options, code, tmp_path, monkeypatch):
    job = import_module(f"examples.{name}")
    if name == "covariate_shift":
        monkeypatch.setattr(job, "SIZE", 300)
    a, b, c = (
        run(job, tmp_path / folder, *options.split(), "--seed", seed, code=code)
        for folder, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    tables = sorted(path.name for path in a.glob("*.csv"))
    assert tables and next(a.glob("*.png")).read_bytes().startswith(b"\x89PNG")
    for table in tables:
        assert rows(a / table) == rows(b / table) != rows(c / table)


def networks(name):
    """The networks that an example compares."""
    if name == "covariate_shift":
        return [covariate_shift.make_network(kind, 3) for kind in covariate_shift.NETWORKS]
    if name == "learning_rate_ladder":
        rows_of_table = learning_rate_ladder.ROWS.values()
        return [learning_rate_ladder.ConvNet(r, np.random.default_rng(0)) for r in rows_of_table]
    if name == "sequential_mnist":
        made = (
            sequential_mnist.make_network(n, 4, 5, 6, seed=1) for n in sequential_mnist.NETWORKS
        )
        return [*made]
    settings = deep_sigmoid_mlp.Settings(steps=1)
    data, curves = deep_sigmoid_mlp.Data.load(settings), deep_sigmoid_mlp.Curves.empty(settings)
    return deep_sigmoid_mlp.Run(settings, data, curves).models


@pytest.mark.parametrize(
    "name", ["covariate_shift", "deep_sigmoid_mlp", "learning_rate_ladder", "sequential_mnist"]
)
def test_networks_that_are_compared_begin_with_the_same_weights(name):
    first, *others = (
        [a for n, a in network.state_dict().items() if "weight" in n] for network in networks(name)
    )
    for weights in others:
        assert len(weights) == len(first) > 2
        for ours, theirs in zip(weights, first, strict=True):
            np.testing.assert_array_equal(ours, theirs)


MLP = (deep_sigmoid_mlp, "--steps 60 --seeds 2 --seed 3")
CLASSIFIER = (image_classifier, "--epochs 2 --seed 3")
#: (number of the run, step) after which Ctrl-C comes: within a run, at its end, in the second one; within an epoch of
#: 14 steps, and next to its ends
CUTS = [
    (*MLP, (0, 17), "step 17 of seed 3"),
    (*MLP, (0, 60), "step 60 of seed 3"),
    (*MLP, (1, 33), "step 33 of seed 4"),
    *[(*CLASSIFIER, (0, n), f"step {n} of 28; --resume goes on") for n in (1, 9, 14, 20)],
]


@pytest.mark.parametrize(("job", "options", "at", "words"), CUTS)
def test_resumes_to_the_same_bits_after_ctrl_c(tmp_path, monkeypatch, job, options, at, words):
    folders, options = [tmp_path / "whole", tmp_path / "cut"], options.split()
    files = [tmp_path / f"{f.name}.safetensors" for f in folders]
    run(job, folders[0], *options, "--checkpoint", files[0], code=0)
    step = job.Run.train_step

    def interrupted_step(self, *batch):
        step(self, *batch)
        if (getattr(self, "run", 0), self.step) == at:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(job.Run, "train_step", interrupted_step)
        run(job, folders[1], *options, "--checkpoint", files[1], code=130)
    assert f"after {words}" in (folders[1] / "printed").read_text()
    assert not list(folders[1].glob("*.csv"))

    def same():
        for table in folders[0].glob("*.csv"):
            assert rows(table) == rows(folders[1] / table.name)
        whole, cut = map(mg.load, files)
        assert whole.keys() == cut.keys()
        assert all(whole[name].tobytes() == cut[name].tobytes() for name in whole)

    for _ in range(2):  # the second time from the checkpoint of a finished run
        run(job, folders[1], *options, "--checkpoint", files[1], "--resume", code=0)
        same()


@pytest.mark.parametrize(
    ("job", "options", "changed", "words"),
    [
        (deep_sigmoid_mlp, "--steps 2", "--lr 0.2", "lr (0.1 there, 0.2 here)"),
        (image_classifier, "--epochs 1", "--shift 0", "shift (1 there, 0 here)"),
    ],
)
def test_refuses_a_checkpoint_of_other_settings(tmp_path, job, options, changed, words):
    options = [*options.split(), "--checkpoint", tmp_path / "run.safetensors"]
    run(job, tmp_path, *options, code=0)
    with pytest.raises(SystemExit) as error:
        run(job, tmp_path, *options, "--resume", *changed.split())
    assert f"other settings: {words}" in str(error.value)
    mg.save(tmp_path / "run.safetensors", {"a": np.zeros(1)})
    with pytest.raises(SystemExit, match="not a checkpoint of this experiment"):
        run(job, tmp_path, *options, "--resume")


@pytest.mark.parametrize("name", ["deep_sigmoid_mlp", "sequential_mnist"])
def test_mnist_that_is_missing(name, tmp_path, monkeypatch):
    """It is read where MINIGRAD_DATA says; the error names the missing file."""
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path / "nothing"))
    monkeypatch.setitem(experiment.DATA, "mnist", lambda s: mg.data.mnist(s, download=False))
    with pytest.raises(SystemExit, match=r"not in .*train-images-idx3-ubyte"):
        run(import_module(f"examples.{name}"), tmp_path, "--data", "mnist")


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (experiment.natural, "0", "-1"),
        (experiment.positive, "1", "0"),
        (experiment.at_least_two, "2", "1"),
        (experiment.positive_number, "0.5", "0 inf nan"),
    ],
)
def test_types_of_options(kind, right, wrong):
    assert kind(right) == float(right)
    for text in wrong.split():
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


def test_ctrl_c_waits_once(recwarn):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), experiment.interruption() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("error", [ImportError, OSError, ValueError])
def test_reasons_end_with_one_line(error):
    with pytest.raises(SystemExit, match=r"^needs pooch$"), experiment.reasons():
        raise error("needs pooch")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_that_is_run_has_a_help_that_says_how_long_it_takes(path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    if code := ended.value.code:
        assert path.stem in HELPERS and f"{path.name} is no program" in code
    else:
        assert re.search(r"[Tt]akes .*(second|minute)", capsys.readouterr().out)
