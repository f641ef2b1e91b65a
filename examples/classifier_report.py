"""Report of a trained image classifier: table, CSV, learning curves, confusion matrix."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from examples.experiment import legend_below, tidy, write_csv

#: recorded after each epoch
COLUMNS = ("lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
HEADER = "epoch" + "".join(f"{name.replace('_', ' '):>16}" for name in COLUMNS[1:])
COLORS = {"train": "#c44e52", "test": "#2a6fbb"}


def line(epoch: int, values: np.ndarray) -> str:
    """An epoch's line under ``HEADER``."""
    return f"{epoch:>5}" + "".join(f"{value:>16.4f}" for value in values[1:])


def write_curves(path: Path, curves: np.ndarray) -> None:
    """One row per epoch."""
    rows = ([epoch, *values] for epoch, values in enumerate(curves.tolist(), start=1))
    write_csv(path, ["epoch", *COLUMNS], rows)


def write_confusion(path: Path, confusion: np.ndarray, classes: Sequence[str]) -> None:
    """One row per true class and answer: how many test images."""
    cells = np.ndenumerate(confusion)
    rows = ([classes[truth], classes[answer], count] for (truth, answer), count in cells)
    write_csv(path, ["true_class", "answer", "images"], rows)


def plot(
    path: Path, data: str, curves: np.ndarray, confusion: np.ndarray, classes: Sequence[str]
) -> None:
    """(a) losses and (b) error rates against epochs; (c) the confusion matrix of the test images."""
    epochs = np.arange(1, len(curves) + 1)
    recorded = dict(zip(COLUMNS, curves.T, strict=True))
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for part, color in COLORS.items():
        name = "training, shifted images, on the way" if part == "train" else "test"
        style = {"color": color, "linewidth": 2, "marker": "o", "markersize": 4, "clip_on": False}
        axes[0].plot(epochs, recorded[f"{part}_loss"], label=name, **style)
        errors = 100 * (1 - recorded[f"{part}_accuracy"])
        axes[1].plot(epochs, errors, label=f"{name}: {errors[-1]:.2f} %", **style)
    axes[0].set(title=f"(a) loss, {data}", ylabel="cross-entropy")
    axes[1].set(title="(b) wrong answers", ylabel="error rate in %")
    for panel in axes[:2]:
        panel.set(xlabel="epoch", ylim=(0, None))
        panel.xaxis.get_major_locator().set_params(integer=True)
        tidy(panel)
        legend_below(panel)
    draw_confusion(axes[2], confusion, classes)
    figure.savefig(path, dpi=140)


def draw_confusion(panel: Any, confusion: np.ndarray, classes: Sequence[str]) -> None:
    """Correct predictions in blue, wrong ones in red, darker with their number; with the counts."""
    right = np.eye(len(confusion), dtype=bool)
    for color, own in (("Blues", right), ("Reds", ~right)):
        counts = np.ma.masked_where(~own | (confusion == 0), confusion)
        top = max(1.6 * confusion[own].max(), 1)
        panel.imshow(counts, cmap=color, norm=PowerNorm(0.7, 0, top))
    for (truth, answer), count in np.ndenumerate(confusion):
        if count:
            panel.text(answer, truth, str(count), ha="center", va="center", fontsize=8)
    wrong = int(confusion[~right].sum())
    panel.set_title(f"(c) confusion: {wrong} of {confusion.sum():,} wrong")
    panel.set(xlabel="answer", ylabel="true class")
    upright = max(map(len, classes)) <= 2
    panel.set_xticks(range(len(classes)), classes, rotation=0 if upright else 45, ha="center")
    panel.set_yticks(range(len(classes)), classes)
    panel.tick_params(length=0)


if __name__ == "__main__":
    sys.exit("classifier_report.py is no program; one is: python -m examples.image_classifier")
