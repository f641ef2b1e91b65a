"""Batch norm takes dropout's place, and dropout before it shifts its variances.

Ioffe & Szegedy 2015 (arXiv:1502.03167), sections 3.4 and 4.2.1: batch norm regularizes, and their networks without
dropout are as good. Li et al. 2018 (arXiv:1801.05134) on the two together: dropout adds variance to what a following
batch norm sees in training, and not in eval, where the running variances then are wrong ("variance shift").

Measured: test accuracy of a network of three hidden layers, trained on few examples, dropout after each activation,
without and with batch norm; and the shift, from ``minigrad.study.gap``: |log(variance in eval / running variance)| of
the batch norms that follow a dropout, root mean square over their units.

What dropout gains depends on the data: with all 1,437 training images it gained nothing, with or without batch norm;
with 256 of them batch norm alone was 4 points worse than the network without, and dropout helped both. The variance
shift was there in all.
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
from minigrad import nn, study

PAPER = "Ioffe & Szegedy 2015, arXiv:1502.03167, section 4.2.1; Li et al. 2018, arXiv:1801.05134, Figure 1."
DEFAULT, FULL, SECONDS = Settings(steps=1000), Settings(steps=3000, seeds=5), 120
EXAMPLES = 512  # few, so that a network without any regularization overfits
PROBABILITIES = (0.0, 0.1, 0.3, 0.5, 0.7)


def activation(p: float, rng: np.random.Generator) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(p, rng))


def run(settings: Settings) -> list[Row]:
    (training, test), rows = why.few(EXAMPLES), []
    for seed, (kind, p) in settings.runs(product(why.NORMS, PROBABILITIES)):
        rng = np.random.default_rng([seed, 3])
        sizes = (64, 128, 128, 128, 10)
        model = why.network(sizes, why.NORMS[kind], seed, partial(activation, p, rng))
        optimizer = mg.optim.SGD(model.parameters(), 0.1)
        losses = why.train(model, training, settings.steps, 32, seed, optimizer)
        row = {"seed": seed, "network": kind, "p": p, "train_loss": float(np.mean(losses[-50:]))}
        row["test_accuracy"] = accuracy(model, *test)
        if kind == why.WITH:
            examples = [next(why.batches(training, EXAMPLES, seed))]
            row["shift"] = float(np.mean([layer.var for layer in study.gap(model, examples)][1:]))
        rows.append(row)
    return rows


def gain(rows: list[Row], kind: str) -> float:
    """The accuracy that the best dropout gains."""
    of = [why.mean(rows, "test_accuracy", network=kind, p=p) for p in PROBABILITIES]
    return max(of[1:]) - of[0]


def finding(rows: list[Row]) -> tuple[bool, str]:
    shift = [why.mean(rows, "shift", network=why.WITH, p=p) for p in PROBABILITIES]
    plain, alone = (why.mean(rows, "test_accuracy", network=k, p=0.0) for k in why.NORMS)
    gains = [100 * gain(rows, kind) for kind in why.NORMS]
    text = f"the best dropout gains {gains[0]:.1f} points without and {gains[1]:.1f} "
    text += f"with batch norm, which alone gains {100 * (alone - plain):.1f}; the log variances are off by "
    text += f"{shift[0]:.2f} without dropout, {shift[-2]:.2f} at p = 0.5."
    holds = gains[1] < gains[0] and shift[-2] > 2 * shift[0]
    return holds and alone >= plain + gains[0] / 100 - 0.01, text


def table(rows: list[Row]) -> str:
    shift = why.pivot([r for r in rows if r["network"] == why.WITH], "network", "p", "shift")
    return f"test accuracy by p:\n{why.pivot(rows, 'network', 'p', 'test_accuracy')}\n\nvariance shift by p:\n{shift}"


def draw(figure: Any, rows: list[Row]) -> None:
    left, right = figure.subplots(1, 2)
    for kind, color in why.COLORS.items():
        why.curve(left, rows, "p", "test_accuracy", color, kind, network=kind)
    why.curve(right, rows, "p", "shift", why.COLORS[why.WITH], why.WITH, network=why.WITH)
    why.finish(left, xlabel="p of dropout", ylabel="test accuracy")
    why.finish(
        right,
        legend=False,
        xlabel="p of dropout",
        ylabel="variance shift, in logarithms",
        ylim=(0, None),
    )
