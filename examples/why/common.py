"""Shared by the claims: settings, networks, training, means over seeds, tables and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, product, repeat
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

import minigrad as mg
from examples.experiment import Split, descent, legend_below, load, tidy
from examples.figure_one import log_axis
from minigrad import nn

Row = dict[str, Any]
Case = TypeVar("Case")
Norm = Callable[[int], nn.Module]

WITHOUT, WITH = "without batch norm", "with batch norm"
COLORS = {WITHOUT: "#c44e52", WITH: "#2a6fbb"}
PALETTE = ("#2a6fbb", "#c44e52", "#3a923a", "#8c5fb0", "#d08a2e", "0.35")


@dataclass(frozen=True)
class Settings:
    """Training steps of each network, and the seeds ``seed``, ``seed + 1``, ..."""

    steps: int
    seed: int = 0
    seeds: int = 1

    def runs(self, cases: Iterable[Case]) -> Iterator[tuple[int, Case]]:
        """Every case under every seed, with a progress bar."""
        runs = list(product(range(self.seed, self.seed + self.seeds), cases))
        yield from tqdm(runs, unit="run", dynamic_ncols=True)


def batch_norm(channels: int) -> nn.Module:
    """Batch norm of a network whose training may diverge."""
    return nn.BatchNorm(channels, momentum=0.9, on_nonfinite="skip")


NORMS: dict[str, Norm | None] = {WITHOUT: None, WITH: batch_norm}


def digits() -> tuple[Split, Split]:
    """Flattened images and labels, for training and for testing."""
    splits = load("digits", 1).values()
    train, test = ((images.reshape(len(images), -1), labels) for images, labels in splits)
    return train, test


def few(count: int) -> tuple[Split, Split]:
    """The first ``count`` examples for training, all others for testing."""
    images, labels = (np.concatenate(parts) for parts in zip(*digits(), strict=True))
    return (images[:count], labels[:count]), (images[count:], labels[count:])


def network(
    sizes: Iterable[int],
    norm: Norm | None,
    seed: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    weight_init: nn.init.Init = nn.init.he_normal,
) -> nn.Sequential:
    """Linear layers with, between them, a normalization (and then no bias) and an activation.

    Equal seeds give equal weights, whatever the normalization.
    """
    rng, (first, *hidden, classes), layers = np.random.default_rng(seed), list(sizes), []
    for inputs, outputs in zip([first, *hidden], hidden, strict=False):
        layers.append(nn.Linear(inputs, outputs, norm is None, weight_init=weight_init, rng=rng))
        layers += [norm(outputs)] if norm else []
        layers.append(activation())
    return nn.Sequential(*layers, nn.Linear(hidden[-1], classes, rng=rng))


def batches(split: Split, size: int, seed: int) -> Iterator[tuple[mg.Tensor, ...]]:
    """Endless batches of a size."""
    rng = np.random.default_rng([seed, size])
    return chain.from_iterable(repeat(mg.data.DataLoader(split, size, drop_last=True, rng=rng)))


def train(
    model: nn.Module,
    split: Split,
    steps: int,
    batch_size: int,
    seed: int,
    optimizer: mg.optim.Optimizer,
    jit: bool = True,
) -> list[float]:
    """The losses of ``steps`` steps; fewer if one is not finite, which is the last then."""
    descend, losses = descent(model, optimizer, jit), []
    with np.errstate(all="ignore"):
        for batch in islice(batches(split, batch_size, seed), steps):
            losses.append(descend(*batch).item())
            if not math.isfinite(losses[-1]):
                break
    return losses


def select(rows: list[Row], value: str, **where: Any) -> np.ndarray:
    """The values of the rows that have what ``where`` says, one for each seed, say."""
    return np.array([r[value] for r in rows if all(r[k] == v for k, v in where.items())])


def mean(rows: list[Row], value: str, **where: Any) -> float:
    return float(select(rows, value, **where).mean())


def values(rows: list[Row], name: str) -> list:
    """The different values of a column, in order."""
    return list(dict.fromkeys(r[name] for r in rows))


def pivot(rows: list[Row], down: str, across: str, value: str, form: str = ".3f") -> str:
    """A table of means over seeds: one line for each value of ``down``."""
    columns, lines = values(rows, across), values(rows, down)
    first = max(len(str(name)) for name in [down, *lines]) + 2
    width = max(8, *(len(str(c)) + 2 for c in columns))
    text = [f"{down.replace('_', ' '):<{first}}" + "".join(f"{c!s:>{width}}" for c in columns)]
    for line in lines:
        cells = (mean(rows, value, **{down: line, across: c}) for c in columns)
        text.append(f"{line!s:<{first}}" + "".join(f"{format(c, form):>{width}}" for c in cells))
    return "\n".join(text)


def curve(
    panel: Any,
    rows: list[Row],
    x: str,
    y: str,
    color: str,
    label: str,
    style: str = "-",
    **where: Any,
) -> None:
    """The mean over seeds against ``x``, and the range of the seeds."""
    chosen = [r for r in rows if all(r[k] == v for k, v in where.items())]
    at = values(chosen, x)
    found = [select(chosen, y, **{x: value}) for value in at]
    panel.plot(at, [f.mean() for f in found], style, color=color, linewidth=2, label=label)
    low, high = [f.min() for f in found], [f.max() for f in found]
    panel.fill_between(at, low, high, color=color, alpha=0.12, linewidth=0)


def finish(
    panel: Any, columns: int = 2, legend: bool = True, log: bool = False, **settings: Any
) -> None:
    """Labels and scales, a grid, and a legend below the panel; ``log`` makes the vertical axis logarithmic."""
    panel.set(**settings)
    panel.title.set_fontsize(10)
    if log:
        log_axis(panel)
    if settings.get("xscale") == "log":
        panel.xaxis.set_major_formatter("{x:g}")
    tidy(panel)
    if legend:
        legend_below(panel, ncols=columns)


def copies(parameters: Iterable[mg.Tensor], attribute: str = "data") -> list[np.ndarray]:
    """Copies of the values, or of the gradients ("grad"), of parameters."""
    chosen = (p.grad if attribute == "grad" else p for p in parameters)
    return [t.numpy().copy() for t in chosen if t is not None]


def assign(parameters: Iterable[mg.Tensor], arrays: Iterable[np.ndarray]) -> None:
    for p, array in zip(parameters, arrays, strict=True):
        p.data = mg.tensor(array).data


def gradient(model: nn.Module, batch: tuple[mg.Tensor, ...]) -> tuple[float, list[np.ndarray]]:
    """Loss and gradients of a batch, in training mode; running statistics do not move."""
    parameters = model.parameters()
    for p in parameters:
        p.grad = None
    with nn.hold_statistics(), np.errstate(all="ignore"):
        loss = mg.softmax_cross_entropy(model(batch[0]), batch[1])
        loss.backward()
    return loss.item(), copies(parameters, "grad")


def norm(arrays: Iterable[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.square(a, dtype=float).sum()) for a in arrays))
