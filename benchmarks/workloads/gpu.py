"""What is measured on a GPU, eager and captured, and what minigrad's time may be there, over its peers'.

``torch-channels-last`` is PyTorch in that memory format: what is no slower than both is no slower than the faster one.

``floor`` copies as many bytes as batch norm must move. Forward, the pass for the statistics reads x, the pass that
normalizes reads x and writes y; backward, the pass for the sums reads x and the output's gradient, the one for x's
gradient reads both and writes it. That is eight passes over arrays of x's size, and a copy of one, which reads and
writes, is two: four copies. Like batch norm's, they are of four arrays: small ones stay in the cache.

Blocks are so long that those of the fastest cards take some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from minigrad import backend

from ..agreement import FLOOR, OURS, Peer
from ..harness import Workload
from . import bn, cnn, mlp, resnet
from .captured import training

CHANNELS_LAST = "torch-channels-last"


def copies(passes: int, inputs: bn.Inputs) -> Peer:
    """As many passes over arrays of x's size, half of them reading and half of them writing."""
    device = backend.default()
    arrays = map(device.from_numpy, (inputs.x, inputs.gy))
    pairs = [(device.xp.empty_like(array), array) for array in arrays]

    def step() -> None:
        for i in range(passes // 2):
            device.xp.copyto(*pairs[i % 2])

    return Peer(step, dict)


def eager_and_captured(
    workload: Workload,
    ours: Callable[..., Peer],
    others: Mapping[str, Callable[..., Peer]],
    targets: Mapping[str, float],
    targets_captured: Mapping[str, float],
) -> Iterator[Workload]:
    """The step as minigrad runs it and as it replays it, beside the same peers."""
    eager = replace(workload, makers={OURS: ours, **others}, targets=targets)
    yield eager
    yield replace(training(eager, ours), targets=targets_captured)


def batch_norm(shape: tuple[int, ...], block: int) -> Iterator[Workload]:
    """In training; four steps are compared, for by then a captured one is replayed."""
    workload = bn.training("x".join(map(str, shape)), shape, 1, block)
    others = {FLOOR: partial(copies, 8), "torch": bn.train_torch}
    targets = {FLOOR: 1.15, "torch": 1.0}
    alike = replace(workload, check_steps=4)
    return eager_and_captured(alike, bn.train_minigrad, others, targets, targets)


def images(with_torch: Callable[..., Peer]) -> dict[str, Callable[..., Peer]]:
    """PyTorch in both memory formats."""
    return {"torch": with_torch, CHANNELS_LAST: partial(with_torch, channels_last=True)}


BN_EVAL = replace(
    next(workload for workload in bn.BN if workload.name == "bn-eval"),
    makers={OURS: bn.infer_minigrad, FLOOR: partial(copies, 2), "torch": bn.infer_torch},
    block=500,
)
#: convolutions of numbers around 0 have means near 0, in which all that differs is the rounding
CNN = replace(cnn.CNN, build=partial(cnn.build, mean=1.0), block=100)
NO_SLOWER = {"torch": 1.0, CHANNELS_LAST: 1.0}

GPU: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        *batch_norm((64, 64, 112, 112), block=20),
        *batch_norm((256, 1024), block=500),
        *batch_norm((8, 2048, 7, 7), block=500),
        BN_EVAL,
        *eager_and_captured(
            replace(mlp.MLP, block=200),
            mlp.with_minigrad,
            {"torch": mlp.with_torch},
            {},
            {"torch": 0.2},
        ),
        *eager_and_captured(CNN, cnn.with_minigrad, images(cnn.with_torch), NO_SLOWER, NO_SLOWER),
        *eager_and_captured(resnet.RESNET, resnet.with_minigrad, images(resnet.with_torch), {}, {}),
    )
}
