"""Pictures of results: how times grow with what a workload's name ends in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

COLORS = {"minigrad": "#2a6fbb", "torch": "#c44e52", "jax": "#3a923a"}


def plot_scaling(results: Iterable[dict[str, Any]], path: Path) -> bool:
    """One panel for each axis of the workloads ``scaling-axis-value``; False if there are none."""
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for result in results:
        kind, _, rest = result["name"].partition("-")
        if kind == "scaling":
            axis, _, value = rest.partition("-")
            for peer, seconds in result["seconds_per_step"].items():
                point = int(value), 1e3 * seconds["median"]
                panels.setdefault(axis, {}).setdefault(peer, []).append(point)
    if not panels:
        return False
    figure = Figure(figsize=(4.4 * len(panels), 3.8), layout="constrained")
    for panel, (axis, peers) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for peer, points in peers.items():
            style = {"marker": "o", "markersize": 4, "linewidth": 2, "color": COLORS.get(peer)}
            panel.plot(*zip(*points, strict=True), label=peer, **style)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms per training step")
        panel.grid(color="0.92")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    figure.savefig(path, dpi=140)
    return True
