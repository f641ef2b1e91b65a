"""Figure 1 of the batch normalization paper (arXiv:1502.03167), from recorded curves: picture, numbers, table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from examples import experiment
from examples.experiment import legend_below, tidy

NETWORKS = ("without batch norm", "with batch norm")
COLORS = ("#c44e52", "#2a6fbb")
PERCENTILES = (15, 50, 85)


def typical_unit(percentiles: np.ndarray) -> int:
    """The unit whose percentiles stay closest to the median unit's, over both networks.

    Parameters
    ----------
    percentiles : array, shape (networks, evaluations, 3, units)
    """
    median = np.median(percentiles, axis=-1, keepdims=True)
    distance = np.square(percentiles - median).mean(axis=(1, 2))
    return int((distance / distance.mean(axis=-1, keepdims=True)).sum(axis=0).argmin())


def table(settings: Any, curves: Any) -> str:
    """Test accuracies at 5, 10, 20, 50 and 100 % of the steps."""
    evaluations = settings.evaluations()
    columns = sorted({max(1, round(len(evaluations[1:]) * f)) for f in (0.05, 0.1, 0.2, 0.5, 1)})
    lines = ["test accuracy after  " + "".join(f"{evaluations[c]:>9,}" for c in columns) + " steps"]
    for i, network in enumerate(NETWORKS):
        values = curves.accuracy[:, i, columns].mean(axis=0)
        lines.append(f"{network:<21}" + "".join(f"{v:>9.3f}" for v in values))
    return "\n".join(lines)


def write_csv(path: Path, settings: Any, curves: Any, unit: int) -> None:
    """One row per seed, network and evaluation; the percentiles are of the input to ``unit``."""
    head = ["seed", "network", "step", "train_loss", "test_accuracy", "unit"]
    rows = (
        [
            settings.seed + run,
            network,
            step,
            "" if np.isnan(loss := curves.loss[run, i, e]) else loss,
            curves.accuracy[run, i, e],
            unit,
            *curves.percentiles[run, i, e, :, unit],
        ]
        for run in range(settings.seeds)
        for i, network in enumerate(NETWORKS)
        for e, step in enumerate(settings.evaluations())
    )
    experiment.write_csv(path, [*head, *(f"p{p}" for p in PERCENTILES)], rows)


def plot(path: Path, settings: Any, curves: Any, unit: int) -> None:
    """(a) test accuracy, mean and one standard deviation over seeds; (b, c) percentiles of the first seed."""
    steps = settings.evaluations()
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    for i, (network, color) in enumerate(zip(NETWORKS, COLORS, strict=True)):
        mean, std = curves.accuracy[:, i].mean(axis=0), curves.accuracy[:, i].std(axis=0)
        axes[0].plot(steps, mean, color=color, linewidth=2, label=f"{network}: {mean[-1]:.3f}")
        axes[0].fill_between(steps, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
        low, middle, high = curves.percentiles[0, i, :, :, unit].T
        panel = axes[1 + i]
        panel.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        panel.plot(steps, middle, color=color, linewidth=2)
        panel.plot(steps, np.stack([low, high], axis=1), color=color, linewidth=0.8)
        apart = high[-1] - low[-1] > 0.15 * np.ptp(curves.percentiles[0, :, :, :, unit])
        for line, percentile in zip((low, middle, high), PERCENTILES, strict=True):
            if apart or percentile == 50:
                annotate_end(panel, steps[-1], line[-1], f"{percentile} %", color)
        panel.set_title(f"({'bc'[i]}) {network}")
    seeds = f", {settings.seeds} seeds" if settings.seeds > 1 else ""
    axes[0].set(
        title=f"(a) test accuracy, {settings.data}{seeds}", ylabel="test accuracy", ylim=(0, 1)
    )
    legend_below(axes[0], ncols=2, columnspacing=1, handlelength=1.2)
    axes[1].set_ylabel("input to a last-layer sigmoid")
    axes[2].sharey(axes[1])
    for panel in axes:
        panel.set_xlabel("training step")
        panel.set_xlim(0, steps[-1])
        tidy(panel)
    figure.savefig(path, dpi=140)


def log_axis(panel: Any) -> None:
    """Make the vertical axis of what was plotted logarithmic, with plain numbers; lines go down to where it is zero."""
    panel.set_yscale("log", nonpositive="clip")
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e5 else (1,)))
    digits = {"precision": 6, "fractional": False, "trim": "-"}
    panel.yaxis.set_major_formatter(lambda y, _: np.format_float_positional(y, **digits))
    panel.yaxis.set_minor_formatter("")


def annotate_end(panel: Any, x: float, y: float, text: str, color: str) -> None:
    """Write beside the end of a line, just outside of the panel."""
    panel.annotate(
        text,
        (x, y),
        (4, 0),
        textcoords="offset points",
        color=color,
        va="center",
        annotation_clip=False,
    )


if __name__ == "__main__":
    sys.exit("figure_one.py is no program; one is: python -m examples.deep_sigmoid_mlp")
