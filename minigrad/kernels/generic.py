"""Kernels for any array module with NumPy's interface: the maths of the fused ops, on arrays.

Whoever writes a faster kernel set subclasses ``Kernels`` and overrides the methods it does better; the results
must stay those of the ops' ``reference``.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

Array = Any


def reduced_axes(ndim: int, kept: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if i not in kept)


class Kernels:
    """The kernels of one array module ``xp``."""

    def __init__(self, xp: ModuleType | Any) -> None:
        self.xp = xp

    # --- activations ---

    def sigmoid(self, x: Array) -> Array:
        y = self.xp.exp(-x)
        y += 1
        return self.xp.divide(1, y, out=y)

    def sigmoid_grad(self, y: Array, gy: Array) -> Array:
        g = y * y
        self.xp.subtract(y, g, out=g)
        g *= gy
        return g

    def softmax(self, x: Array, axis: int) -> Array:
        y = self.xp.exp(x - x.max(axis=axis, keepdims=True))
        y /= y.sum(axis=axis, keepdims=True)
        return y

    def log_softmax(self, x: Array, axis: int) -> Array:
        shifted = x - x.max(axis=axis, keepdims=True)
        shifted -= self.xp.log(self.xp.exp(shifted).sum(axis=axis, keepdims=True))
        return shifted

    # --- softmax cross-entropy over the last axis of (examples, classes) ---

    def softmax_cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Minus the log-probability of each example's label, shape (examples,)."""
        shifted = logits - logits.max(axis=1, keepdims=True)
        picked = shifted[self.xp.arange(len(labels)), labels]
        return self.xp.log(self.xp.exp(shifted).sum(axis=1)) - picked

    def softmax_cross_entropy_grad(self, logits: Array, labels: Array, gy: Array) -> Array:
        g = self.softmax(logits, axis=1)
        g[self.xp.arange(len(labels)), labels] -= 1
        g *= gy.reshape(-1, 1)
        return g

    # --- batch normalization; ``kept`` are the axes that keep their own statistics ---

    def batch_norm(
        self, x: Array, gamma: Array | None, beta: Array | None, kept: tuple[int, ...], eps: float
    ) -> tuple[Array, Array, Array]:
        """Output, mean and biased variance. Sums are of deviations from the first value of each channel, so a
        large mean costs no precision and a constant channel has a variance of exactly 0."""
        axes = reduced_axes(x.ndim, kept)
        first = x[tuple(slice(1) if i in axes else slice(None) for i in range(x.ndim))]
        stat_shape = tuple(x.shape[i] for i in kept)
        if x.dtype.itemsize == 2:
            first = first.astype("float32")
        m = x.size // first.size
        d = x - first
        shift = d.sum(axis=axes, keepdims=True)
        shift /= m
        d -= shift
        var = (d * d).sum(axis=axes, keepdims=True)
        var /= m
        d *= self._scale(var, gamma, eps)
        if beta is not None:
            d += beta.reshape(var.shape)
        shift += first
        return d.astype(x.dtype, copy=False), shift.reshape(stat_shape), var.reshape(stat_shape)

    def batch_norm_grad(
        self,
        x: Array,
        gamma: Array | None,
        mean: Array,
        var: Array,
        gy: Array,
        kept: tuple[int, ...],
        eps: float,
    ) -> tuple[Array, Array, Array]:
        """Gradients of the output alone for x, gamma and beta."""
        axes = reduced_axes(x.ndim, kept)
        wide = tuple(n if i in kept else 1 for i, n in enumerate(x.shape))
        m = x.size // mean.size
        d = x - mean.reshape(wide)
        # The mean is rounded to its dtype: at a large mean that offset matters, and it costs one sum to remove.
        offset = d.sum(axis=axes, keepdims=True)
        offset /= m
        gy = gy.astype(d.dtype, copy=False)
        gbeta = gy.sum(axis=axes, keepdims=True)
        inv_std = self._scale(var.reshape(wide), None, eps)
        ggamma = ((gy * d).sum(axis=axes, keepdims=True) - offset * gbeta) * inv_std
        scale = inv_std if gamma is None else inv_std * gamma.reshape(wide)
        slope = inv_std * ggamma
        slope *= scale
        slope /= m
        d *= slope
        offset *= slope
        offset -= scale * (gbeta / m)
        gx = gy * scale
        gx -= d
        gx += offset
        return gx.astype(x.dtype, copy=False), ggamma.reshape(mean.shape), gbeta.reshape(mean.shape)

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
        wide = tuple(n if i in kept else 1 for i, n in enumerate(x.shape))
        y = x - mean.reshape(wide)
        y *= self._scale(var.reshape(wide), gamma, eps)
        if beta is not None:
            y += beta.reshape(wide)
        return y.astype(x.dtype, copy=False)

    def _scale(self, var: Array, gamma: Array | None, eps: float) -> Array:
        """gamma / sqrt(var + eps), in the shape of ``var``."""
        std = self.xp.sqrt(var + eps)
        return self.xp.divide(1 if gamma is None else gamma.reshape(var.shape), std)

    def move_statistics(
        self,
        running_mean: Array,
        running_var: Array,
        num_batches: Array,
        mean: Array,
        var: Array,
        momentum: float | None,
        correction: float,
    ) -> None:
        """running = momentum * running + (1 - momentum) * batch, in place; a cumulative average for None."""
        num_batches += 1
        new = 1 / num_batches if momentum is None else 1 - momentum
        running_mean += ((mean - running_mean) * new).astype(running_mean.dtype, copy=False)
        running_var += ((var * correction - running_var) * new).astype(
            running_var.dtype, copy=False
        )

    # --- optimizer updates over all parameters in one call, in place ---

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
            if weight_decay:
                g = g + weight_decay * p
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
        step: int,
    ) -> None:
        b1, b2 = betas
        step_size = lr / (1 - b1**step)
        root = math.sqrt(1 - b2**step)
        for p, m, v, g in zip(params, first, second, grads, strict=True):
            if weight_decay:
                g = g + weight_decay * p
            m *= b1
            m += (1 - b1) * g
            v *= b2
            v += (1 - b2) * (g * g)
            p -= step_size * m / (self.xp.sqrt(v) / root + eps)
