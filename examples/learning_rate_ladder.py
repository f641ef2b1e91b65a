"""Batch norm permits higher learning rates: Figure 2 and the table of Figure 3 of the paper, at toy scale.

One small convolutional network is trained without batch norm, with it at the same learning rate, at 5 and 30 times
that rate, and at 5 times with sigmoids in place of rectifiers, as Ioffe & Szegedy 2015 (arXiv:1502.03167, section
4.2.2) trained Inception on ImageNet. All begin with the same weights and see the same batches, by plain SGD whose
learning rate falls exponentially. Prints how many steps each takes to the baseline's best accuracy, and its own best
accuracy, beside the paper's numbers, and writes the curves as a picture (PNG) and as numbers (CSV).

The default learning rate is as good for the baseline as 0.15, 0.2 and 0.3 (90 % on the digits, 800 steps, five seeds);
at 0.5, which batch norm likes best, two seeds of five do not get beyond 78 % without it.

Takes about half a minute on two cores; --seeds 5 --steps 800 about four minutes, --data mnist about half an hour.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import minigrad as mg
from examples.experiment import (
    Split,
    accuracy,
    add_options,
    choose_backend,
    evaluations,
    legend_below,
    load,
    make_parser,
    positive,
    reasons,
    tidy,
    write_csv,
)
from minigrad import nn
from minigrad.command import command

# (channels, stride) of the 3 x 3 convolutions
CONVOLUTIONS = [(16, 1)] * 2 + [(16, 2)] + [(16, 1)] * 3 + [(32, 2)] + [(32, 1)] * 5
DECAY = 0.03  # the last learning rate, as a part of the first
EVALUATIONS = 40  # over a run
CHANCE = 0.1  # the accuracy of a network whose training diverged, from there on


class Row(NamedTuple):
    """A row of the paper's table: the network, and the paper's results.

    ``steps`` are millions to 72.2 %, the best accuracy of Inception, and ``best`` is in percent; both on ImageNet.
    """

    batch_norm: bool
    times: int
    activation: Callable[[mg.Tensor], mg.Tensor]
    steps: float | None
    best: float
    color: str


ROWS = {
    "baseline": Row(False, 1, mg.relu, 31.0, 72.2, "0.35"),
    "BN-Baseline": Row(True, 1, mg.relu, 13.3, 72.7, "#2a6fbb"),
    "BN-x5": Row(True, 5, mg.relu, 2.1, 73.0, "#3a923a"),
    "BN-x30": Row(True, 30, mg.relu, 2.7, 74.8, "#c44e52"),
    "BN-x5-Sigmoid": Row(True, 5, mg.sigmoid, None, 69.8, "#8c5fb0"),
}


class ConvNet(nn.Module):
    """Convolutions with activations, batch norm between the two or not, global average pooling, a linear layer."""

    def __init__(self, row: Row, rng: np.random.Generator) -> None:
        self.activation, self.hidden, fan_in = row.activation, [], 1
        for channels, stride in CONVOLUTIONS:
            bias = not row.batch_norm
            conv = nn.Conv2d(fan_in, channels, 3, stride, padding=1, bias=bias, rng=rng)
            layers: list[nn.Module] = [conv]
            if row.batch_norm:  # that a training diverged is seen in its loss
                layers.append(nn.BatchNorm(channels, momentum=0.9, on_nonfinite="skip"))
            self.hidden.append(nn.Sequential(*layers))
            fan_in = channels
        self.output = nn.Linear(fan_in, 10, rng=rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Logits (n, 10) of images (n, 1, height, width)."""
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.output(mg.global_avg_pool2d(x))


def train(
    row: Row, splits: dict[str, Split], at: list[int], lr: float, batch_size: int, seed: int
) -> Iterator[tuple[float, float]]:
    """Mean loss since the last evaluation, and test accuracy, after each number of steps in ``at``.

    It ends before if the loss is no longer finite.
    """
    model = ConvNet(row, np.random.default_rng(seed))
    optimizer = mg.optim.SGD(model.parameters(), lr)
    rng = np.random.default_rng([seed, 1])
    loader = mg.data.DataLoader(splits["train"], batch_size, drop_last=True, rng=rng)
    training = chain.from_iterable(repeat(loader))
    step = 0
    for evaluation in at:
        losses = []
        for x, labels in islice(training, evaluation - step):
            optimizer.lr = lr * row.times * DECAY ** (step / at[-1])
            optimizer.zero_grad()
            loss = mg.softmax_cross_entropy(model(x), labels)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                return
            loss.backward()
            optimizer.step()
            step += 1
        yield float(np.mean(losses)), accuracy(model, *splits["test"])


def steps_to(target: float, at: list[int], accuracies: np.ndarray) -> int | None:
    """The first evaluation whose accuracy, the mean over seeds, is at least the target."""
    reached = accuracies.mean(axis=0) >= target
    return at[reached.argmax()] if reached.any() else None


def table(at: list[int], accuracies: np.ndarray) -> str:
    """As the paper's: steps to the baseline's best accuracy, and best accuracy; ours are of means over seeds."""
    target = accuracies[0].mean(axis=0).max()
    lines = [
        f"{'':<15}{'steps to':>10}{'best':>9}{'lowest and':>16}{'the paper, on ImageNet:':>28}",
        f"{'':<15}{f'{target:.2%}':>10}{'accuracy':>9}{'highest seed':>16}{'steps to 72.2 %':>19}{'best':>9}",
    ]
    for (name, row), curves in zip(ROWS.items(), accuracies, strict=True):
        steps, best = steps_to(target, at, curves), curves.max(axis=1)
        cells = f"{'-' if steps is None else f'{steps:,}':>10}{curves.mean(axis=0).max():>9.2%}"
        cells += f"{f'{best.min():.1%} {best.max():.1%}':>16}"
        paper = "-" if row.steps is None else f"{row.steps:.1f} million"
        lines.append(f"{name:<15}{cells}{paper:>19}{row.best:>7.1f} %")
    return "\n".join(lines)


def plot(path: Path, title: str, at: list[int], accuracies: np.ndarray) -> None:
    """Test accuracy against steps, means and ranges over seeds, marked where they reach the baseline's best."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    panel = figure.subplots()
    target = accuracies[0].mean(axis=0).max()
    panel.axhline(target, color="0.6", linewidth=1, linestyle="--")
    for (name, row), curves in zip(ROWS.items(), accuracies, strict=True):
        mean, steps = curves.mean(axis=0), steps_to(target, at, curves)
        panel.plot(at, mean, color=row.color, linewidth=2, label=f"{name}: {mean.max():.1%}")
        low, high = curves.min(axis=0), curves.max(axis=0)
        panel.fill_between(at, low, high, color=row.color, alpha=0.12, linewidth=0)
        if steps is not None:
            panel.plot(steps, mean[at.index(steps)], "D", color=row.color, markersize=8)
    panel.set(title=title, xlabel="training step", ylabel="test accuracy")
    panel.set(xlim=(0, at[-1]), ylim=(max(0, 1 - 4 * (1 - target)), 1))
    legend_below(panel, ncols=5, columnspacing=1, handlelength=1.2, title="best accuracy")
    tidy(panel)
    figure.savefig(path, dpi=140)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("learning_rate_ladder", __doc__)
    add_options(parser, data="digits", batch_size=64, lr=0.1, seed=0, seeds=1)
    add_options(parser, backend=None, out=Path("out"))
    help_ = "of each training (default: %(default)s)"
    parser.add_argument("--steps", type=positive, default=500, help=help_)
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    choose_backend(args.backend)
    args.out.mkdir(parents=True, exist_ok=True)
    with reasons():
        splits = load(args.data, args.batch_size)
    splits = {split: (images[:, None], labels) for split, (images, labels) in splits.items()}
    at = evaluations(args.steps, EVALUATIONS)
    shape = len(ROWS), args.seeds, len(at)
    losses, accuracies = np.full(shape, np.nan), np.full(shape, CHANCE)
    with tqdm(total=args.seeds * len(ROWS) * at[-1], unit="step", dynamic_ncols=True) as bar:
        for run in range(args.seeds):
            for r, (name, row) in enumerate(ROWS.items()):
                seed = args.seed + run
                training = train(row, splits, at, args.lr, args.batch_size, seed)
                with np.errstate(over="ignore", invalid="ignore"):  # learning rates may be too high
                    for e, recorded in enumerate(training):
                        losses[r, run, e], accuracies[r, run, e] = recorded
                        bar.set_postfix_str(f"{name} {recorded[1]:.3f}", refresh=False)
                        bar.update(at[e] - (at[e - 1] if e else 0))

    name = str(args.out / f"learning_rate_ladder_{args.data}")
    head = ["seed", "row", "first_lr", "step", "train_loss", "test_accuracy"]
    rows = (
        [
            args.seed + run,
            row,
            args.lr * ROWS[row].times,
            step,
            losses[r, run, e],
            accuracies[r, run, e],
        ]
        for run in range(args.seeds)
        for r, row in enumerate(ROWS)
        for e, step in enumerate(at)
    )
    write_csv(Path(f"{name}.csv"), head, rows)
    print(table(at, accuracies))
    title = args.data + (f", {args.seeds} seeds: mean and range" if args.seeds > 1 else "")
    plot(Path(f"{name}.png"), title, at, accuracies)
    print(f"\nfigure: {name}.png   numbers: {name}.csv")


if __name__ == "__main__":
    main()
