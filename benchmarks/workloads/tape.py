"""What the tape costs over NumPy: a chain of adds on an array too small for the adding to matter.

``y = x; y = y + x`` a thousand times over, then backward. Each chained add is two NumPy calls, one forward and one that
adds the cotangent of its ``x`` to the gradient collected so far; ``numpy`` does these calls, in two plain loops, and
nothing else. So the difference is all that recording, walking back and freeing cost. No op is cheaper than an add of
ten numbers: this is the worst ratio there is, and its microseconds per op are what every other op pays too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import minigrad as mg

from ..agreement import OURS, Arrays, Peer
from ..harness import Figure, Times, Workload, spread

DEPTH, SIZE = 1_000, 10


def build() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)


def with_minigrad(array: np.ndarray) -> Peer:
    x, gy = mg.tensor(array, requires_grad=True), mg.ones(SIZE)

    def step() -> mg.Tensor:
        x.grad = None
        y = x
        for _ in range(DEPTH):
            y = y + x
        y.backward(gy)
        return y

    def numbers() -> Arrays:
        assert x.grad is not None
        return {"gradient": x.grad.numpy()}

    return Peer(step, numbers)


def with_numpy(x: np.ndarray) -> Peer:
    gy = np.ones(SIZE, np.float32)
    found: Arrays = {}

    def step() -> np.ndarray:
        y = x
        for _ in range(DEPTH):
            y = y + x
        gx = gy + gy
        for _ in range(DEPTH - 1):
            gx += gy
        found["gradient"] = gx
        return y

    return Peer(step, lambda: found)


def with_torch(array: np.ndarray) -> Peer:
    import torch

    x, gy = torch.from_numpy(array.copy()).requires_grad_(), torch.ones(SIZE)

    def step() -> torch.Tensor:
        x.grad = None
        y = x
        for _ in range(DEPTH):
            y = y + x
        y.backward(gy)
        return y

    def numbers() -> Arrays:
        assert x.grad is not None
        return {"gradient": x.grad.numpy()}

    return Peer(step, numbers)


def overhead(times: Times) -> Iterator[Figure]:
    """Microseconds beyond NumPy for each chained add."""
    for name in times:
        if name != "numpy":
            pairs = zip(times[name], times["numpy"], strict=True)
            extra = [(t - bare) / DEPTH * 1e6 for t, bare in pairs]
            label = "the tape adds" if name == OURS else f"{name} is beyond NumPy by"
            yield Figure(label, "us per chained add", spread(extra))


TAPE = Workload(
    name="tape",
    about=f"{DEPTH:,} chained adds of {SIZE} float32, forward and backward; each is two NumPy calls, one "
    "forward and one that accumulates the gradient, and numpy makes just these calls",
    build=build,
    makers={OURS: with_minigrad, "numpy": with_numpy, "torch": with_torch},
    check_steps=2,
    tolerance=1e-6,
    block=20,
    figures=overhead,
)
