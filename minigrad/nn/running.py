"""Running statistics: what a batch norm remembers of the batches it has seen, and what it does not let in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..backend import by_type
from ..kernels.generic import refuse_statistics
from ..messages import require_numbers
from ..op import Op
from ..ops.random import generator
from ..tape import moving
from ..tensor import Tensor, apply
from . import init
from .module import Buffer, Module
from .statistics import collector


class RunningStatistics(Module):
    """A mean and a variance per channel, moved towards each batch's; see ``BatchNorm`` for all arguments."""

    #: whether they are divided by the weight that they have gathered so far
    debiased = False

    def __init__(
        self,
        shape: tuple[int, ...],
        momentum: float | None,
        ddof_running: int,
        on_nonfinite: str,
        inits: tuple[init.Init, init.Init],
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        if momentum is not None:
            require_numbers(name, momentum=momentum)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"{name}: expected momentum in [0, 1] or None, got {momentum}")
        if ddof_running not in (0, 1):
            raise ValueError(f"{name}: expected ddof_running 0 or 1, got {ddof_running}")
        if on_nonfinite not in ("raise", "skip"):
            raise ValueError(
                f"{name}: expected on_nonfinite 'raise' or 'skip', got {on_nonfinite!r}"
            )
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(
                f"{name}: expected dtype float32, which serves float16 inputs too, or float64, "
                f"got {np.dtype(dtype)}"
            )
        rng = generator(None)
        self.momentum, self.ddof_running, self.on_nonfinite = momentum, ddof_running, on_nonfinite
        self.moving = True
        self._initial = tuple(
            init.drawn(name, values, shape, rng, dtype).numpy() for values in inits
        )
        self.start(dtype, None)

    def start(self, dtype: Any, backend: str | None) -> None:
        """Begin anew, with the statistics of no batches."""
        self.running_mean, self.running_var = (Buffer(a, dtype, backend) for a in self._initial)
        self.num_batches = Buffer(np.zeros((), np.int64), backend=backend)

    def fed(self) -> bool:
        """Whether they are not, or no longer, as they began."""
        if self.num_batches.item():
            return True
        now = self.running_mean.numpy(), self.running_var.numpy()
        return not all(map(np.array_equal, now, self._initial))

    def collect(self, mean: Tensor, var: Tensor, m: float) -> None:
        """Hand the statistics of a training batch to whoever collects them: as a rule ``move_statistics``."""
        collect = collector.get()
        if collect is None:
            self.move_statistics(mean, var, m)
        else:
            collect(self, mean, var, m)

    def move_statistics(self, mean: Tensor, var: Tensor, m: float) -> None:
        """Move the running statistics towards a batch's mean and biased variance, over m values per channel.

        Raises
        ------
        ValueError, TypeError
            As ``accepts``; nothing has moved then.
        """
        if not self.moving:
            return
        self.require_fitting(mean, m)
        correction = m / (m - self.ddof_running)
        op = move_op(self.momentum, self.debiased, correction, self.on_nonfinite == "raise")
        with moving:
            apply(op, self.running_mean, self.running_var, self.num_batches, mean, var)

    def accepts(self, mean: Tensor, var: Tensor, m: float) -> bool:
        """Whether statistics of a batch may enter the running ones: whether they are finite.

        Raises
        ------
        ValueError
            If they are not, and ``on_nonfinite`` is "raise"; or as ``require_fitting``.
        TypeError
            As ``require_fitting``.
        """
        self.require_fitting(mean, m)
        finite: bool = by_type[type(var._data)].kernels.finite(var._data)
        if not finite and self.on_nonfinite == "raise":
            refuse_statistics()
        return finite

    def require_fitting(self, mean: Tensor, m: float) -> None:
        """Raise unless statistics of m values per channel go with the running ones.

        Raises
        ------
        ValueError
            If m values have no such variance.
        TypeError
            If they are of another dtype or on another backend.
        """
        running = self.running_mean
        if mean._data.dtype != running._data.dtype:
            raise TypeError(
                f"x is {mean.dtype} and the running statistics {running.dtype}: cast x with "
                f"x.astype('{running.dtype}'), or build the layer with dtype='{mean.dtype}'"
            )
        if type(mean._data) is not type(running._data):
            raise TypeError(
                f"running statistics are on {running.backend}, the batch on {mean.backend}"
            )
        if not m > self.ddof_running:
            raise ValueError(
                f"expected more than ddof_running={self.ddof_running} values per channel, got {m}"
            )


@lru_cache(maxsize=1024)
def move_op(
    momentum: float | None, debiased: bool, correction: float, strict: bool
) -> MoveStatistics:
    """The op that moves a layer's running statistics, one for all batches of a size."""
    return MoveStatistics(momentum, debiased, correction, strict)


class MoveStatistics(Op):
    """The running statistics, moved towards a batch's; ``correction`` takes its biased variance to what is kept.

    A batch that is not finite moves nothing, and is an error for ``strict``.
    """

    writes = 3
    differentiable = False
    __slots__ = ("correction", "debiased", "momentum", "strict")

    def __init__(
        self, momentum: float | None, debiased: bool, correction: float, strict: bool
    ) -> None:
        self.momentum, self.debiased, self.correction = momentum, debiased, correction
        self.strict = strict

    def forward(self, k: Any, *arrays: Any) -> None:
        k.move_statistics(*arrays, self.momentum, self.correction, self.debiased, self.strict)
