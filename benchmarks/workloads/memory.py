"""Memory at the peak of training steps of the networks of ``mlp`` and ``cnn``, with larger batches.

Counted is what a process holds at its peak beyond what it held before the network and its data were made: libraries
loaded, kernels compiled, and a few steps of an eighth of the batch taken; steps that capture or compile do not
count. Memory that a library keeps for later counts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..agreement import OURS, Peer, resident
from ..harness import Workload
from . import cnn, mlp
from .training import Inputs


class Sizes(NamedTuple):
    """The same data in batches of two sizes."""

    small: Inputs
    large: Inputs


def build(few: Callable[[int], Inputs], small: int, large: int) -> Sizes:
    return Sizes(few(small), few(large))


def apart(make: Callable[[Inputs], Peer], sizes: Sizes) -> Peer:
    """A peer for the large batches in a process that has seen small ones."""
    peer = make(sizes.small)
    for _ in range(3):
        peer.step()
    peer.numbers()
    del peer
    gc.collect()
    before = resident()
    return make(sizes.large)._replace(before=before)


def workload(
    name: str,
    of: Workload,
    ours: Callable[..., Peer],
    few: Callable[[int], Inputs],
    large: int,
) -> Workload:
    captured = partial(ours, captured=True)
    peers = {OURS: of.makers[OURS], "captured": captured, **of.makers}
    makers: dict[str, Any] = {name: partial(apart, make) for name, make in peers.items()}
    return Workload(
        name=f"memory-{name}",
        about=f"memory at the peak of training steps of {of.name} with batches of {large} examples",
        build=partial(build, few, large // 8, large),
        makers=makers,
        check_steps=2,
        tolerance=1e-3,
        block=5,
        memory=True,
    )


MEMORY = (
    workload("mlp", mlp.MLP, mlp.with_minigrad, partial(mlp.build, batches=2), 4096),
    workload("cnn", cnn.CNN, cnn.with_minigrad, partial(cnn.build, batches=2), 512),
)
