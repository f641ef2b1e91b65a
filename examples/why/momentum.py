"""Evaluation lags behind training by 1 / (1 - momentum) steps; precise statistics do not.

Wu & Johnson 2021 (arXiv:2105.07576, section 3) on the exponential average of Algorithm 2: with a large momentum the
running statistics are those of a network of long ago, with a small one those of a few batches; computed anew from many
batches ("precise", ``nn.population_statistics``), they are neither.

Measured: the test error of one network while it trains, by running statistics of several momenta. They do not take part
in training, so one training serves all: with momentum 0 each layer shows the last batch's, which are averaged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

import minigrad as mg
from examples.experiment import Split, accuracy, descent
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Wu & Johnson 2021, arXiv:2105.07576, section 3: validation error by the average and by PreciseBN, on ImageNet."
DEFAULT, FULL, SECONDS = Settings(steps=2000), Settings(steps=2000, seeds=5), 20
MOMENTA = (0, 0.5, 0.9, 0.99, 0.999)
PRECISE = "precise"
BATCH, LR = 32, 0.1


def evaluations(steps: int) -> list[int]:
    """The steps after which the network is tested, evenly spaced on a log scale."""
    return sorted({round(s) for s in np.geomspace(1, steps, 28)})


def errors(
    model: nn.Module, buffers: list, averages: dict, training: Split, test: Split, seed: int
) -> Iterator[tuple[Any, float]]:
    """The test error by the running statistics of each momentum, and by precise ones."""
    for momentum, arrays in averages.items():
        why.assign(buffers, arrays)
        yield momentum, 1 - accuracy(model, *test)
    nn.population_statistics(model, islice(why.batches(training, 256, seed), 5))
    yield PRECISE, 1 - accuracy(model, *test)


def run(settings: Settings) -> list[Row]:
    training, test = why.digits()
    rows: list[Row] = []
    at = evaluations(settings.steps)
    for seed, _ in settings.runs(["training"]):
        model = why.network((64, 100, 100, 100, 10), lambda n: nn.BatchNorm(n, momentum=0), seed)
        buffers = [b for name, b in model.named_buffers() if "running" in name]
        averages = {m: why.copies(buffers) for m in MOMENTA}
        descend = descent(model, mg.optim.SGD(model.parameters(), LR))
        for step, batch in enumerate(islice(why.batches(training, BATCH, seed), settings.steps), 1):
            descend(*batch)
            last = why.copies(buffers)
            for m, arrays in averages.items():
                averages[m] = [m * a + (1 - m) * b for a, b in zip(arrays, last, strict=True)]
            if step in at:
                for statistics, error in errors(model, buffers, averages, training, test, seed):
                    case = {"seed": seed, "statistics": statistics, "step": step}
                    rows.append(case | {"test_error": error})
    return rows


def lag(rows: list[Row], momentum: float) -> float:
    """The first step from which on the error is at most 0.02 above that of precise statistics; infinite if never."""
    for step in reversed(why.values(rows, "step")):
        found, precise = (
            why.mean(rows, "test_error", step=step, statistics=s) for s in (momentum, PRECISE)
        )
        if found > precise + 0.02:
            later = [s for s in why.values(rows, "step") if s > step]
            return later[0] if later else np.inf
    return 1


def finding(rows: list[Row]) -> tuple[bool, str]:
    slow = {m: lag(rows, m) for m in MOMENTA if m >= 0.9}
    text = ", ".join(
        f"{m} from step {s:,.0f} on" if s < np.inf else f"{m} never" for m, s in slow.items()
    )
    text = f"within 2 points of precise statistics: momentum {text}."
    return all(1 / 3 < step * (1 - m) < 3 for m, step in slow.items()), text


def table(rows: list[Row]) -> str:
    steps = why.values(rows, "step")
    chosen = {
        min(steps, key=lambda s: abs(s - target)) for target in (3, 10, 30, 100, 300, 1000, 2000)
    }
    return "test error after steps:\n" + why.pivot(
        [r for r in rows if r["step"] in chosen], "statistics", "step", "test_error"
    )


def draw(figure: Any, rows: list[Row]) -> None:
    panel = figure.subplots()
    for momentum, color in zip(MOMENTA, why.PALETTE, strict=False):
        why.curve(
            panel, rows, "step", "test_error", color, f"momentum {momentum}", statistics=momentum
        )
    why.curve(
        panel, rows, "step", "test_error", "black", "precise statistics", "--", statistics=PRECISE
    )
    why.finish(panel, 4, log=True, xscale="log", xlabel="training step", ylabel="test error")
