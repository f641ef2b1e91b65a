"""How the cost of a training step grows with the batch, the depth and the width of the network of ``mlp``."""

from __future__ import annotations

from functools import partial

from ..harness import Workload
from .mlp import BATCH, MLP, SIZES, build

#: hidden layers of 100 units unless said otherwise
BATCHES, DEPTHS, WIDTHS = (16, 64, 256, 1024, 4096), (3, 10, 30, 100), (32, 100, 316, 1000)


def workload(
    name: str, value: int, batch: int = BATCH, depth: int = 3, width: int = 100
) -> Workload:
    sizes = SIZES[0], *depth * (width,), SIZES[-1]
    return Workload(
        name=f"scaling-{name}-{value}",
        about=f"one training step of a network with batch norm: batch {batch}, {depth} hidden layers of {width}, eager",
        build=partial(build, batch, sizes, batches=4),
        makers=MLP.makers,
        check_steps=1,
        # rounding grows from layer to layer
        tolerance=1e-4 * depth,
        block=max(5, 10_000 // (batch + 100 * depth + width)),
    )


SCALING = (
    *(workload("batch", n, batch=n) for n in BATCHES),
    *(workload("depth", n, depth=n) for n in DEPTHS),
    *(workload("width", n, width=n) for n in WIDTHS),
)
