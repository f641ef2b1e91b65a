"""Several processes train the deep sigmoid network of Figure 1, and show why they share their statistics.

    mpiexec -n 4 python -m examples.distributed_mlp

Each process computes a part of every batch; the networks are those of deep_sigmoid_mlp, and so are, up to rounding, the
test accuracies that are printed. Then batches are small, two images for each process: batch norm by the statistics of
each part, and by those of the whole batch (minigrad.distributed.synchronized). By itself it is one process, which has
nothing to share.

Takes less than a minute with two processes on two cores; more processes than cores take longer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import minigrad as mg
from examples.deep_sigmoid_mlp import Curves, Data, Run, Settings
from examples.experiment import add_options, make_parser, positive, reasons
from examples.figure_one import table
from minigrad import distributed as dist
from minigrad import nn
from minigrad.command import command

#: images of a process in the comparison, and evaluations
PART, POINTS = 2, 20


def descent(model: nn.Module, optimizer: mg.optim.Optimizer, synchronized: bool) -> Callable:
    """A captured training step on this process's part of a batch, which returns the loss of the whole."""

    @mg.jit
    def descend(x: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        with dist.synchronized(model) if synchronized else nullcontext():
            loss = mg.softmax_cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss = dist.mean(loss, len(x))
        loss.backward()
        dist.average_gradients(model)
        optimizer.step()
        return loss

    return descend


class Few(Settings):
    """Settings with few evaluations, which take longer than the steps."""

    def evaluations(self) -> list[int]:
        return sorted({round(i * self.steps / POINTS) for i in range(POINTS + 1)})


class Shared(Run):
    """The experiment of deep_sigmoid_mlp, with each batch in parts."""

    shard = dist
    synchronized = True

    def start(self) -> None:
        super().start()
        dist.broadcast(*self.models)
        self.descents = [
            descent(m, mg.optim.SGD(m.parameters(), self.settings.lr), self.synchronized)
            for m in self.models
        ]


class Apart(Shared):
    """Batch norm by the statistics of each part."""

    synchronized = False


def train(run: Run) -> Run:
    """Train and test, on each process; all have the same networks, but for statistics that are not shared."""
    run.evaluate()
    for batch in islice(run.batches(), run.settings.steps):
        run.train_step(*batch)
        if run.step in run.settings.evaluations():
            run.evaluate()
    return run


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("distributed_mlp", __doc__)
    default = Settings()
    add_options(parser, data=default.data, batch_size=default.batch_size, lr=default.lr, seed=0)
    parser.add_argument("--steps", type=positive, default=1000, help="default: %(default)s")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> int:
    settings = Few(**vars(parse(argv)))
    with reasons():
        data = Data.load(settings)
    tell = print if dist.rank() == 0 else lambda *_: None
    shared = train(Shared(settings, data, Curves.empty(settings)))
    tell(f"processes: {dist.size()}, images in a batch: {settings.batch_size}")
    tell(table(settings, shared.curves))
    if dist.size() == 1:
        tell("for more processes: mpiexec -n 4 python -m examples.distributed_mlp")
        return 0
    small = replace(settings, batch_size=PART * dist.size())
    tell(f"\n{PART} images for each process, {small.batch_size} in a batch: last test accuracy")
    for kind, statistics in ((Apart, "each part"), (Shared, "the whole batch")):
        run = kind(small, data, Curves.empty(small))
        run.models, run.descents = run.models[1:], run.descents[1:]  # with batch norm
        tell(f"statistics of {statistics:<16} {train(run).curves.accuracy[0, 0, -1]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
