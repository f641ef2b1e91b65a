"""Optimizer updates for any array module: over all parameters in one call, in place."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from .halves import wide

Array = Any


@lru_cache(maxsize=1024)
def runs(indices: tuple[int, ...]) -> tuple[slice, ...]:
    """Ascending indices as slices."""
    ends = [i for i, index in enumerate(indices) if index + 1 not in indices[i + 1 : i + 2]]
    starts = [0, *(i + 1 for i in ends[:-1])]
    return tuple(slice(indices[a], indices[b] + 1) for a, b in zip(starts, ends, strict=True))


class Updates:
    """The part of a kernel set that moves parameters and the state of optimizers."""

    xp: Any
    concatenate: Any

    def count(self, steps: Array, moved: tuple[int, ...], more: Array | int = 1) -> Array:
        """Add a step to the numbers of updates of the parameters ``moved``, and return these numbers."""
        parts = [steps[own] for own in runs(moved)]
        for part in parts:
            part += more
        return parts[0] if len(parts) == 1 else self.concatenate(parts, 0)

    def sgd(
        self,
        params: tuple[Array, ...],
        *velocities_and_grads: tuple[Array, ...],
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """Velocities come before the gradients where there is momentum, and not at all where there is none."""
        *velocities, grads = velocities_and_grads
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            g = wide(g)
            if weight_decay:
                g = g + weight_decay * wide(p)
            if momentum:
                v = velocities[0][i]
                v *= momentum
                v += g
                g = g + momentum * v if nesterov else v
            p -= g * lr

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
        """``steps``: number of updates applied to each parameter so far, this one included."""
        b1, b2 = betas
        for i, (p, m, v, g) in enumerate(zip(params, first, second, grads, strict=True)):
            g = wide(g)
            step_size = (lr / (1 - b1 ** steps[i])).astype(g.dtype)
            root = ((1 - b2 ** steps[i]) ** 0.5).astype(g.dtype)
            if weight_decay:
                g = g + weight_decay * wide(p)
            m *= b1
            m += (1 - b1) * g
            v *= b2
            v += (1 - b2) * (g * g)
            p -= step_size * m / (self.xp.sqrt(v) / root + eps)

    def decay(self, params: tuple[Array, ...], factor: Any) -> None:
        for p in params:
            p *= factor

    def undoing(self, columns: Iterable[tuple[Array, ...]]) -> AbstractContextManager[None]:
        """A context for updates of these arrays, undone where a device has found a fault in values; see ``Faults``."""
        return nullcontext()
