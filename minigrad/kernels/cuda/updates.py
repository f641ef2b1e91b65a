"""Launching what moves in place: running statistics and parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import TYPES, WIDTH, Kernel, LaunchedKernels, lying, wide

Array = Any

MOVE_STATISTICS = Kernel("updates.cu", "move_statistics")
SGD = Kernel("updates.cu", "sgd")
ADAM = Kernel("updates.cu", "adam")

#: as in updates.cu
TENSORS, BLOCK = 80, 4096
#: the struct that the sources call Tensors
TABLE = np.dtype(
    [
        ("parameters", "i8", TENSORS),
        ("state", "i8", (2, TENSORS)),
        ("gradients", "i8", TENSORS),
        ("sizes", "i8", TENSORS),
        ("rows", "i4", TENSORS),
        ("first_block", "i4", TENSORS + 1),
        ("count", "i4"),
    ],
    align=True,
)


class UpdateKernels(LaunchedKernels):
    """Running statistics, and the steps of optimizers."""

    def move_statistics(
        self,
        running_mean: Array,
        running_var: Array,
        num_batches: Array,
        mean: Array,
        var: Array,
        momentum: float | None,
        correction: float,
        debiased: bool,
        strict: bool,
    ) -> bool:
        """Whether the batch is finite is told later, see ``Faults``; if it is not, nothing moves."""
        self.faults.check()
        moving = running_mean, running_var, num_batches
        numbers: Any = -1.0 if momentum is None else float(momentum), correction, int(debiased)
        report, fine = self.faults.pointers
        numbers = *numbers, report if strict else 0, fine, mean.size
        self.launch(
            MOVE_STATISTICS,
            (TYPES[mean.dtype.name],),
            (1,),
            (*moving, self.given(mean), self.given(var), *numbers),
        )
        return True

    def count(self, steps: Array, moved: tuple[int, ...], more: Array | int = 1) -> Array:
        return super().count(steps, moved, self.faults.fine)

    def sgd(
        self,
        params: tuple[Array, ...],
        *velocities_and_grads: tuple[Array, ...],
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        *velocities, grads = velocities_and_grads
        numbers = float(lr), float(momentum), int(nesterov), float(weight_decay)
        for type_, vector, grid, table in self._tables(params, velocities, grads):
            self.launch(
                SGD, (type_, vector, len(velocities)), grid, (table, self.faults.fine, *numbers)
            )

    def adam(
        self,
        params: tuple[Array, ...],
        first: tuple[Array, ...],
        second: tuple[Array, ...],
        grads: tuple[Array, ...],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        steps: Array,
    ) -> None:
        numbers = [float(x) for x in (lr, *betas, eps, weight_decay)]
        for type_, vector, grid, table in self._tables(params, (first, second), grads):
            arrays = table, self.faults.fine, self.given(steps)
            self.launch(ADAM, (type_, vector), grid, (*arrays, *numbers))

    def decay(self, params: tuple[Array, ...], factor: Any) -> None:
        fine = self.faults.fine.reshape(())
        super().decay(params, 1 + (factor - 1) * fine)

    @contextmanager
    def undoing(self, columns: Iterable[tuple[Array, ...]]) -> Iterator[None]:
        fine = self.faults.fine.reshape(()) > 0
        before = [(a, a.copy()) for column in columns for a in column]
        yield
        for a, old in before:
            a[...] = self.xp.where(fine, a, old)

    def _tables(
        self,
        params: tuple[Array, ...],
        state: Sequence[tuple[Array, ...]],
        grads: tuple[Array, ...],
    ) -> Iterator[tuple[str, int, tuple[int], np.ndarray]]:
        """For each launch the dtype, the numbers read at once, the blocks, and the struct Tensors."""
        kinds: dict[str, list[int]] = {}
        for i, p in enumerate(params):
            kinds.setdefault(p.dtype.name, []).append(i)
        grads = tuple([g.astype(p.dtype, copy=False) for p, g in zip(params, grads, strict=True)])
        for name, rows in kinds.items():
            for start in range(0, len(rows), TENSORS):
                chosen = rows[start : start + TENSORS]
                columns = [
                    [_beside(params[i], column[i]) for i in chosen]
                    for column in (params, *state, grads)
                ]
                # The state of halves is float32: twice as wide where as many are read at once.
                real = params[chosen[0]].dtype
                kind = wide(real)
                same = [
                    [a if a.dtype == kind else a.astype(kind) for a in c] for c in columns[1:-1]
                ]
                taken = [[self.given(a) for a in c] for c in (columns[0], *same, columns[-1])]
                addresses = [[self.launch.address(a) for a in c] for c in taken]
                step = WIDTH * kind.itemsize // real.itemsize
                width = WIDTH if all(a % step == 0 for c in addresses for a in c) else 1
                table, blocks = _table(addresses, [a.size for a in taken[0]], chosen)
                if blocks:
                    vector = max(width // real.itemsize, 1)
                    yield TYPES[name], vector, (blocks,), table
                for views, copies in zip(columns[:-1], taken[:-1], strict=True):
                    for view, copy in zip(views, copies, strict=True):
                        if copy is not view:  # it had gaps, or another dtype
                            view[...] = copy


def _beside(p: Array, a: Array) -> Array:
    """An array with its axes in the order in which the parameter's lie in memory."""
    return a if p.flags.c_contiguous else a.transpose(lying(p.strides))


def _table(addresses: list[list[int]], sizes: list[int], rows: list[int]) -> tuple[np.ndarray, int]:
    """The struct Tensors, and how many blocks there are."""
    n, table = len(rows), np.zeros(1, TABLE)
    ends = np.cumsum([0, *(-(-size // BLOCK) for size in sizes)])
    parameters, *state, gradients = addresses
    fields = {"parameters": parameters, "gradients": gradients, "sizes": sizes, "rows": rows}
    for name, values in fields.items():
        table[name][0, :n] = values
    for k, values in enumerate(state):
        table["state"][0, k, :n] = values
    table["first_block"][0, : n + 1] = ends
    table["count"] = n
    return table, int(ends[-1])
