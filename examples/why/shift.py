"""Batch norm does not reduce internal covariate shift, as the gradients see it.

Santurkar et al. 2018 (arXiv:1805.11604), Definition 2.1 and Figure 3: the internal covariate shift of layer i at step t
is |G - G'|, where G is the gradient of the loss by the layer's parameters, and G' the same after the layers before it,
and they alone, have taken their step. Beside it the cosine of the angle between the two. If batch norm reduced the
shift, the distance would be smaller and the cosine nearer to 1.

Measured: both on the batch of the step, for the hidden layers of a network while it trains by SGD, at several rates. As
gradients of normalized layers have another scale, the distance is also given relative to |G|; it depends on the rate.
"""

from __future__ import annotations

from itertools import islice, product
from typing import Any

import numpy as np

import minigrad as mg
from examples.experiment import descent
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = (
    "Santurkar et al. 2018, arXiv:1805.11604, Definition 2.1 and Figure 3: as much or more with it."
)
DEFAULT, FULL, SECONDS = Settings(steps=150), Settings(steps=500, seeds=5), 35
SIZES, RATES, EVALUATIONS = (64, *[64] * 6, 10), (0.003, 0.01, 0.03, 0.1, 0.3), 15


def groups(model: nn.Sequential) -> list[list[int]]:
    """The indices among the parameters of those of each layer; gamma and beta belong to the layer before them."""
    names, found = [name for name, _ in model.named_parameters()], []
    for i, name in enumerate(names):
        if name.endswith("weight"):
            found.append([])
        found[-1].append(i)
    return found


def shifts(
    model: nn.Sequential, batch: tuple[mg.Tensor, ...], before: list[np.ndarray]
) -> list[Row]:
    """The shift of each hidden layer by the step from ``before``, which the model has taken."""
    parameters, layers, after = model.parameters(), groups(model), why.copies(model.parameters())
    why.assign(parameters, before)
    _, old = why.gradient(model, batch)
    found = []
    for number, layer in enumerate(layers[1:-1], 2):
        mixed = [
            a if i < layer[0] else b for i, (a, b) in enumerate(zip(after, before, strict=True))
        ]
        why.assign(parameters, mixed)
        _, new = why.gradient(model, batch)
        g, moved = ([arrays[i] for i in layer] for arrays in (old, new))
        distance = why.norm(a - b for a, b in zip(g, moved, strict=True))
        product = sum(float((a.astype(float) * b).sum()) for a, b in zip(g, moved, strict=True))
        cosine = product / max(why.norm(g) * why.norm(moved), 1e-30)
        row = {"layer": number, "distance": distance, "cosine": cosine}
        found.append(row | {"relative": distance / max(why.norm(g), 1e-30)})
    why.assign(parameters, after)
    return found


def run(settings: Settings) -> list[Row]:
    (training, _), rows = why.digits(), []
    every = max(1, settings.steps // EVALUATIONS)
    for seed, (kind, rate) in settings.runs(product(why.NORMS, RATES)):
        model = why.network(SIZES, why.NORMS[kind], seed)
        descend = descent(model, mg.optim.SGD(model.parameters(), rate))
        for step, batch in enumerate(islice(why.batches(training, 64, seed), settings.steps), 1):
            before = why.copies(model.parameters()) if step % every == 0 else None
            loss = descend(*batch).item()
            if before is not None:
                head = {
                    "seed": seed,
                    "network": kind,
                    "rate": rate,
                    "step": step,
                    "train_loss": loss,
                }
                rows += [head | row for row in shifts(model, batch, before)]
    return rows


def finding(rows: list[Row]) -> tuple[bool, str]:
    shift = {
        (k, rate): why.mean(rows, "relative", network=k, rate=rate)
        for k, rate in product(why.NORMS, RATES)
    }
    more = [rate for rate in RATES if shift[why.WITH, rate] > 0.95 * shift[why.WITHOUT, rate]]
    pairs = ", ".join(
        f"{shift[why.WITHOUT, r]:.2f} and {shift[why.WITH, r]:.2f} at {r:g}" for r in RATES
    )
    text = f"the distance relative to the gradient is, without and with batch norm, {pairs}: "
    return len(more) > len(RATES) / 2, f"{text}not reduced at {len(more)} of {len(RATES)} rates."


def table(rows: list[Row]) -> str:
    parts = {
        "cosine": "cosine",
        "distance": "distance",
        "relative": "distance relative to the gradient",
    }
    text = [
        f"mean {name} by learning rate:\n{why.pivot(rows, 'network', 'rate', m)}"
        for m, name in parts.items()
    ]
    return "\n\n".join(
        [*text, "mean training loss:\n" + why.pivot(rows, "network", "rate", "train_loss")]
    )


def averages(rows: list[Row], measure: str) -> list[Row]:
    """One row for each seed, network and rate: means over layers and steps."""
    keys = product(why.values(rows, "seed"), why.NORMS, RATES)
    cases = [{"seed": s, "network": k, "rate": r} for s, k, r in keys]
    return [case | {measure: why.mean(rows, measure, **case)} for case in cases]


def draw(figure: Any, rows: list[Row]) -> None:
    titles = {
        "cosine": "cosine of G and G'",
        "relative": "|G - G'| / |G|",
        "train_loss": "training loss",
    }
    for i, (panel, (measure, title)) in enumerate(
        zip(figure.subplots(1, 3), titles.items(), strict=True)
    ):
        for kind, color in why.COLORS.items():
            why.curve(panel, averages(rows, measure), "rate", measure, color, kind, network=kind)
        why.finish(panel, legend=i == 1, xscale="log", xlabel="learning rate", title=title)
