"""Shared by the experiments: data sets by name, options, tests, Ctrl-C, checkpoints, figures and tables of numbers."""

from __future__ import annotations

import argparse
import csv
import io
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import backend as backends
from minigrad import nn
from minigrad.checkpoint import write_whole

DATA = {"digits": mg.data.digits, "mnist": mg.data.mnist, "fashion-mnist": mg.data.fashion_mnist}
PART = 1000  # examples that are read at a time in tests

Split = tuple[np.ndarray, np.ndarray]


def load(data: str, batch_size: int) -> dict[str, Split]:
    """Images (n, height, width) and labels (n,) of the splits "train" and "test".

    Raises
    ------
    ValueError
        If the training images do not fill a batch.
    OSError
        If there are no files and no network.
    """
    splits = {split: DATA[data](split) for split in ("train", "test")}
    if batch_size > (count := len(splits["train"][0])):
        raise ValueError(f"--batch-size {batch_size}: the training set has only {count} images")
    return splits


def make_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m examples.name``, without options but --help."""
    return argparse.ArgumentParser(
        prog=f"python -m examples.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def choose_backend(name: str | None) -> None:
    """Make a backend the default; exit with code 2 and one line if it does not work."""
    try:
        if name is None:
            backends.default()
        else:
            mg.set_backend(name)
    except (ImportError, RuntimeError, ValueError) as error:
        option = "MINIGRAD_BACKEND" if name is None else f"--backend {name}"
        print(f"{option}:", *str(error).split(), file=sys.stderr)
        sys.exit(2)


def natural(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"expected an integer, 0 or more, got {text}")
    return value


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text}")
    return value


def at_least_two(text: str) -> int:
    if (value := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"batch statistics need at least 2 images, got {text}")
    return value


def positive_number(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


#: options that several experiments share, by destination
OPTIONS: dict[str, dict[str, Any]] = {
    "data": {"choices": DATA, "help": "data set (default: %(default)s, shipped)"},
    "batch_size": {"type": at_least_two, "help": "default: %(default)s"},
    "lr": {"type": positive_number, "help": "learning rate at first (default: %(default)s)"},
    "seed": {"type": natural, "help": "of all random numbers (default: %(default)s)"},
    "seeds": {"type": positive, "metavar": "K", "help": "runs from SEED on (default: %(default)s)"},
    "backend": {"choices": ["numpy", "cupy"], "help": "default: MINIGRAD_BACKEND, else numpy"},
    "out": {"type": Path, "help": "folder for figures and CSV (default: %(default)s)"},
    "checkpoint": {
        "type": Path,
        "metavar": "FILE",
        "help": "keep a checkpoint (safetensors) here, also on Ctrl-C",
    },
    "resume": {"action": "store_true", "help": "go on from --checkpoint, bit for bit"},
}


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the named ones of ``OPTIONS``, with these defaults."""
    for name, default in defaults.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, default=default, **OPTIONS[name])


def require_checkpoint(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with a usage error if --resume has no checkpoint."""
    if args.resume and args.checkpoint is None:
        parser.error("--resume needs --checkpoint FILE")
    if args.resume and not args.checkpoint.exists():
        parser.error(f"--resume: there is no {args.checkpoint}")


@contextmanager
def reasons() -> Iterator[None]:
    """End with one line for missing data, no network, or a checkpoint of another experiment."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        sys.exit(str(error))


def evaluations(steps: int, count: int) -> list[int]:
    """The steps, up to ``count`` of them evenly spaced, after which a network is tested; the last is one."""
    return sorted({math.ceil(i * steps / count) for i in range(1, count + 1)})


def legend_below(panel: Any, **settings: Any) -> None:
    """A legend under a panel, where no curve can run through it."""
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, **settings)


def tidy(panel: Any) -> None:
    """A pale grid below the curves, and no frame at the top and on the right."""
    panel.grid(color="0.92", which="both")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def predict(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """Logits (n, classes) in eval mode, a part at a time; the model is in train mode afterwards."""
    model.eval()
    with mg.no_grad():
        logits = [model(mg.tensor(x[i : i + PART])).numpy() for i in range(0, len(x), PART)]
    model.train()
    return np.concatenate(logits)


def accuracy(model: nn.Module, x: np.ndarray, labels: np.ndarray) -> float:
    """The share of right answers in eval mode."""
    return float((predict(model, x).argmax(axis=1) == labels).mean())


@contextmanager
def interruption() -> Iterator:
    """Hold Ctrl-C back until a step is complete; a second one stops at once."""
    received = []

    def handler(*_: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(True)

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGINT, before)


def flatten_state(parts: dict[str, dict]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, named ``part.name``."""
    return {f"{p}.{k}": np.asarray(v) for p, part in parts.items() for k, v in part.items()}


def load_checkpoint(path: Path, own: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The parts of a checkpoint, if it has the names, and under "settings" the values, of ``own``.

    Raises
    ------
    ValueError
        If it was made by another experiment or under other settings, naming them.
    """
    saved = mg.load(path)
    if saved.keys() != own.keys():
        raise ValueError(f"{path} is not a checkpoint of this experiment")
    differing = [
        f"{k.partition('.')[2]} ({saved[k]} there, {own[k]} here)"
        for k in own
        if k.startswith("settings.") and saved[k] != own[k]
    ]
    if differing:
        raise ValueError(f"{path} was made under other settings: {', '.join(differing)}")
    parts: dict[str, dict[str, np.ndarray]] = {}
    for key, array in saved.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = array
    return parts


def write_csv(path: Path, head: list[str], rows: Iterable[Iterable]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    write_whole(path, text.getvalue().encode())


def descent(
    model: Callable[[mg.Tensor], mg.Tensor], optimizer: mg.optim.Optimizer, jit: bool = True
) -> Callable[[mg.Tensor, mg.Tensor], mg.Tensor]:
    """A training step that returns the loss; with ``jit`` captured in its first two calls and replayed afterwards."""

    def descend(x: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return mg.jit(descend) if jit else descend


if __name__ == "__main__":
    sys.exit("experiment.py is no program; one is: python -m examples.deep_sigmoid_mlp")
