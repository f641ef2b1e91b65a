"""What is measured on a GPU, and what minigrad's time may be there, over its peers'.

Ours is captured by minigrad.jit; ``eager`` is the same without. PyTorch runs eagerly, compiled, and as a CUDA graph of
its own; ``torch-channels-last`` is PyTorch in that memory format: what is no slower than both is no slower than the
faster one. The workloads ``kernel`` measure kernels alone; see ``kernels``.

``floor`` copies as many bytes as batch norm must move. Forward, the pass for the statistics reads x, the pass that
normalizes reads x and writes y; backward, the pass for the sums reads x and the output's gradient, the one for x's
gradient reads both and writes it. That is eight passes over arrays of x's size, and a copy of one, which reads and
writes, is two: four copies. Like batch norm's, they are of four arrays. What is small stays in the cache, where no copy
says what can be reached: it is compared with PyTorch's CUDA graph.

Blocks are so long that those of the fastest cards take some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import minigrad as mg
from minigrad import backend

from ..agreement import FLOOR, OURS, Peer
from ..harness import Workload
from . import bn, cnn, mlp, resnet
from .captured import training
from .kernels import kernels

CHANNELS_LAST, COMPILED, GRAPH = "torch-channels-last", "torch.compile", "torch.cuda.graph"
#: the dtypes of batch norm, and how far results may be apart: some of their last digits
DTYPES = {"float32": 1e-3, "float16": 4e-3, "bfloat16": 3e-2}
#: numbers of arrays that no cache keeps
LARGE = 2**24


def copies(passes: int, inputs: bn.Inputs) -> Peer:
    """As many passes over arrays of x's size, half of them reading and half of them writing."""
    xp = backend.default().xp
    arrays = [mg.tensor(a).astype(inputs.dtype).data for a in (inputs.x, inputs.gy)]
    pairs = [(xp.empty_like(array), array) for array in arrays]

    def step() -> None:
        for i in range(passes // 2):
            xp.copyto(*pairs[i % 2])

    return Peer(step, dict)


def captured(
    workload: Workload,
    ours: Callable[..., Peer],
    others: dict[str, Callable[..., Peer]],
    targets: dict[str, float],
) -> Workload:
    """A workload with our step captured, beside the eager one and other peers."""
    makers = {OURS: ours, **others}
    return training(replace(workload, makers=makers, targets=targets, pause=0), ours)


def warm(make: Callable[..., Peer], inputs: bn.Inputs, **how: bool) -> Peer:
    """A peer that captures or compiles in its first steps, and whose steps change nothing."""
    return make(inputs, **how)._replace(warmup=3)


def batch_norm(shape: tuple[int, ...], axis: int, block: int, dtype: str) -> Workload:
    """In training."""
    name = f"{'x'.join(map(str, shape))}-{dtype}"
    workload = replace(bn.in_training(name, shape, axis, block, dtype), tolerance=DTYPES[dtype])
    others: dict[str, Callable[..., Peer]] = {
        FLOOR: partial(copies, 8),
        "torch": bn.train_torch,
        COMPILED: partial(warm, bn.train_torch, compiled=True),
        GRAPH: partial(bn.train_torch, graph=True),
    }
    best = {FLOOR: 1.15} if math.prod(shape) >= LARGE else {GRAPH: 1.0}
    return captured(
        workload, partial(warm, bn.train_minigrad), others, best | {"torch": 1.0, COMPILED: 1.0}
    )


def network(module: Any, workload: Workload, layouts: bool, targets: dict[str, float]) -> Workload:
    """A training step, beside PyTorch's: in both memory formats, where there are ``layouts``."""
    torch, ours = module.with_torch, module.with_minigrad
    others = {"torch": torch, GRAPH: partial(torch, graph=True)}
    if layouts:
        others[CHANNELS_LAST] = partial(torch, channels_last=True)
    return captured(workload, ours, others, targets)


SHAPES = (
    ((64, 64, 112, 112), 1, 20),
    ((64, 112, 112, 64), 3, 20),
    ((256, 1024), 1, 500),
    ((8, 2048, 7, 7), 1, 500),
)
BN_EVAL = replace(
    next(workload for workload in bn.BN if workload.name == "bn-eval"),
    makers={OURS: bn.infer_minigrad, FLOOR: partial(copies, 2), "torch": bn.infer_torch},
    block=500,
    pause=0,
)
#: convolutions of numbers around 0 have means near 0, in which all that differs is the rounding
CNN = replace(cnn.CNN, build=partial(cnn.build, mean=1.0), block=100)
NO_SLOWER = {"torch": 1.0, CHANNELS_LAST: 1.0}

#: what was asked for comes first, as time on a GPU may run out
GPU: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        network(mlp, replace(mlp.MLP, block=200), False, {"torch": 0.2, GRAPH: 1.0}),
        *(batch_norm(*shape, "float32") for shape in SHAPES),
        network(cnn, CNN, True, NO_SLOWER),
        network(resnet, resnet.RESNET, True, NO_SLOWER),
        *(batch_norm(*shape, dtype) for dtype in ("float16", "bfloat16") for shape in SHAPES),
        BN_EVAL,
        *kernels(),
    )
}
