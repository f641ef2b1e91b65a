"""Batch norm makes a deep sigmoid network trainable: section 4.1 and Figure 1 of the paper.

Trains the network of Ioffe & Szegedy 2015 (arXiv:1502.03167), three hidden layers of 100 sigmoid units, without and
with batch norm, from the same weights on the same batches by plain SGD. Prints test accuracies, and writes what the
paper's Figure 1 shows, as a picture (PNG) and as numbers (CSV): test accuracy against steps, and how the input to one
typical sigmoid of the last hidden layer is distributed as training goes on.

Takes about five seconds on two cores; --data mnist about a minute for each seed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

import minigrad as mg
from examples.experiment import (
    DATA,
    Split,
    add_options,
    choose_backend,
    descent,
    flatten_state,
    interruption,
    load,
    load_checkpoint,
    make_parser,
    positive,
    reasons,
    require_checkpoint,
)
from examples.figure_one import NETWORKS, PERCENTILES, plot, table, typical_unit, write_csv
from minigrad.command import command
from models.mlp import MLP

POINTS = 100  # evaluations over a run, besides the one before the first step


@dataclass
class Settings:
    """The settings that determine the numbers of a run; a checkpoint is resumed only with equal ones."""

    data: str = "digits"
    steps: int = 2000
    batch_size: int = 60
    lr: float = 0.1
    seed: int = 0
    seeds: int = 1
    binary: bool = False

    def evaluations(self) -> list[int]:
        """The steps after which the networks are tested."""
        return sorted({round(i * self.steps / POINTS) for i in range(POINTS + 1)})


@dataclass
class Data:
    """Flattened images in [0, 1] and their labels."""

    train: Split
    test: Split

    @classmethod
    def load(cls, settings: Settings) -> Data:
        splits = load(settings.data, settings.batch_size)
        for split, (images, labels) in splits.items():
            images = images.reshape(len(images), -1)
            splits[split] = (np.float32(images > 0.5) if settings.binary else images, labels)
        return cls(**splits)


@dataclass
class Curves:
    """Recorded arrays over (seeds, networks, evaluations), percentiles also over (percentile, unit)."""

    loss: np.ndarray
    accuracy: np.ndarray
    percentiles: np.ndarray

    @classmethod
    def empty(cls, settings: Settings, units: int = 100) -> Curves:
        shape = (settings.seeds, len(NETWORKS), len(settings.evaluations()))
        return cls(*(np.full(s, np.nan) for s in (shape, shape, (*shape, len(PERCENTILES), units))))


@dataclass
class Run:
    """The state of the whole experiment between two steps, in ``run`` of ``seeds``."""

    settings: Settings
    data: Data
    curves: Curves
    run: int = 0
    step: int = 0
    losses: np.ndarray = field(default_factory=lambda: np.zeros((len(NETWORKS), 2)))
    shard = None  # of each batch, see distributed_mlp

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Fresh networks for this run: equal weights, without and with batch norm."""
        seed = self.settings.seed + self.run
        sizes = (self.data.train[0].shape[1], 100, 100, 100, 10)
        self.models = [
            MLP(sizes, batch_norm=bool(i), rng=np.random.default_rng(seed))
            for i in range(len(NETWORKS))
        ]
        lr = self.settings.lr
        self.descents = [descent(m, mg.optim.SGD(m.parameters(), lr)) for m in self.models]

    def batches(self) -> Iterator[tuple[mg.Tensor, mg.Tensor]]:
        """The batches from this step on; their order depends on seed and epoch alone."""
        per_epoch = len(self.data.train[0]) // self.settings.batch_size
        epoch, skip = divmod(self.step, per_epoch)
        while True:
            rng = np.random.default_rng([self.settings.seed + self.run, epoch])
            loader = mg.data.DataLoader(
                self.data.train, self.settings.batch_size, drop_last=True, rng=rng, shard=self.shard
            )
            yield from islice(loader, skip, None)
            epoch, skip = epoch + 1, 0

    def train_step(self, x: mg.Tensor, labels: mg.Tensor) -> None:
        for i, descend in enumerate(self.descents):
            self.losses[i] += descend(x, labels).item(), 1
        self.step += 1

    def evaluate(self) -> None:
        """Test both networks in eval mode, and record."""
        at = (self.run, slice(None), self.settings.evaluations().index(self.step))
        images, labels = mg.tensor(self.data.test[0]), self.data.test[1]
        for i, model in enumerate(self.models):
            model.eval()
            with mg.no_grad(), warnings.catch_warnings():
                # The curves begin before the first step.
                warnings.filterwarnings("ignore", ".* statistics that were never fed")
                inputs = model.last_sigmoid_input(images)
                logits = model.output(mg.sigmoid(inputs))
            model.train()
            self.curves.accuracy[at][i] = (logits.numpy().argmax(axis=1) == labels).mean()
            self.curves.percentiles[at][i] = np.percentile(inputs.numpy(), PERCENTILES, axis=0)
            total, count = self.losses[i]
            self.curves.loss[at][i] = total / count if count else np.nan
        self.losses[:] = 0

    def state(self) -> dict[str, np.ndarray]:
        """The state for ``resume``, as named arrays."""
        names = list(DATA)
        settings = asdict(self.settings) | {"data": names.index(self.settings.data)}
        position = {"run": self.run, "step": self.step, "losses": self.losses}
        parts = {"settings": settings, "position": position, "curves": vars(self.curves)}
        parts |= {f"model{i}": model.state_dict() for i, model in enumerate(self.models)}
        return flatten_state(parts)

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises
        ------
        ValueError
            If it was made by another experiment or under other settings, naming them.
        """
        saved = load_checkpoint(path, self.state())
        position = saved["position"]
        self.run, self.step = int(position["run"]), int(position["step"])
        self.losses = position["losses"]
        self.curves = Curves(**saved["curves"])
        self.start()
        for i, model in enumerate(self.models):
            model.load_state_dict(saved[f"model{i}"])


def train(run: Run, checkpoint: Path | None = None) -> bool:
    """Train to the end, saving at every evaluation; False if Ctrl-C came first."""
    settings = run.settings
    done = run.run * settings.steps + run.step
    bar = tqdm(total=settings.seeds * settings.steps, initial=done, unit="step", dynamic_ncols=True)
    with bar, interruption() as interrupted:
        while True:
            evaluations = set(settings.evaluations())
            if run.step == 0:
                run.evaluate()
            for batch in islice(run.batches(), settings.steps - run.step):
                run.train_step(*batch)
                bar.update()
                if run.step in evaluations:
                    run.evaluate()
                    accuracy = run.curves.accuracy[
                        run.run, :, settings.evaluations().index(run.step)
                    ]
                    bar.set_postfix_str(" / ".join(f"{a:.3f}" for a in accuracy), refresh=False)
                if checkpoint and (run.step in evaluations or interrupted()):
                    mg.save(checkpoint, run.state())
                if interrupted():
                    return False
            if run.run == settings.seeds - 1:
                return True
            run.run, run.step = run.run + 1, 0
            run.start()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("deep_sigmoid_mlp", __doc__)
    default = Settings()
    add = parser.add_argument
    add_options(parser, data=default.data, batch_size=default.batch_size, lr=default.lr)
    add_options(parser, seed=default.seed, seeds=default.seeds, backend=None, out=Path("out"))
    add_options(parser, checkpoint=None, resume=False)
    add("--steps", type=positive, help="training steps (default: 2,000 for digits, else 10,000)")
    add("--binary", action="store_true", help="pixels > 0.5 become 1, the others 0")
    args = parser.parse_args(argv)
    require_checkpoint(parser, args)
    args.steps = args.steps or (default.steps if args.data == "digits" else 10_000)
    return args


@command
def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    choose_backend(args.backend)
    settings = Settings(**{name: getattr(args, name) for name in asdict(Settings())})
    with reasons():
        run = Run(settings, Data.load(settings), Curves.empty(settings))
        if args.resume:
            run.resume(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    if not train(run, args.checkpoint):
        where = f"; --resume goes on from {args.checkpoint}" if args.checkpoint else ""
        print(f"interrupted after step {run.step} of seed {settings.seed + run.run}{where}")
        return 130
    print(table(settings, run.curves))
    name = f"deep_sigmoid_mlp_{settings.data}"
    unit = typical_unit(run.curves.percentiles[0])
    write_csv(args.out / f"{name}.csv", settings, run.curves, unit)
    plot(args.out / f"{name}.png", settings, run.curves, unit)
    print(f"figure: {args.out / name}.png   numbers: {args.out / name}.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
