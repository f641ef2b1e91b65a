"""Launching the batch norm kernels: how an array is looked at, and in how many blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import THREADS, TYPES, Kernel, LaunchedKernels, lying, put_back, wide

Array = Any

STATISTICS = Kernel("batch_norm.cu", "statistics")
NORMALIZE = Kernel("batch_norm.cu", "normalize")
GRADIENT_SUMS = Kernel("batch_norm.cu", "gradient_sums")
INPUT_GRADIENT = Kernel("batch_norm.cu", "input_gradient")

#: the struct that the sources call Shape
SHAPE = np.dtype(
    [(name, "i8") for name in ("batch", "channels", "size")]
    + [(name, "i4") for name in ("lanes", "splits")]
)
#: blocks per multiprocessor, which runs a few at once: when the last ones end, little of it is idle
BLOCKS = 32
#: blocks that may share a channel
SPLITS = 256
#: accesses that a thread makes, at least, before another split pays
ACCESSES = 4
#: threads that read one row of channels, at most: 512 bytes of it
LANES = 32
#: the same, and accesses that a thread makes at most, where a block has whole channels: one launch takes less time than
#: two while a block has little to do
NARROW, ALONE = 8, 8
#: how many groups a grid may have
GROUPS = 65535


class View(NamedTuple):
    """An array as (groups, batch, channels, size), with its axes in the order in which they lie in memory."""

    order: tuple[int, ...]
    groups: int
    batch: int
    channels: int
    size: int

    def take(self, xp: Any, x: Array) -> Array:
        """x as the kernels take it: copied, where it lies otherwise."""
        x = x.transpose(self.order)
        return x if x.flags.c_contiguous else xp.ascontiguousarray(x)

    def give(self, y: Array) -> Array:
        """What the kernels made, with x's axes."""
        return put_back(y, self.order)


@lru_cache(maxsize=4096)
def view(shape: tuple[int, ...], strides: tuple[int, ...], kept: tuple[int, ...]) -> View:
    """How to look at an array: as it lies in memory, where that is possible."""
    axes = tuple(range(len(shape)))
    found = _fit(shape, lying(strides), kept) or _fit(shape, axes, kept)
    if found is None or found.groups > GROUPS:
        found = _fit(shape, (*kept, *(i for i in axes if i not in kept)), kept)
    assert found is not None
    return found


def _fit(shape: tuple[int, ...], order: tuple[int, ...], kept: tuple[int, ...]) -> View | None:
    """The view with axes in this order, if runs of axes that are kept and that are not alternate as they must."""
    long = [i for i in order if shape[i] != 1]
    channels = [i for i in long if i in kept]
    sizes, slot = [1, 1, 1, 1], 3
    for i in reversed(long):
        while slot >= 0 and (slot % 2 == 0) != (i in kept):  # groups and channels are kept
            slot -= 1
        if slot < 0:
            return None
        sizes[slot] *= shape[i]
    return View(order, *sizes) if channels == sorted(channels) else None


class Geometry(NamedTuple):
    """How a view is divided among threads: the template's parameters, the blocks, and the struct Shape.

    A block has ``whole`` channels, or a channel's values are split among ``splits`` blocks.
    """

    parameters: tuple[int | str, ...]
    grid: tuple[int, int, int]
    shape: np.ndarray
    splits: int
    whole: bool


@lru_cache(maxsize=4096)
def geometry(look: View, vector: int, multiprocessors: int, alone: bool = False) -> Geometry:
    """Whole channels, where they are short and blocks may be ``alone``; else enough blocks for the device."""
    over, lanes, tiles, accesses = _rows(look, vector, NARROW)
    whole, splits = alone and accesses <= ALONE, 1
    if not whole:
        over, lanes, tiles, accesses = _rows(look, vector, LANES)
        needed = -(-multiprocessors * BLOCKS // max(tiles * look.groups, 1))
        splits = max(min(needed, -(-accesses // ACCESSES), SPLITS), 1)
    shape = np.array([(look.batch, look.channels, look.size, lanes, splits)], SHAPE)
    return Geometry((vector, over), (tiles, splits, look.groups), shape, splits, whole)


def _rows(look: View, vector: int, most: int) -> tuple[str, int, int, int]:
    """How blocks go through values, threads beside each other, blocks beside each other, and accesses of a thread."""
    if look.size > 1:
        return "Planes", 1, look.channels, -(-look.batch * look.size // (THREADS * vector))
    wanted = -(-look.channels // vector)
    lanes = min(1 << (wanted - 1).bit_length(), most)
    return "Columns", lanes, -(-wanted // lanes), -(-look.batch // (THREADS // lanes))


class _Run:
    """Arrays of one shape, as the kernels take them, with room for a result; and the launches."""

    def __init__(
        self,
        kernels: Any,
        kept: tuple[int, ...],
        *arrays: Array,
        result: bool,
        alone: bool = False,
    ) -> None:
        x = arrays[0]
        self.kernels, self.launch, xp = kernels, kernels.launch, kernels.xp
        self.channels = tuple([x.shape[i] for i in kept])
        self.wide = wide(x.dtype)
        self.view = look = view(x.shape, x.strides, kept)
        self.arrays = [look.take(xp, a) for a in arrays]
        self.result = xp.empty(self.arrays[0].shape, x.dtype) if result else 0
        run = look.size if look.size > 1 else look.channels
        vector = kernels.vector(run, *self.arrays, *([self.result] if result else []))
        self.geometry = geometry(look, vector, self.launch.multiprocessors, alone)
        self.values = look.batch * look.size

    def empty(self, count: int) -> list[Array]:
        """Arrays of a number per channel."""
        return [self.kernels.xp.empty(self.channels, self.wide) for _ in range(count)]

    def parts(self) -> Array:
        """Room for what each split finds, four numbers per channel."""
        return self.kernels.xp.empty((4 * self.geometry.splits, *self.channels), self.wide)

    def __call__(self, kernel: Kernel, *args: Any, last: tuple[int, ...]) -> None:
        """Launch a kernel; ``last`` are the template's parameters after those of all."""
        x = self.arrays[0]
        if not x.size:
            return
        parameters = (TYPES[x.dtype.name], *self.geometry.parameters, *last)
        self.launch(kernel, parameters, self.geometry.grid, (*args, self.geometry.shape))


class BatchNormKernels(LaunchedKernels):
    """Batch norm, and what it consists of."""

    def moments(self, x: Array, w: Array | None, kept: tuple[int, ...]) -> tuple[Array, Array]:
        run = _Run(self, kept, x, result=False, alone=True)
        weights = None if w is None else run.view.take(self.xp, w)
        (x,), (mean, m2), parts = run.arrays, run.empty(2), 0
        whole = run.geometry.whole and w is None
        if not whole:
            parts = run.parts()
            run(STATISTICS, x, self.given(weights), parts, last=(int(weights is not None),))
        run(NORMALIZE, x, parts, 0, 0, mean, m2, 0, 0, 0.0, 1.0, last=(int(whole),))
        return mean, m2

    def batch_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        kept: tuple[int, ...],
        eps: float,
        ddof: int,
    ) -> tuple[Array, Array, Array, Array]:
        run = _Run(self, kept, x, result=True, alone=True)
        (x,), found, parts = run.arrays, run.empty(3), 0
        whole = run.geometry.whole
        if not whole:
            parts = run.parts()
            run(STATISTICS, x, 0, parts, last=(0,))
        given = x, parts, self.given(gamma), self.given(beta)
        freedom = float(run.values - ddof)
        run(NORMALIZE, *given, *found, run.result, eps, freedom, last=(int(whole),))
        return run.view.give(run.result), *found

    def frozen_batch_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        mean: Array,
        var: Array,
        kept: tuple[int, ...],
        eps: float,
    ) -> Array:
        run = _Run(self, kept, x, result=True)
        given = *run.arrays, 0, *[self.given(a) for a in (gamma, beta, mean, var)]
        run(NORMALIZE, *given, 0, run.result, eps, 1.0, last=(0,))
        return run.view.give(run.result)

    def batch_norm_grad(
        self,
        x: Array,
        gamma: Array | None,
        mean: Array,
        inv_std: Array,
        gy: Array,
        kept: tuple[int, ...],
        ddof: int,
    ) -> tuple[Array, Array, Array]:
        run = _Run(self, kept, x, gy.astype(x.dtype, copy=False), result=True, alone=True)
        (x, gy), (ggamma, gbeta), parts = run.arrays, run.empty(2), 0
        mean, inv_std = self.given(mean), self.given(inv_std)
        whole = run.geometry.whole
        if not whole:
            parts = run.parts()
            run(GRADIENT_SUMS, x, mean, gy, parts, last=())
        given = x, parts, self.given(gamma), mean, inv_std, gy
        freedom = float(run.values - ddof)
        run(INPUT_GRADIENT, *given, run.result, ggamma, gbeta, freedom, last=(int(whole),))
        return run.view.give(run.result), ggamma, gbeta
