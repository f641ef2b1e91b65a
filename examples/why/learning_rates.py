"""Batch norm permits learning rates that make the same network diverge without it.

Bjorck et al. 2018 (arXiv:1806.02375): the largest rate that trains is higher with batch norm (Figure 1), since without
it large updates make activations grow from layer to layer, as their heat map of the channels' means and variances shows
while a diverging update is applied bit by bit.

Measured: training loss after a number of steps of SGD at rates from 0.001 to 30, of ten hidden layers of rectifiers; a
rate is stable if the loss ends at less than half of that of guessing, in all seeds; 1,000 is written for one that
diverged. The heat map: the mean over the units of |mean over a batch|, of what enters each layer's rectifiers, as one
update at HEAT is applied to new weights.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

import minigrad as mg
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Bjorck et al. 2018, arXiv:1806.02375, Figure 1 (0.0001 without, 0.1 with it, 110 layers), and heat map."
DEFAULT, FULL, SECONDS = Settings(steps=300), Settings(steps=1000, seeds=5), 55
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SIZES = (64, *[64] * 10, 10)
HEAT, PARTS = 3.0, 21  # the rate of the update, and how many parts of it are shown
DIVERGED = 1e3
STABLE = 0.5 * np.log(10)


def moments(kind: str, seed: int) -> np.ndarray:
    """Mean |channel mean| over (parts of the update, layers)."""
    model = why.network(SIZES, why.NORMS[kind], seed)
    x, labels = next(why.batches(why.digits()[0], 128, seed))
    mg.softmax_cross_entropy(model(x), labels).backward()
    start = [(p, p.numpy().copy(), HEAT * p.grad.numpy()) for p in model.parameters()]
    found = []
    for part in np.linspace(0, 1, PARTS):
        for p, value, update in start:
            p.data = mg.tensor(value - np.float32(part) * update).data
        with mg.no_grad():
            y, line = x, []
            for layer in model:
                if isinstance(layer, nn.ReLU):
                    line.append(float(np.abs(y.numpy().mean(axis=0)).mean()))
                y = layer(y)
        found.append(line)
    return np.array(found)


def run(settings: Settings) -> list[Row]:
    (training, _), rows = why.digits(), []
    for seed, (kind, rate) in settings.runs(product(why.NORMS, RATES)):
        model = why.network(SIZES, why.NORMS[kind], seed)
        optimizer = mg.optim.SGD(model.parameters(), rate)
        losses = why.train(model, training, settings.steps, 32, seed, optimizer)
        loss = float(np.nan_to_num(np.mean(losses[-10:]), nan=DIVERGED).clip(None, DIVERGED))
        rows.append({"seed": seed, "network": kind, "rate": rate, "train_loss": loss})
    seeds = why.values(rows, "seed")
    for kind in why.NORMS:
        heat = np.mean([moments(kind, seed) for seed in seeds], axis=0)
        for (part, layer), value in np.ndenumerate(heat):
            rows.append(
                {"heat": kind, "part": part / (PARTS - 1), "layer": layer + 1, "mean": value}
            )
    return rows


def losses(rows: list[Row]) -> list[Row]:
    return [r for r in rows if "rate" in r]


def largest(rows: list[Row], kind: str) -> float:
    """The largest rate that trains in all seeds; 0 if none."""
    stable = [
        r
        for r in RATES
        if why.select(losses(rows), "train_loss", network=kind, rate=r).max() < STABLE
    ]
    return max(stable, default=0.0)


def finding(rows: list[Row]) -> tuple[bool, str]:
    plain, normalized = largest(rows, why.WITHOUT), largest(rows, why.WITH)
    grown = {
        k: [r["mean"] for r in rows if r.get("heat") == k and r["part"] == 1][-1] for k in why.NORMS
    }
    text = f"the largest stable rate is {plain:g} without and {normalized:g} with batch norm; after one update "
    text += f"at {HEAT:g} the last layer's channels have means of {grown[why.WITHOUT]:.3g} and {grown[why.WITH]:.3g}."
    return normalized >= 3 * plain and normalized > 0, text


def table(rows: list[Row]) -> str:
    return "training loss by learning rate:\n" + why.pivot(
        losses(rows), "network", "rate", "train_loss", ".3g"
    )


def draw(figure: Any, rows: list[Row]) -> None:
    left, *panels = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for kind, color in why.COLORS.items():
        why.curve(left, losses(rows), "rate", "train_loss", color, kind, network=kind)
    left.axhline(STABLE, color="0.6", linestyle="--", linewidth=1, label="stable below")
    why.finish(left, 1, xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 5))
    for panel, kind in zip(panels, why.NORMS, strict=True):
        cells = [r["mean"] for r in rows if r.get("heat") == kind]
        heat = np.log10(np.maximum(np.reshape(cells, (PARTS, -1)), 1e-2)).T
        extent = (0, 100, 0.5, len(heat) + 0.5)
        image = panel.imshow(heat, origin="lower", aspect="auto", extent=extent, vmin=-2, vmax=2)
        panel.set_title(kind, fontsize=10)
        panel.set_xlabel(f"% of one update at rate {HEAT:g}")
    panels[0].set_ylabel("layer")
    figure.colorbar(image, ax=panels, label="log10 of the mean of |channel mean|")
