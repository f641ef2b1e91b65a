"""Kernels that do what several do, for any array module: one after the other.

Whoever can do it in one pass over memory overrides them; the results must be the same to the last bit. An activation is
the name of a kernel, of which there is another one with ``_grad`` behind the name.
"""

from __future__ import annotations

from typing import Any

from .chains import Steps

Array = Any


class FusedKernels:
    """What goes on top of kernels."""

    def activated_linear(
        self, x: Array, weight: Array, bias: Array | None, activation: str
    ) -> Array:
        """The activation of ``linear``."""
        k: Any = self
        return getattr(k, activation)(k.linear(x, weight, bias))

    def activated_batch_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        kept: tuple[int, ...],
        eps: float,
        ddof: int,
        activation: str,
    ) -> tuple[Array, Array, Array, Array]:
        """``batch_norm``, and the activation of its output."""
        k: Any = self
        y, mean, var, inv_std = k.batch_norm(x, gamma, beta, kept, eps, ddof)
        return getattr(k, activation)(y), mean, var, inv_std

    def activated_batch_norm_grad(
        self,
        x: Array,
        gamma: Array | None,
        mean: Array,
        inv_std: Array,
        y: Array,
        gy: Array,
        kept: tuple[int, ...],
        ddof: int,
        activation: str,
    ) -> tuple[Array, Array, Array]:
        """``batch_norm_grad`` for the gradient of the output y of an activation."""
        k: Any = self
        g = getattr(k, f"{activation}_grad")(y, gy)
        return k.batch_norm_grad(x, gamma, mean, inv_std, g, kept, ddof)

    def activated_frozen_batch_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        mean: Array,
        var: Array,
        kept: tuple[int, ...],
        eps: float,
        activation: str,
    ) -> Array:
        """The activation of ``frozen_batch_norm``."""
        k: Any = self
        return getattr(k, activation)(k.frozen_batch_norm(x, gamma, beta, mean, var, kept, eps))

    def chain(self, steps: Steps, *arrays: Array) -> Array:
        """Elementwise operations on arrays of one shape, or with one element: see ``chains``."""
        values = [*arrays]
        for name, taken in steps:
            values.append(getattr(self, name)(*[values[i] for i in taken]))
        return values[-1]
