"""What a run on a GPU found: targets and whether they are met, a table for the README, and the file of results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from .agreement import OURS
from .harness import Workload

RESULTS = Path(__file__).parent / "results"


def judged(workload: Workload, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The targets of a workload beside what was measured: medians of ratios; None without that peer."""
    ratios = _ratios(result)
    for peer, at_most in workload.targets.items():
        measured = ratios.get(peer)
        met = None if measured is None else measured <= at_most
        yield {"peer": peer, "at_most": at_most, "measured": measured, "met": met}


def verdict(target: dict[str, Any]) -> str:
    """A target to read."""
    word = {True: "met", False: "missed", None: "not measured"}[target["met"]]
    return f"{target['peer']} at most {target['at_most']:g}: {word}"


def table(results: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: medians of milliseconds and of the ratios to all peers, and the targets."""
    columns = list(dict.fromkeys(peer for result in results for peer in _ratios(result)))
    yield f"| | milliseconds | {' | '.join(columns)} | images per second | targets |"
    yield f"|{'---|' * (len(columns) + 4)}"
    for result in results:
        ratios = _ratios(result)
        cells = [f"`{result['name']}`", f"{1e3 * result['measured'][OURS]['median']:.3g}"]
        cells += [f"{ratios[peer]:.2f}" if peer in ratios else "" for peer in columns]
        found = [f for f in result["figures"] if f["unit"] == "images per second"]
        cells.append(
            ", ".join(
                f"{f['name'].removesuffix(' trains on')} {f['value']['median']:,.0f}" for f in found
            )
        )
        cells.append("; ".join(map(verdict, result["targets"])))
        yield f"| {' | '.join(cells)} |"


def path(device: str) -> Path:
    """Where the results of today on ``device`` are kept."""
    words = re.findall(r"[a-z0-9]+", device.lower())
    return RESULTS / f"{date.today()}_{'_'.join(words)}.json"


def _ratios(result: dict[str, Any]) -> dict[str, float]:
    """Our time over each peer's."""
    start = f"{OURS} / "
    return {
        figure["name"].removeprefix(start): figure["value"]["median"]
        for figure in result["figures"]
        if figure["name"].startswith(start)
    }
