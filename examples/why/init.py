"""Batch norm makes training robust to the scale of the initial weights.

Ioffe & Szegedy 2015 (arXiv:1502.03167), section 3.3: BN(W u) = BN((a W) u), and the gradient falls as 1 / a, so that
larger weights take smaller steps and find their own rate. The experiment is that of the assignment of cs231n ("batch
normalization and weight initialization"): accuracy against the standard deviation of Gaussian weights.

Measured: training loss and test accuracy of a network of five hidden layers after the same number of steps by Adam, as
there; the output layer, which batch norm does not follow, begins the same in all. Plain SGD, whose steps do depend on
the scale, is shown for comparison.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np

import minigrad as mg
from examples.experiment import accuracy
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.3 (no figure); cs231n, assignment 2."
DEFAULT, FULL, SECONDS = Settings(steps=200), Settings(steps=400, seeds=5), 40
DEVIATIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
OPTIMIZERS = {"Adam": partial(mg.optim.Adam, lr=1e-3), "SGD": partial(mg.optim.SGD, lr=0.1)}
GOOD = 0.8  # a test accuracy that counts as trained


def run(settings: Settings) -> list[Row]:
    (training, test), rows = why.digits(), []
    for seed, (kind, std, optimizer) in settings.runs(product(why.NORMS, DEVIATIONS, OPTIMIZERS)):
        gaussian = partial(nn.init.normal, std=std)
        model = why.network((64, *[64] * 5, 10), why.NORMS[kind], seed, weight_init=gaussian)
        method = OPTIMIZERS[optimizer](model.parameters())
        losses = why.train(model, training, settings.steps, 64, seed, method)
        case = {"seed": seed, "network": f"{kind}, {optimizer}", "std": std}
        rows.append(
            case | {"train_loss": losses[-1], "test_accuracy": reached(model, test, losses)}
        )
    return rows


def reached(model: nn.Module, test: Any, losses: list[float]) -> float:
    """The test accuracy; chance if the training diverged."""
    with np.errstate(all="ignore"):
        return accuracy(model, *test) if np.isfinite(losses[-1]) else 0.1


def trained(rows: list[Row], name: str) -> list[float]:
    """The deviations from which every seed was trained well."""
    worst = {
        s: min(r["test_accuracy"] for r in rows if (r["network"], r["std"]) == (name, s))
        for s in DEVIATIONS
    }
    return [s for s, a in worst.items() if a >= GOOD]


def finding(rows: list[Row]) -> tuple[bool, str]:
    found = {kind: trained(rows, f"{kind}, Adam") for kind in why.NORMS}
    text = ", ".join(
        f"{kind} {f'std {good[0]:g} to {good[-1]:g}' if good else 'none'}"
        for kind, good in found.items()
    )
    low = {
        kind: min(why.select(rows, "test_accuracy", network=f"{kind}, Adam")) for kind in why.NORMS
    }
    text += f"; the worst scale reaches {low[why.WITHOUT]:.0%} and {low[why.WITH]:.0%}."
    holds = (
        len(found[why.WITH]) >= 2 * len(found[why.WITHOUT]) and low[why.WITH] > 2 * low[why.WITHOUT]
    )
    return holds, f"Adam reaches a test accuracy of {GOOD:.0%} {text}"


def table(rows: list[Row]) -> str:
    return "test accuracy by standard deviation of the initial weights:\n" + why.pivot(
        rows, "network", "std", "test_accuracy"
    )


def draw(figure: Any, rows: list[Row]) -> None:
    panel = figure.subplots()
    for name in why.values(rows, "network"):
        kind, optimizer = name.rsplit(", ", 1)
        style = "-" if optimizer == "Adam" else "--"
        why.curve(panel, rows, "std", "test_accuracy", why.COLORS[kind], name, style, network=name)
    label = "standard deviation of the initial weights"
    why.finish(panel, 2, xscale="log", xlabel=label, ylabel="test accuracy", ylim=(0, 1))
