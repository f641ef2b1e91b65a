"""Recurrent batch norm: images read row by row, by an LSTM and by the BN-LSTM of Cooijmans et al. (arXiv:1603.09025).

Both begin with the same weights and are trained by Adam on the same batches. Prints test accuracies, and writes them
and the losses as a picture (PNG) and as numbers (CSV). On the digits, batch norm's lead is largest at small learning
rates; at --lr 0.03 it leads at first, and the plain LSTM after 1,000 steps.

Then sequences twice as long as those trained on. Batch norm has no statistics for their later steps and takes those of
the last step that was trained; or all are estimated again from training images made longer in the same way, and no
weight moves (``nn.population_statistics``).

Takes about half a minute on two cores for each seed; with --data mnist about four minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import minigrad as mg
from examples.experiment import (
    PART,
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
from examples.figure_one import COLORS, log_axis
from minigrad import nn
from minigrad.command import command
from models.bn_lstm import bn_lstm, lstm

NETWORKS = ("LSTM", "BN-LSTM")
EVALUATIONS = 40  # over a run
LONGER = {
    "the image twice": lambda x: np.concatenate([x, x], axis=1),
    "every row twice": lambda x: np.repeat(x, 2, axis=1),
    "blank rows before": lambda x: np.concatenate([np.zeros_like(x), x], axis=1),
    "blank rows after": lambda x: np.concatenate([x, np.zeros_like(x)], axis=1),
}


def make_network(name: str, rows: int, columns: int, hidden: int, seed: int) -> nn.Module:
    """The weights depend on the seed alone. There is room for the statistics of twice as many steps as are trained."""
    rng = np.random.default_rng(seed)
    if name == "LSTM":
        return lstm(10, columns, hidden, rng=rng)
    return bn_lstm(10, columns, hidden, max_steps=2 * rows, rng=rng)


def train(model: nn.Module, data: tuple, batch_size: int, lr: float, seed: int) -> Iterator[float]:
    """Endless training, one step per ``next``, which returns its loss."""
    optimizer = mg.optim.Adam(model.parameters(), lr)
    rng = np.random.default_rng([seed, 1])
    loader = mg.data.DataLoader(data, batch_size, drop_last=True, rng=rng)
    for x, labels in chain.from_iterable(repeat(loader)):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        yield loss.item()


def longer(model: nn.Module, name: str, data: dict[str, tuple]) -> Iterator[tuple[str, str, float]]:
    """Accuracies on longer sequences: the sequence, where the statistics of the later steps are from, accuracy."""
    state = model.state_dict()
    for sequence, lengthen in LONGER.items():
        images, labels = lengthen(data["test"][0]), data["test"][1]
        yield sequence, "last step" if name == "BN-LSTM" else "", accuracy(model, images, labels)
        if name == "BN-LSTM":
            nn.population_statistics(model, [lengthen(data["train"][0][:PART])], "total")
            yield sequence, "re-estimated", accuracy(model, images, labels)
            model.load_state_dict(state)


def table(at: list[int], accuracies: np.ndarray) -> str:
    """Test accuracies, means over seeds, at 5, 10, 20, 50 and 100 % of the steps."""
    columns = sorted({max(0, round(len(at) * f) - 1) for f in (0.05, 0.1, 0.2, 0.5, 1)})
    lines = [f"{'test accuracy after':<21}" + "".join(f"{at[c]:>9,}" for c in columns) + " steps"]
    for network, values in zip(NETWORKS, accuracies.mean(axis=0), strict=True):
        lines.append(f"{network:<21}" + "".join(f"{values[c]:9.3f}" for c in columns))
    return "\n".join(lines)


def table_of_longer(rows: int, long: list[list]) -> str:
    """Means over seeds."""
    heads = ["LSTM", "BN-LSTM, last step's", "BN-LSTM, re-estimated"]
    lines = [f"{f'{2 * rows} steps for {rows}':<21}" + "".join(f"{head:>23}" for head in heads)]
    for sequence in LONGER:
        cells = []
        for statistics in ("", "last step", "re-estimated"):
            found = [r[4] for r in long if r[2:4] == [sequence, statistics]]
            cells.append(f"{np.mean(found):23.3f}")
        lines.append(f"{sequence:<21}" + "".join(cells))
    return "\n".join(lines)


def plot(path: Path, title: str, at: list[int], losses: np.ndarray, accuracies: np.ndarray) -> None:
    """Training loss and test accuracy: mean and range over seeds."""
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    axes = figure.subplots(1, 2)
    for panel, curves in zip(axes, (losses, accuracies), strict=True):
        for i, (network, color) in enumerate(zip(NETWORKS, COLORS, strict=True)):
            mean, low, high = (f(curves[:, i], axis=0) for f in (np.mean, np.min, np.max))
            panel.plot(at, mean, color=color, linewidth=2, label=f"{network}: {mean[-1]:.3g}")
            panel.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
        panel.set(xlabel="training step", xlim=(0, at[-1]))
        legend_below(panel, ncols=2)
        tidy(panel)
    axes[0].set(title=f"(a) training loss, {title}", ylabel="cross-entropy")
    log_axis(axes[0])
    axes[1].set(title=f"(b) test accuracy, {title}", ylabel="test accuracy", ylim=(None, 1))
    figure.savefig(path, dpi=140)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("sequential_mnist", __doc__)
    add = parser.add_argument
    add_options(parser, data="digits", batch_size=60, lr=0.01, seed=0, seeds=1)
    add_options(parser, backend=None, out=Path("out"))
    add("--steps", type=positive, default=1000, help="default: %(default)s")
    add("--hidden", type=positive, default=50, help="hidden units (default: %(default)s)")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    choose_backend(args.backend)
    args.out.mkdir(parents=True, exist_ok=True)
    with reasons():
        data = load(args.data, args.batch_size)
    rows, columns = data["train"][0].shape[1:]
    at = evaluations(args.steps, EVALUATIONS)
    losses, accuracies = np.zeros((2, args.seeds, len(NETWORKS), len(at)))
    long = []
    with tqdm(
        total=args.seeds * len(NETWORKS) * args.steps, unit="step", dynamic_ncols=True
    ) as bar:
        for run in range(args.seeds):
            for i, name in enumerate(NETWORKS):
                seed = args.seed + run
                model = make_network(name, rows, columns, args.hidden, seed)
                training = train(model, data["train"], args.batch_size, args.lr, seed)
                for e, steps in enumerate(np.diff(at, prepend=0).tolist()):
                    losses[run, i, e] = np.mean(list(islice(training, steps)))
                    accuracies[run, i, e] = accuracy(model, *data["test"])
                    bar.update(steps)
                    bar.set_postfix_str(f"{name} {accuracies[run, i, e]:.3f}", refresh=False)
                long += [[seed, name, *row] for row in longer(model, name, data)]

    print(table(at, accuracies))
    print(
        f"\nLonger sequences; statistics of steps that were not trained\n{table_of_longer(rows, long)}"
    )
    name = str(args.out / f"sequential_mnist_{args.data}")
    curves = (
        [args.seed + run, network, step, losses[run, i, e], accuracies[run, i, e]]
        for run in range(args.seeds)
        for i, network in enumerate(NETWORKS)
        for e, step in enumerate(at)
    )
    head = ["seed", "network", "step", "train_loss", "test_accuracy"]
    write_csv(Path(f"{name}.csv"), head, curves)
    head = ["seed", "network", "sequence", "statistics", "test_accuracy"]
    write_csv(Path(f"{name}_longer.csv"), head, long)
    title = args.data + (f", {args.seeds} seeds" if args.seeds > 1 else "")
    plot(Path(f"{name}.png"), title, at, losses, accuracies)
    print(f"\nfigure: {name}.png   numbers: {name}.csv, {name}_longer.csv")


if __name__ == "__main__":
    main()
