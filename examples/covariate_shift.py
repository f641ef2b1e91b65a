"""Covariate shift: a classifier on another population than it was trained on, and a layer whose inputs keep moving.

1. Between populations (Shimodaira 2000). Networks learn ten kinds of things in population A and are tested in B, where
   the kinds differ from each other in the same way, but every feature is shifted and stretched. Batch norm's
   statistics can be estimated again from B, which takes no labels.
2. Within a network (Ioffe & Szegedy 2015, arXiv:1502.03167, sections 1 and 4.1). To a layer deep inside, the layers
   below are the population, and training changes them: how far does what enters the last hidden layer's sigmoids move,
   by its own deviation? Whether that is why batch norm helps is disputed (Santurkar et al. 2018, arXiv:1805.11604).

Prints tables, and writes the numbers of both (CSV) and the second as a picture (PNG). Takes about twenty seconds on
two cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise, repeat
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minigrad as mg
from examples.experiment import (
    accuracy,
    add_options,
    legend_below,
    make_parser,
    positive,
    tidy,
    write_csv,
)
from examples.figure_one import COLORS, PERCENTILES, annotate_end, log_axis, typical_unit
from minigrad import nn
from minigrad.command import command
from models.mlp import MLP

KINDS, FEATURES, SIZE, BATCH = 10, 20, 3000, 60
NETWORKS = ("no batch norm", "in hidden layers", "of inputs too")
EVALUATIONS = 100  # of the second part, besides the one before the first step
PLACES = ("without batch norm", "before batch norm", "after batch norm")


class Populations:
    """Two populations: each kind comes in two forms, points about which its members scatter.

    Feature j of B is that of A times scale_j plus shift_j: other numbers, and the same rule relative to them.
    """

    def __init__(self, seed: int, shift: float, scale: float) -> None:
        self.rng = np.random.default_rng([seed, 0])
        self.forms = self.rng.normal(size=(KINDS, 2, FEATURES))
        self.shift = shift * self.rng.normal(size=FEATURES)
        self.scale = np.exp(scale * self.rng.normal(size=FEATURES))

    def sample(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (SIZE, FEATURES) and kinds (SIZE,) of new members of population A or B."""
        kinds, forms = self.rng.integers(KINDS, size=SIZE), self.rng.integers(2, size=SIZE)
        x = self.forms[kinds, forms] + self.rng.normal(size=(SIZE, FEATURES))
        return np.float32(x * self.scale + self.shift if name == "B" else x), kinds


def make_network(name: str, seed: int) -> nn.Module:
    """One of NETWORKS, which have the same weights."""
    rng = np.random.default_rng(seed)
    mlp = MLP((FEATURES, 50, 50, KINDS), batch_norm=name != "no batch norm", rng=rng)
    if name == "of inputs too":
        return nn.Sequential(nn.BatchNorm(FEATURES, momentum=0.9), mlp)
    return mlp


def train(
    model: nn.Module, data: tuple[np.ndarray, np.ndarray], seed: int, momentum: float = 0.0
) -> Iterator[None]:
    """Endless stochastic gradient descent, one step per ``next``."""
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    loader = mg.data.DataLoader(data, BATCH, drop_last=True, rng=np.random.default_rng([seed, 1]))
    for x, labels in chain.from_iterable(repeat(loader)):
        optimizer.zero_grad()
        mg.softmax_cross_entropy(model(x), labels).backward()
        optimizer.step()
        yield


def between_populations(
    seed: int, shift: float, scale: float
) -> tuple[dict[tuple[str, str, str], float], dict[tuple[str, str], mg.study.Gaps]]:
    """Train on A, test on A and on B, re-estimate on B without labels, test on B again.

    Returns
    -------
    accuracies : dict
        Of a network, the population it is tested on, and where its statistics are from.
    gaps : dict
        Between batches of B and the statistics of a network, which are from A or B.
    """
    populations = Populations(seed, shift, scale)
    train_a, test_a, (unlabelled_b, _), test_b = map(populations.sample, "AABB")
    by_feature = unlabelled_b[unlabelled_b[:, 0].argsort()]
    found, gaps = {}, {}
    for network in NETWORKS:
        model = make_network(network, seed)
        for _ in islice(train(model, train_a, seed, momentum=0.9), 10 * SIZE // BATCH):
            pass
        found[network, "A", "as trained on A"] = accuracy(model, *test_a)
        found[network, "B", "as trained on A"] = accuracy(model, *test_b)
        if network == "no batch norm":
            continue
        gaps[network, "A"] = mg.study.gap(model, cut(unlabelled_b))
        for order, x in (("shuffled", unlabelled_b), ("sorted by a feature", by_feature)):
            for estimator in ("batch_mean", "total"):
                nn.population_statistics(model, cut(x), estimator)
                found[network, "B", f"{estimator} of B, {order}"] = accuracy(model, *test_b)
            if order == "shuffled":
                gaps[network, "B"] = mg.study.gap(model, cut(unlabelled_b))
    return found, gaps


def cut(x: np.ndarray) -> list[np.ndarray]:
    return [x[i : i + BATCH] for i in range(0, len(x), BATCH)]


def what_enters(model: MLP, x: mg.Tensor) -> Iterable[np.ndarray]:
    """Inputs of the last hidden layer's batch norm, if it has one, and of its sigmoids, (n, units).

    As in training: x is normalized as one batch.
    """
    with mg.no_grad(), nn.hold_statistics():
        for layer in model.hidden[:-1]:
            x = mg.sigmoid(layer(x))
        for part in model.hidden[-1]:
            x = part(x)
            yield x.numpy()


def within_network(seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps after which the networks are looked at, and what enters there.

    Returns
    -------
    at : array, shape (evaluations,)
    seen : array, shape (places, evaluations, 5, units)
        Mean, deviation and PERCENTILES of each unit over the training set.
    """
    images, labels = mg.data.digits("train")
    x = images.reshape(len(images), -1)
    at = np.unique(np.round(np.linspace(0, steps, EVALUATIONS + 1)).astype(int))
    seen = []
    for batch_norm in (False, True):
        model = MLP((64, 100, 100, 100, 10), batch_norm, rng=np.random.default_rng(seed))
        training, looks = train(model, (x, labels), seed), []
        for pause in np.diff(at, prepend=0):
            for _ in islice(training, int(pause)):
                pass
            looks.append([summary(values) for values in what_enters(model, mg.tensor(x))])
        seen += zip(*looks, strict=True)
    return at, np.array(seen)


def summary(values: np.ndarray) -> np.ndarray:
    percentiles = np.percentile(values, PERCENTILES, axis=0)
    return np.stack([values.mean(axis=0), values.std(axis=0), *percentiles])


def drift(at: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How far the units move per 100 steps between evaluations, root mean squares: (2, places, evaluations - 1).

    The mean in deviations, and the logarithm of the deviation.
    """
    mean, deviation = seen[:, :, 0], seen[:, :, 1]
    moves = np.diff(mean, axis=1) / deviation[:, :-1], np.diff(np.log(deviation), axis=1)
    return np.sqrt(np.square(moves).mean(axis=-1)) * 100 / np.diff(at)


def table_of_populations(found: dict[tuple[str, str, str], float]) -> str:
    lines = [f"{'batch norm:':<44}" + "".join(f"{network:>18}" for network in NETWORKS)]
    for tested, statistics in dict.fromkeys(key[1:] for key in found):
        values = [found.get((network, tested, statistics)) for network in NETWORKS]
        cells = [f"{'-' if v is None else f'{v:.3f}':>18}" for v in values]
        lines.append(f"on {tested}, {statistics:<38}" + "".join(cells))
    return "\n".join(lines)


def table_of_drift(at: np.ndarray, moved: np.ndarray) -> str:
    cuts = sorted({round((len(at) - 1) * f) for f in (0, 0.1, 0.5, 1)})
    spans = list(pairwise(cuts))
    heads = "".join(f"{f'{at[a]:,}-{at[b]:,}':>14}" for a, b in spans)
    lines = [f"{'':<34}{heads} steps"]
    for what, values in zip(("mean", "log deviation"), moved, strict=True):
        for place, row in zip(PLACES, values, strict=True):
            means = [np.average(row[a:b], weights=np.diff(at)[a:b]) for a, b in spans]
            lines.append(f"{what:<14}{place:<20}" + "".join(f"{m:14.4f}" for m in means))
    return "\n".join(lines)


def plot(path: Path, at: np.ndarray, seen: np.ndarray, moved: np.ndarray, unit: int) -> None:
    """(a) percentiles of the input of one sigmoid; (b) root mean square movement of all means."""
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    axes = figure.subplots(1, 2)
    for place, color in ((0, COLORS[0]), (2, COLORS[1])):
        low, middle, high = seen[place, :, 2:, unit].T
        axes[0].fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
        axes[0].plot(at, middle, color=color, linewidth=2, label=PLACES[place])
        axes[0].plot(at, np.stack([low, high], axis=1), color=color, linewidth=0.8)
    for y, percentile in zip(seen[2, -1, 2:, unit], PERCENTILES, strict=True):
        annotate_end(axes[0], at[-1], y, f"{percentile} %", COLORS[1])
    for place, color in enumerate((COLORS[0], "0.45", COLORS[1])):
        axes[1].plot(at[1:], moved[0, place], color=color, linewidth=1.6, label=PLACES[place])
    axes[0].set(title="(a) what enters one sigmoid", ylabel="input")
    axes[1].set(title="(b) how fast the means move")
    log_axis(axes[1])
    axes[1].set_ylabel("own deviations per 100 steps")
    for panel in axes:
        legend_below(panel, ncols=2)
        panel.set(xlabel="training step", xlim=(0, at[-1]))
        tidy(panel)
    figure.savefig(path, dpi=140)


@command
def main(argv: list[str] | None = None) -> None:
    parser = make_parser("covariate_shift", __doc__)
    add = parser.add_argument
    add_options(parser, seed=0, out=Path("out"))
    add("--shift", type=float, default=1.5, help="deviation of B's shifts (default: %(default)s)")
    add("--scale", type=float, default=0.4, help="of its log factors (default: %(default)s)")
    add("--steps", type=positive, default=3000, help="of part 2 (default: %(default)s)")
    args = parser.parse_args(argv)
    for name in ("shift", "scale"):
        if not (math.isfinite(value := getattr(args, name)) and value >= 0):
            parser.error(f"--{name}: expected a number >= 0, got {value}")
    args.out.mkdir(parents=True, exist_ok=True)
    name = str(args.out / "covariate_shift")

    print("1. Trained on population A, used on population B: test accuracy\n")
    found, gaps = between_populations(args.seed, args.shift, args.scale)
    head = ["network", "tested_on", "statistics", "accuracy"]
    write_csv(Path(f"{name}_populations.csv"), head, [(*key, a) for key, a in found.items()])
    print(table_of_populations(found))
    for source in "AB":
        print(f"\nbatches of B against statistics of {source}, batch norm in hidden layers")
        print(gaps["in hidden layers", source])
    print("""
Estimated again, statistics in hidden layers undo every shift, and stretching that all features share; those of inputs
undo both. A narrow gap does not guarantee accuracy: it compares statistics only. Sorted batches
are not alike: "batch_mean" lacks the variance between them, "total" has it.

2. What enters the last hidden layer's sigmoids: movement in 100 steps, in own deviations
""")
    at, seen = within_network(args.seed, args.steps)
    moved = drift(at, seen)
    print(table_of_drift(at, moved))
    unit = typical_unit(seen[::2, :, 2:])
    head = ["place", "step", "mean_moved", "log_deviation_moved", "unit", "mean", "deviation"]
    head += [f"p{p}" for p in PERCENTILES]
    rows = (
        [place, step, *(moved[:, p, e - 1] if e else ["", ""]), unit, *seen[p, e, :, unit]]
        for p, place in enumerate(PLACES)
        for e, step in enumerate(at)
    )
    write_csv(Path(f"{name}_network.csv"), head, rows)
    plot(Path(f"{name}.png"), at, seen, moved, unit)
    print(f"\nfigure: {name}.png   numbers: {name}_populations.csv, {name}_network.csv")


if __name__ == "__main__":
    main()
