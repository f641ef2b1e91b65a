"""Pictures of results: ratios to the peers, and how times grow with what a workload's name ends in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLORS = {
    "minigrad": "#2a6fbb",
    "torch": "#c44e52",
    "torch.compile": "#e39a5b",
    "jax": "#3a923a",
    "tensorflow": "#8c6bb1",
    "floor": "#8c8c8c",
    "numpy": "#c9a227",
    "eager": "#2a6fbb",
    "captured": "#64b5cd",
    "onnxruntime": "#1f1f1f",
}

Results = list[dict[str, Any]]


def plot(results: Results, folder: Path) -> Iterator[Path]:
    """Draw what there is into a folder; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    scaling = [r for r in results if r["name"].startswith("scaling-")]
    others = [r for r in results if r not in scaling and len(r["measured"]) > 1]
    for name, chosen, draw in (("ratios", others, _ratios), ("scaling", scaling, _scaling)):
        if chosen:
            path = folder / f"{name}.png"
            draw(chosen).savefig(path, dpi=140)
            yield path


def _ratios(results: Results) -> Any:
    """A row for each workload: minigrad's time, or memory, over each peer's, with the spread over rounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.9 + 0.5 * len(results)), layout="constrained")
    axes = figure.subplots()
    seen = set()
    for row, result in enumerate(results):
        ratios = [f for f in result["figures"] if f["name"].startswith("minigrad / ")]
        for i, ratio in enumerate(ratios):
            peer, value = ratio["name"].removeprefix("minigrad / "), ratio["value"]
            y = row + (i - (len(ratios) - 1) / 2) * 0.14
            color, label = COLORS.get(peer), None if peer in seen else peer
            axes.plot([value["min"], value["max"]], [y, y], color=color, linewidth=1.5, alpha=0.6)
            axes.plot(value["median"], y, "o", color=color, markersize=5, label=label)
            seen.add(peer)
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set(xscale="log", xlabel="minigrad / peer: less is better (median and range over rounds)")
    axes.set_yticks(range(len(results)), [r["name"] for r in results])
    axes.set_xticks(ticks := [0.1, 0.2, 0.5, 1, 2, 5], [str(t) for t in ticks], minor=False)
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _scaling(results: Results) -> Any:
    """One panel for each axis of the workloads ``scaling-axis-value``."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for result in results:
        _, axis, value = result["name"].split("-")
        for peer, seconds in result["measured"].items():
            point = int(value), 1e3 * seconds["median"]
            panels.setdefault(axis, {}).setdefault(peer, []).append(point)
    figure = Figure(figsize=(4.4 * len(panels), 4), layout="constrained")
    for panel, (axis, peers) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for peer, points in peers.items():
            style = {"marker": "o", "markersize": 4, "linewidth": 2, "color": COLORS.get(peer)}
            panel.plot(*zip(*points, strict=True), label=peer, **style)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms per training step")
        panel.set_xticks(ticks := [x for x, _ in points], [f"{x:,}" for x in ticks])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        for direction in (panel.xaxis, panel.yaxis):
            direction.set_minor_formatter("")
        panel.grid(color="0.92")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    handles = panel.get_legend_handles_labels()
    figure.legend(*handles, frameon=False, loc="outside lower center", ncols=len(handles[0]))
    return figure
