"""Kernels that do what several do, for any array module: one after the other.

Whoever can do it in one pass over memory overrides them; the results must be the same to the last bit. An activation is
the name of a kernel, of which there is another one with ``_grad`` behind the name.
"""

from __future__ import annotations

from typing import Any

Array = Any

#: activations and their gradients, by the numbers that compiled kernels know them by; 0 is none
CODES = {"relu": 1, "relu_grad": 2, "sigmoid": 3, "sigmoid_grad": 4}


class FusedKernels:
    """What goes on top of kernels."""

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
