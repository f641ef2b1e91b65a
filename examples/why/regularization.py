"""The noise of small batches makes batch norm regularize, as a decay of gamma does.

Luo et al. 2019 (arXiv:1809.00846): batch norm is normalization by population statistics and a decay of gamma, whose
strength grows as batches get smaller; networks normalized by larger batches fit the training data better and generalize
worse, until gamma decay is added.

Measured: losses in eval mode on the training examples and on others, and the root mean square of gamma, after training
on few examples. The batches of SGD have 64 examples in all cases; only the number of them that are normalized together
changes (ghost batches), so that the noise of the gradient is no other. Beside it: all 64 together, with a weight decay
of gamma alone.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

import minigrad as mg
from examples.experiment import accuracy, predict
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Luo et al. 2019, arXiv:1809.00846, sections 2 (gamma decay) and 5 (batch sizes, gamma decay, in CNNs)."
DEFAULT, FULL, SECONDS = Settings(steps=300), Settings(steps=1000, seeds=10), 60
EXAMPLES, BATCH = 512, 64
NOISE, DECAY = "examples normalized together", "decay of gamma"
CASES = [*product([NOISE], (64, 32, 16, 8, 4)), *product([DECAY], (0.0, 0.003, 0.01, 0.03))]


def evaluated(model: nn.Module, split: why.Split) -> float:
    """The loss in eval mode."""
    logits = mg.tensor(predict(model, split[0]))
    return mg.softmax_cross_entropy(logits, mg.tensor(split[1])).item()


def run(settings: Settings) -> list[Row]:
    (training, test), rows = why.few(EXAMPLES), []
    for seed, (what, value) in settings.runs(CASES):
        together = int(value) if what == NOISE else BATCH
        momentum = 0.9 ** (together / BATCH)  # updated for each ghost batch
        model = why.network((64, 128, 128, 10), ghost(together, momentum), seed)
        gammas = [p for name, p in model.named_parameters() if name.endswith("gamma")]
        others = [p for name, p in model.named_parameters() if not name.endswith("gamma")]
        decay = float(value) if what == DECAY else 0.0
        groups = [{"params": others}, {"params": gammas, "weight_decay": decay}]
        why.train(model, training, settings.steps, BATCH, seed, mg.optim.SGD(groups, 0.1))
        gamma = np.concatenate([g.numpy() for g in gammas])
        losses = {"train_loss": evaluated(model, training), "test_loss": evaluated(model, test)}
        row = {"seed": seed, "what": what, "at": value} | losses
        row |= {
            "gap": losses["test_loss"] - losses["train_loss"],
            "test_accuracy": accuracy(model, *test),
        }
        rows.append(row | {"gamma": float(np.sqrt(np.mean(gamma**2)))})
    return rows


def ghost(together: int, momentum: float) -> Any:
    return lambda n: nn.GhostBatchNorm(n, together, momentum=momentum)


def best(rows: list[Row], what: str) -> tuple[float, float, float, float]:
    """The test loss of plain batch norm, the lowest one and where it is, and how gamma changed at the other end."""
    of = [at for w, at in CASES if w == what]
    losses = [why.mean(rows, "test_loss", what=what, at=at) for at in of]
    gamma = why.mean(rows, "gamma", what=what, at=of[-1]) / why.mean(
        rows, "gamma", what=what, at=of[0]
    )
    return losses[0], min(losses), of[int(np.argmin(losses))], gamma


def finding(rows: list[Row]) -> tuple[bool, str]:
    plain, noisy, size, gamma = best(rows, NOISE)
    _, decayed, decay, _ = best(rows, DECAY)
    text = f"the test loss is {plain:.3f} with 64 normalized together and lowest, {noisy:.3f}, with {size}; of "
    text += f"the decays of gamma {decay:g} has the lowest, {decayed:.3f}; with 4 together gamma is {gamma:.3f} times "
    return noisy < 0.98 * plain and decayed < 0.98 * plain, f"{text}that with 64."


def table(rows: list[Row]) -> str:
    names = ("train_loss", "test_loss", "gap", "test_accuracy", "gamma")
    long = [r | {"measure": n.replace("_", " "), "number": r[n]} for r in rows for n in names]
    return "\n\n".join(
        f"{what}:\n{why.pivot([r for r in long if r['what'] == what], 'measure', 'at', 'number')}"
        for what in (NOISE, DECAY)
    )


def draw(figure: Any, rows: list[Row]) -> None:
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, (measure, label) in zip(
        panels, (("test_loss", "test loss"), ("gamma", "rms of gamma")), strict=True
    ):
        for panel, what, color in zip(row, (NOISE, DECAY), why.PALETTE, strict=False):
            why.curve(panel, [r for r in rows if r["what"] == what], "at", measure, color, what)
            why.finish(panel, legend=False)
        row[0].set_ylabel(label)
    for panel, what in zip(panels[1], (NOISE, DECAY), strict=True):
        panel.set_xlabel(what)
    left = panels[1, 0]
    left.set_xscale("log", base=2)
    sizes = why.values([r for r in rows if r["what"] == NOISE], "at")
    left.set_xticks(sizes, [str(s) for s in sizes])
    left.invert_xaxis()
