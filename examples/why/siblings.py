"""Batch norm speeds up its siblings: networks of other papers that exist with and without it.

All networks of ``models/`` that classify, at a small size, trained on the digits for the same number of steps by Adam;
images are also read as sequences of their rows. ResNet and Inception exist only with batch norm, attention and maxout
here only without it; the ConvLSTM forecasts, and is left out. The papers are named in the files of ``models/``.

Measured: test accuracy of each network, without and with batch norm, after EARLY steps and at the end. The first says
how fast it trains; at the end all that train have come close to what they can reach.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from examples.experiment import Split, accuracy
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn
from models.attention import transformer_encoder
from models.bn_lstm import bn_lstm, lstm
from models.highway import highway
from models.inception_bn import inception_bn_small
from models.lenet_bn import LeNet
from models.maxout_network import maxout_mlp
from models.mlp import MLP
from models.network_in_network import network_in_network
from models.resnet import Block, ResNet
from models.tdnn import TDNN

PAPER = "Ioffe & Szegedy 2015, arXiv:1502.03167, Figure 2 (Inception); Cooijmans et al. 2017, arXiv:1603.09025 (LSTM)."
DEFAULT, FULL, SECONDS = Settings(steps=100), Settings(steps=500, seeds=5), 180
EARLY = 100  # steps
MEASURES = ("early_accuracy", "test_accuracy")
FLAT, IMAGE, ROWS = (64,), (1, 8, 8), (8, 8)
MODULES = ("3a", "3c", "5b")
LAYERS = ((32, 3, 1), (32, 3, 1))


class Sibling(NamedTuple):
    """A network: without or with batch norm, the shape of an example, and its factory."""

    name: str
    kind: str
    shape: tuple[int, ...]
    make: Callable[..., nn.Module]


def both(
    name: str, shape: tuple[int, ...], make: Callable[..., nn.Module], **settings: Any
) -> list[Sibling]:
    """The two networks of a factory that has the switch ``batch_norm``."""
    kinds = {why.WITHOUT: False, why.WITH: True}
    return [
        Sibling(name, k, shape, partial(make, batch_norm=b, **settings)) for k, b in kinds.items()
    ]


TIME_DELAY = {"classes": 10, "features": 8, "layers": LAYERS, "last": 2, "activation": mg.relu}
SIBLINGS = [
    *both("MLP", FLAT, MLP, sizes=(64, 100, 100, 100, 10)),
    *both("highway", FLAT, highway, inputs=64),
    Sibling("maxout", why.WITHOUT, FLAT, partial(maxout_mlp, inputs=64, width=64, pieces=3)),
    *both("LeNet", IMAGE, LeNet, size=8),
    *both("Network in Network", IMAGE, network_in_network, channels=1, width=24, dropout=0.0),
    Sibling("Inception", why.WITH, IMAGE, partial(inception_bn_small, 10, 1, 1 / 16, MODULES)),
    Sibling("ResNet", why.WITH, IMAGE, partial(ResNet, Block, (1, 1), 10, 1, 8, small=True)),
    *both("TDNN", ROWS, TDNN, **TIME_DELAY),
    Sibling("LSTM", why.WITHOUT, ROWS, partial(lstm, features=8, hidden=32)),
    Sibling("LSTM", why.WITH, ROWS, partial(bn_lstm, features=8, hidden=32, max_steps=8)),
    Sibling(
        "attention", why.WITHOUT, ROWS, partial(transformer_encoder, features=8, width=32, layers=1)
    ),
]


def run(settings: Settings) -> list[Row]:
    rows = []
    for seed, sibling in settings.runs(SIBLINGS):
        training, test = (shaped(split, sibling.shape) for split in why.digits())
        mg.manual_seed(seed)
        model = sibling.make(rng=np.random.default_rng(seed))
        optimizer = mg.optim.Adam(model.parameters(), lr=3e-3)
        jit = sibling[:2] != ("LSTM", why.WITH)  # which draws its initial states for each batch
        early = min(EARLY, settings.steps)
        losses = why.train(model, training, early, 32, seed, optimizer, jit)
        early_accuracy, rest = accuracy(model, *test), settings.steps - early
        losses += why.train(model, training, rest, 32, seed + 1_000_000, optimizer, jit)
        row = {"seed": seed, "model": sibling.name, "network": sibling.kind}
        row["parameters"] = sum(p.size for p in model.parameters())
        row |= {"step": settings.steps, "train_loss": float(np.mean(losses[-10:]))}
        row["early_accuracy"] = early_accuracy
        rows.append(row | {"test_accuracy": accuracy(model, *test)})
    return rows


def shaped(split: Split, shape: tuple[int, ...]) -> Split:
    return split[0].reshape(-1, *shape), split[1]


def cell(rows: list[Row], model: str, kind: str, measure: str) -> float:
    """The mean over seeds; NaN for a network that does not exist."""
    found = why.select(rows, measure, model=model, network=kind)
    return float(found.mean()) if len(found) else np.nan


def finding(rows: list[Row]) -> tuple[bool, str]:
    gains: dict[str, list[float]] = {}
    for model in why.values(rows, "model"):
        of = {m: [cell(rows, model, k, m) for k in why.NORMS] for m in MEASURES}
        if not np.isnan(of["test_accuracy"]).any():
            gains[model] = [100 * (b - a) for a, b in of.values()]
    text = ", ".join(f"{m} {early:+.1f} ({end:+.1f})" for m, (early, end) in gains.items())
    steps = rows[0]["step"]
    text = f"the test accuracy changes after {min(EARLY, steps)} (after {steps}) steps, in points: {text}."
    return min(early for early, _ in gains.values()) > 0, text


def table(rows: list[Row]) -> str:
    lines = [
        f"{'':<20}{'parameters':>12}{'early accuracy':>24}{'test accuracy':>24}{'training loss':>24}",
        f"{'':<32}" + 3 * f"{'without':>14}{'with':>10}",
    ]
    for model in why.values(rows, "model"):
        size = int(np.nanmax([cell(rows, model, kind, "parameters") for kind in why.COLORS]))
        line = f"{model:<20}{size:>12,}"
        for measure in (*MEASURES, "train_loss"):
            for kind, width in ((why.WITHOUT, 14), (why.WITH, 10)):
                value = cell(rows, model, kind, measure)
                line += f"{'-' if np.isnan(value) else f'{value:.3f}':>{width}}"
        lines.append(line)
    return "\n".join(lines)


def draw(figure: Any, rows: list[Row]) -> None:
    models = why.values(rows, "model")
    panels, last = figure.subplots(1, 2, sharey=True), rows[0]["step"]
    for panel, measure, steps in zip(panels, MEASURES, (min(EARLY, last), last), strict=True):
        for i, (kind, color) in enumerate(why.COLORS.items()):
            found = [why.select(rows, measure, model=m, network=kind) for m in models]
            at = [y + 0.4 * i - 0.2 for y, f in enumerate(found) if len(f)]
            found = [f for f in found if len(f)]
            lengths = np.array([f.mean() for f in found])
            span = (lengths - [f.min() for f in found], [f.max() for f in found] - lengths)
            panel.barh(
                at, lengths, 0.38, color=color, label=kind, xerr=span, error_kw={"elinewidth": 1}
            )
        panel.set_yticks(range(len(models)), models)
        why.finish(panel, legend=panel is panels[0], xlabel=f"test accuracy after {steps} steps")
    panel.invert_yaxis()
