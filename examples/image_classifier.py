"""A small convolutional network with batch norm that classifies digits or clothes.

Trains LeNet with batch norm on images that are shifted at random, by SGD with momentum and a learning rate that falls
to zero. Prints losses and accuracies after each epoch, and writes the learning curves and the confusion matrix as a
picture (PNG) and as numbers (two CSV files).

Takes about ten seconds on two cores; --data mnist about three minutes, --data fashion-mnist about ten.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import minigrad as mg
from examples.classifier_report import COLUMNS, HEADER, line, plot, write_confusion, write_curves
from examples.experiment import (
    Split,
    add_options,
    choose_backend,
    flatten_state,
    interruption,
    load,
    load_checkpoint,
    make_parser,
    natural,
    positive,
    predict,
    reasons,
    require_checkpoint,
)
from minigrad import nn
from minigrad.command import command
from minigrad.data import augment
from models.lenet_bn import lenet_bn


class Recipe(NamedTuple):
    """A data set's default number of epochs and shift, and its classes."""

    epochs: int
    shift: int
    classes: tuple[str, ...] = tuple("0123456789")


CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag")
RECIPES = {
    "digits": Recipe(epochs=20, shift=1),
    "mnist": Recipe(epochs=3, shift=2),
    "fashion-mnist": Recipe(10, 1, (*CLOTHES, "boot")),
}


@dataclass
class Settings:
    """The settings that determine the numbers of a run; a checkpoint is resumed only with equal ones."""

    data: str = "digits"
    epochs: int = RECIPES["digits"].epochs
    batch_size: int = 100
    lr: float = 0.1
    shift: int = RECIPES["digits"].shift
    seed: int = 0


class Run:
    """A network in training: the state between two steps.

    Parameters
    ----------
    settings : Settings
    train, test : pairs of arrays
        Images (n, 1, height, width) and labels (n,).
    """

    def __init__(self, settings: Settings, train: Split, test: Split) -> None:
        self.settings, self.train, self.test = settings, train, test
        self.per_epoch = len(train[0]) // settings.batch_size
        rng = np.random.default_rng(settings.seed)
        self.model = lenet_bn(size=train[0].shape[-1], rng=rng)
        self.optimizer = mg.optim.SGD(self.model.parameters(), settings.lr, momentum=0.9)
        self.step = 0
        self.sums = np.zeros(2)  # of this epoch's losses, and of its right answers
        self.curves = np.full((settings.epochs, len(COLUMNS)), np.nan)

    @classmethod
    def load(cls, settings: Settings) -> Run:
        splits = load(settings.data, settings.batch_size).values()
        return cls(settings, *((images[:, None], labels) for images, labels in splits))

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[mg.Tensor, mg.Tensor]]:
        """The batches of an epoch from ``first`` on; each depends on the seed and its place alone."""
        (images, labels), size, seed = self.train, self.settings.batch_size, self.settings.seed
        order = np.random.default_rng([seed, number]).permutation(len(images))
        for i in range(first, self.per_epoch):
            chosen = order[i * size : (i + 1) * size]
            rng = np.random.default_rng([seed, number, i + 1])
            shifted = augment.shift(images[chosen], self.settings.shift, rng)
            yield mg.tensor(shifted), mg.tensor(labels[chosen])

    def batches(self) -> Iterator[tuple[mg.Tensor, mg.Tensor]]:
        """The batches from this step to the last."""
        epoch, first = divmod(self.step, self.per_epoch)
        for number in range(epoch, self.settings.epochs):
            yield from self.epoch(number, first if number == epoch else 0)

    def train_step(self, x: mg.Tensor, labels: mg.Tensor) -> None:
        self.optimizer.lr = self.settings.lr * (1 - self.step / len(self))
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = mg.softmax_cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.sums += loss.item(), (logits.numpy().argmax(axis=1) == labels.numpy()).mean()
        self.step += 1

    def __len__(self) -> int:
        """All steps, from the first epoch to the last."""
        return self.settings.epochs * self.per_epoch

    def end_epoch(self) -> str:
        """Test, and record; the line of the table."""
        epoch = self.step // self.per_epoch
        logits = predict(self.model, self.test[0])
        loss = mg.softmax_cross_entropy(mg.tensor(logits), mg.tensor(self.test[1])).item()
        right = (logits.argmax(axis=1) == self.test[1]).mean()
        self.curves[epoch - 1] = self.optimizer.lr, *self.sums / self.per_epoch, loss, right
        self.sums[:] = 0
        return line(epoch, self.curves[epoch - 1])

    def state(self) -> dict[str, np.ndarray]:
        """The state for ``resume``, as named arrays."""
        settings = asdict(self.settings) | {"data": list(RECIPES).index(self.settings.data)}
        position = {"step": self.step, "sums": self.sums, "curves": self.curves}
        parts = {"settings": settings, "position": position, "model": self.model.state_dict()}
        parts["optimizer"] = self.optimizer.state_dict()
        return flatten_state(parts)

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises
        ------
        ValueError
            If it was made by another experiment or under other settings, naming them.
        """
        saved = load_checkpoint(path, self.state())
        self.step = int(saved["position"]["step"])
        self.sums, self.curves = saved["position"]["sums"], saved["position"]["curves"]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])


def train(run: Run, checkpoint: Path | None = None) -> bool:
    """Train to the end, saving after each epoch; False if Ctrl-C came first."""
    bar = tqdm(total=len(run), initial=run.step, unit="step", dynamic_ncols=True)
    with bar, interruption() as interrupted:
        for batch in run.batches():
            run.train_step(*batch)
            bar.update()
            ended = run.step % run.per_epoch == 0
            if ended:
                bar.write(run.end_epoch())
            if checkpoint and (ended or interrupted()):
                mg.save(checkpoint, run.state())
            if interrupted():
                return False
    return True


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("image_classifier", __doc__)
    default = Settings()
    add_options(parser, data="digits", batch_size=default.batch_size, lr=default.lr, seed=0)
    add_options(parser, backend=None, out=Path("out"), checkpoint=None, resume=False)
    add = parser.add_argument
    epochs, shifts = (
        ", ".join(f"{getattr(recipe, name)} for {data}" for data, recipe in RECIPES.items())
        for name in ("epochs", "shift")
    )
    add("--epochs", type=positive, help=f"passes over the training images (default: {epochs})")
    add(
        "--shift",
        type=natural,
        metavar="PIXELS",
        help=f"the furthest a training image is moved, both ways (default: {shifts})",
    )
    add(
        "--population",
        action="store_true",
        help="in the end replace the running statistics by those of one more pass over the training "
        "images (Algorithm 2 of arXiv:1502.03167), and test with these",
    )
    args = parser.parse_args(argv)
    require_checkpoint(parser, args)
    recipe = RECIPES[args.data]
    args.epochs = args.epochs or recipe.epochs
    args.shift = recipe.shift if args.shift is None else args.shift
    return args


@command
def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    choose_backend(args.backend)
    settings = Settings(**{name: getattr(args, name) for name in asdict(Settings())})
    with reasons():
        run = Run.load(settings)
        if args.resume:
            run.resume(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    print(HEADER)
    for epoch in range(run.step // run.per_epoch):
        print(line(epoch + 1, run.curves[epoch]))
    if not train(run, args.checkpoint):
        where = f"; --resume goes on from {args.checkpoint}" if args.checkpoint else ""
        print(f"interrupted after step {run.step} of {len(run)}{where}")
        return 130
    if args.population:
        nn.population_statistics(run.model, run.epoch(settings.epochs))
        if args.checkpoint:
            mg.save(args.checkpoint, run.state())
    labels, answers = run.test[1], predict(run.model, run.test[0]).argmax(axis=1)
    of = "population" if args.population else "running"
    print(f"test accuracy with {of} statistics: {(answers == labels).mean():.4f}")
    confusion = np.zeros((10, 10), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    classes, name = RECIPES[settings.data].classes, f"image_classifier_{settings.data}"
    write_curves(args.out / f"{name}.csv", run.curves)
    write_confusion(args.out / f"{name}_confusion.csv", confusion, classes)
    plot(args.out / f"{name}.png", settings.data, run.curves, confusion, classes)
    print(f"figure: {args.out / name}.png   numbers: {args.out / name}.csv, {name}_confusion.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
