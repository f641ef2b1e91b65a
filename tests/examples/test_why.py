"""Each claim at few steps: the rows and their numbers, what the files and the output say; where cheap, the claim."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from jobs import rows, run

from examples.why import __main__ as job
from examples.why import explosion, momentum
from examples.why.common import Settings

FIGURES = Path(__file__).parents[2] / "examples" / "figures"
#: steps, the columns that tell the cases apart, how many rows, and columns of numbers in a range
CASES = {
    "explosion": (12, "network layer", 48, {"norm": (0, 100), "growth": (0.8, 1.4)}),
    "momentum": (20, "statistics step", 6 * 16, {"test_error": (0, 1)}),
    "small_batches": (8, "norm batch_size", 40, {"test_error": (0, 1)}),
    "init": (2, "network std", 36, {"test_accuracy": (0, 1)}),
    "learning_rates": (3, "network rate heat part layer", 20 + 420, {"train_loss": (0, 1000), "mean": (0, 1e9)}),
    "smoothness": (4, "network step", 12, {"train_loss": (0, 50), "width": (0, 1e9), "beta": (0, 1e9)}),
    "shift": (2, "network rate step layer", 2 * 5 * 2 * 5, {"cosine": (-1, 1), "relative": (0, 1e3)}),
    "dropout": (4, "network p", 10, {"test_accuracy": (0, 1), "shift": (0, 100)}),
    "regularization": (2, "what at", 9, {"test_accuracy": (0, 1), "gamma": (0.5, 1.5), "test_loss": (0, 50)}),
    "siblings": (2, "model network", 16, {"test_accuracy": (0, 1), "early_accuracy": (0, 1), "train_loss": (0, 50)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_numbers_files_and_finding(name, tmp_path):
    steps, keys, count, ranges = CASES[name]
    out = run(job, tmp_path, name, "--steps", steps, "--seed", 3)
    table, printed = rows(out / f"why_{name}.csv"), (out / "printed").read_text()
    assert len({tuple(r[k] for k in keys.split()) for r in table}) == len(table) == count
    for column, (low, high) in ranges.items():
        numbers = [float(r[column]) for r in table if r[column]]
        assert numbers and all(low <= n <= high and math.isfinite(n) for n in numbers), column
    module = import_module(f"examples.why.{name}")
    assert printed.startswith(job.claim(module))
    assert "arXiv:" in module.PAPER and module.PAPER[:30] in " ".join(printed.split())
    assert ("\ncomes out: " in printed) != ("\ndoes not come out at this scale: " in printed)
    assert (out / f"why_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (FIGURES / f"why_{name}.png").stat().st_size < 150_000  # that of --full


def test_a_seed_determines_the_numbers(tmp_path):
    name = "dropout"  # which draws most
    texts = [
        (
            run(job, tmp_path / f, name, "--steps", 3, "--seed", s, *full) / f"why_{name}.csv"
        ).read_text()
        for f, s, *full in (("a", 1, "--full", "--seeds", 2), ("b", 1), ("c", 2))
    ]
    printed = " ".join((tmp_path / "a" / "printed").read_text().split())
    assert printed.startswith("about 0.0 minutes") and "Means and ranges of 2 seeds" in printed
    assert texts[0] == texts[1] + texts[2].partition("\n")[2]
    assert texts[1] != texts[2].replace("\n2,", "\n1,")


def test_claims_that_are_cheap():
    growth = explosion.theory(lambda z: np.maximum(z, 0), True) ** 2
    assert growth == pytest.approx(np.pi / (np.pi - 1), rel=1e-3)
    table = explosion.run(Settings(steps=24))
    assert explosion.finding(table)[0]
    tanh = next(r for r in table if r["network"] == "tanh")
    assert tanh["growth"] == pytest.approx(tanh["theory"], rel=0.03)
    table = momentum.run(Settings(steps=150))
    fast, slow, never = (momentum.lag(table, m) for m in (0.5, 0.99, 0.999))
    assert fast < slow < never == np.inf


def test_without_a_name_it_lists_the_claims(capsys):
    job.main([])
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in CASES) and set(job.NAMES) == set(CASES)
    assert "less than a minute" in printed
