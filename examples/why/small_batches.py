"""Batch norm needs large batches; layer and group norm do not, and batch renormalization needs them less.

Wu & He 2018 (arXiv:1803.08494), Figure 1: error against batch size, batch norm's rises below 16 examples, group norm's
does not. Wu & Johnson 2021 (arXiv:2105.07576, section 4) on which batch normalizes; Ioffe 2017 (arXiv:1702.03275) on
batch renormalization, Hoffer et al. 2017 (arXiv:1705.08741) on ghost batches, here of 16 examples.

Measured: the test error of one network after the same number of examples, at a learning rate proportional to the batch
size, as in these papers. Running statistics average over the same number of examples too, whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import minigrad as mg
from examples.experiment import accuracy
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Wu & He 2018, arXiv:1803.08494, Figure 1: ImageNet, from 32 to 2 images 23.6 % to 34.7 %; group norm 24.1 %."
#: steps with batches of REFERENCE examples; as many examples with others
DEFAULT, FULL, SECONDS = Settings(steps=300), Settings(steps=600, seeds=5), 135
SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
REFERENCE, LR, GHOST = 32, 0.1, 16
NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": nn.BatchNorm,
    "renorm": partial(nn.BatchRenorm, r_max=3, d_max=5),
    "ghost": partial(nn.GhostBatchNorm, virtual_batch_size=GHOST),
    "group": partial(nn.GroupNorm, 4),
    "layer": nn.LayerNorm,
}


def error(name: str, size: int, steps: int, seed: int) -> float:
    """The test error of one training with batches of ``size``."""
    training, test = why.digits()
    settings = {} if name in ("group", "layer") else {"momentum": 0.9 ** (size / REFERENCE)}
    model = why.network((64, 64, 64, 10), lambda n: NORMS[name](n, **settings), seed)
    optimizer = mg.optim.SGD(model.parameters(), LR * size / REFERENCE)
    why.train(model, training, max(1, steps * REFERENCE // size), size, seed, optimizer)
    return 1 - accuracy(model, *test)


def run(settings: Settings) -> list[Row]:
    rows: list[Row] = []
    for seed, (name, size) in settings.runs(product(NORMS, SIZES)):
        if name == "ghost" and size <= GHOST:  # one virtual batch: plain batch norm
            found = why.mean(rows, "test_error", seed=seed, norm="batch", batch_size=size)
        else:
            found = error(name, size, settings.steps, seed)
        rows.append({"seed": seed, "norm": name, "batch_size": size, "test_error": found})
    return rows


def finding(rows: list[Row]) -> tuple[bool, str]:
    rise = {
        n: why.mean(rows, "test_error", norm=n, batch_size=2)
        - why.mean(rows, "test_error", norm=n, batch_size=32)
        for n in NORMS
    }
    text = ", ".join(f"{n} norm {100 * rise[n]:+.1f}" for n in ("batch", "group", "layer"))
    holds = (
        rise["batch"] > 0.03 + max(rise["group"], rise["layer"]) and rise["renorm"] < rise["batch"]
    )
    return (
        holds,
        f"from 32 to 2 examples the error changes, in points: {text}, renorm {100 * rise['renorm']:+.1f}.",
    )


def table(rows: list[Row]) -> str:
    return "test error by batch size:\n" + why.pivot(rows, "norm", "batch_size", "test_error")


def draw(figure: Any, rows: list[Row]) -> None:
    panel, sizes = figure.subplots(), why.values(rows, "batch_size")
    for name, color in zip(NORMS, why.PALETTE, strict=False):
        style = "--" if name == "ghost" else "-"
        label = {"renorm": "batch renorm", "ghost": f"ghost of {GHOST}"}.get(name, f"{name} norm")
        why.curve(panel, rows, "batch_size", "test_error", color, label, style, norm=name)
    panel.set_xscale("log", base=2)
    panel.set_xticks(sizes, [str(s) for s in sizes])
    why.finish(panel, 5, log=True, xlabel="batch size", ylabel="test error")
    panel.set_yticks((0.06, 0.08, 0.1, 0.15, 0.2, 0.3))
