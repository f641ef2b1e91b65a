"""Batch norm makes the loss smoother; with noise that shifts its outputs at every step, it still trains.

Santurkar et al. 2018 (arXiv:1805.11604). Figure 4: at steps of a training, (a) the range of the loss and (b) the change
of the gradient, at 1/2 to 4 times the training's step along the gradient, and (c) the effective beta-smoothness, the
largest change of the gradient over the distance moved. Figure 2: "noisy" batch norm, whose outputs are scaled and
shifted at random, by other distributions in every step (their appendix A), so that covariate shift is larger.

Measured: the same three, each on the batch of the step, with ten hidden layers of rectifiers; training losses beside.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

import minigrad as mg
from examples.experiment import descent
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Santurkar et al. 2018, arXiv:1805.11604, Figures 2 (noisy batch norm) and 4 (a, b, c), VGG on CIFAR-10."
DEFAULT, FULL, SECONDS = Settings(steps=300), Settings(steps=1000, seeds=5), 70
NOISY, EVALUATIONS, LR = "noisy batch norm", 30, 0.05
TRAINED = 0.5  # a training loss that counts as trained; guessing has 2.3
SIZES = (64, *[64] * 10, 10)
MULTIPLES = np.geomspace(0.5, 4, 6)
MEASURES = {
    "width": "range of the loss",
    "change": "change of the gradient",
    "beta": "beta-smoothness",
}


class Noise(nn.Module):
    """Batch norm, and noise on its outputs: the paper's, with its constants."""

    def __init__(self, channels: int, rng: np.random.Generator) -> None:
        self.norm, self.rng = why.batch_norm(channels), rng

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        shift, scale = (
            self.rng.uniform(-0.5, 0.5, x.shape[1]),
            self.rng.uniform(1, 1.25, x.shape[1]),
        )
        shifts = self.rng.uniform(shift - 0.1, shift + 0.1, x.shape).astype(np.float32)
        scales = self.rng.normal(scale, 0.1, x.shape).astype(np.float32)
        return mg.tensor(scales) * self.norm(x) + mg.tensor(shifts)


def along(model: nn.Module, batch: tuple[mg.Tensor, ...]) -> Row:
    """The three measures along the gradient of a batch; the model is as before afterwards."""
    parameters = model.parameters()
    start, (loss, g) = why.copies(parameters), why.gradient(model, batch)
    losses, changes, length = [loss], [], LR * why.norm(g)
    for multiple in MULTIPLES:
        why.assign(
            parameters, [s - np.float32(multiple * LR) * d for s, d in zip(start, g, strict=True)]
        )
        other, moved = why.gradient(model, batch)
        losses.append(other)
        changes.append(why.norm(a - b for a, b in zip(moved, g, strict=True)))
    why.assign(parameters, start)
    beta = max(c / (m * length) for c, m in zip(changes, MULTIPLES, strict=True))
    return {"width": max(losses) - min(losses), "change": max(changes), "beta": beta}


def run(settings: Settings) -> list[Row]:
    (training, _), rows = why.digits(), []
    every = max(1, settings.steps // EVALUATIONS)
    for seed, kind in settings.runs([*why.NORMS, NOISY]):
        rng = np.random.default_rng([seed, 2])
        chosen: why.Norm | None = (lambda n: Noise(n, rng)) if kind == NOISY else why.NORMS[kind]  # noqa: B023
        model = why.network(SIZES, chosen, seed)
        descend = descent(model, mg.optim.SGD(model.parameters(), LR), jit=kind != NOISY)
        losses = []
        for step, batch in enumerate(islice(why.batches(training, 64, seed), settings.steps)):
            if step % every == 0 and kind != NOISY:
                found = along(model, batch)
            losses.append(descend(*batch).item())
            if (step + 1) % every == 0:
                row = {"seed": seed, "network": kind, "step": step + 1}
                measures = {} if kind == NOISY else found
                rows.append(row | {"train_loss": float(np.mean(losses[-every:]))} | measures)
    return rows


def ratios(rows: list[Row]) -> dict[str, float]:
    """How many times as large each measure is, on average, without batch norm."""
    kinds = (why.WITHOUT, why.WITH)
    means = {m: [why.mean(rows, m, network=kind) for kind in kinds] for m in MEASURES}
    return {m: plain / normalized for m, (plain, normalized) in means.items()}


def finding(rows: list[Row]) -> tuple[bool, str]:
    last = rows[-1]["step"]
    third = max(last / 3, rows[0]["step"])
    whole, first = ratios(rows), ratios([r for r in rows if r["step"] <= third])
    losses = {
        k: why.mean(rows, "train_loss", network=k, step=last)
        for k in (why.WITHOUT, why.WITH, NOISY)
    }
    text = ", ".join(f"{MEASURES[m]} {whole[m]:.2f} ({first[m]:.2f})" for m in MEASURES)
    ends = ", ".join(f"{loss:.3f} {kind}" for kind, loss in losses.items())
    text = f"on average over the training (its first third), without batch norm relative to with it: {text}; "
    return min(whole.values()) > 1 and losses[NOISY] < TRAINED, f"{text}losses at the end {ends}."


def table(rows: list[Row]) -> str:
    lines = [f"{'mean over the training':<28}{why.WITHOUT:>20}{why.WITH:>20}{NOISY:>20}"]
    for measure, name in MEASURES.items():
        cells = (why.mean(rows, measure, network=kind) for kind in why.NORMS)
        lines.append(f"{name:<28}" + "".join(f"{cell:>20.3f}" for cell in cells))
    ends = (
        why.mean(rows, "train_loss", network=kind, step=rows[-1]["step"])
        for kind in (*why.NORMS, NOISY)
    )
    return "\n".join(
        [*lines, f"{'training loss at the end':<28}" + "".join(f"{e:>20.3f}" for e in ends)]
    )


def draw(figure: Any, rows: list[Row]) -> None:
    first, *panels = figure.subplots(1, 4)
    for kind, color in (why.COLORS | {NOISY: "#3a923a"}).items():
        why.curve(first, rows, "step", "train_loss", color, kind, network=kind)
    why.finish(first, 1, log=True, xlabel="step", title="training loss")
    for panel, (measure, name) in zip(panels, MEASURES.items(), strict=True):
        for kind, color in why.COLORS.items():
            why.curve(panel, rows, "step", measure, color, kind, network=kind)
        why.finish(panel, legend=False, log=True, xlabel="step", title=name)
