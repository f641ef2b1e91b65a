"""Kernels for any array module with NumPy's interface: the maths of the fused ops, on arrays.

Whoever writes a faster kernel set subclasses ``Kernels`` and overrides the methods it does better; the results
must stay those of the ops' ``reference``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from .convolution import ConvolutionKernels
from .halves import half, in_float32
from .updates import Updates

Array = Any


@lru_cache(maxsize=1024)
def layout(shape: tuple[int, ...], kept: tuple[int, ...]) -> tuple[Any, ...]:
    """How to go from values of ``shape`` to per-channel numbers and back.

    Returns
    -------
    axes : the axes summed over
    m : values per channel
    wide : the shape in which per-channel numbers broadcast against the values
    first : the key of each channel's first value, wide
    """
    axes = tuple(i for i in range(len(shape)) if i not in kept)
    wide = tuple(n if i in kept else 1 for i, n in enumerate(shape))
    first = tuple(slice(None) if i in kept else slice(1) for i in range(len(shape)))
    return axes, math.prod(shape[i] for i in axes), wide, first


def refuse_statistics(where: str = "") -> None:
    """Raise: a batch is not finite."""
    raise ValueError(
        f"{where}the batch has NaN or Inf in it, or numbers whose squares overflow; the statistics stay as they "
        "were, and on_nonfinite='skip' passes over such batches"
    )


def refuse_labels(labels: Array, classes: int) -> None:
    """Raise, with the labels that there are."""
    refuse_label(f"{labels.min().item()} ... {labels.max().item()}", classes)


def refuse_label(what: str, classes: int) -> None:
    """Raise: labels are no classes."""
    hint = "; ignore_index=-100 leaves those out" if what.startswith("-100") else ""
    raise ValueError(
        f"softmax_cross_entropy: expected labels 0 ... {classes - 1}, got {what}{hint}"
    )


class Kernels(ConvolutionKernels, Updates):
    """The kernels of one array module ``xp``."""

    def __init__(self, xp: ModuleType | Any) -> None:
        self.xp = xp

    def check(self) -> None:
        """Raise what has turned out to be wrong with values since the last time; here errors come at once."""

    @in_float32
    def linear(self, x: Array, weight: Array, bias: Array | None) -> Array:
        y = self.matmul(x, weight.T)
        if bias is not None:
            y += bias
        return y

    # --- arithmetic ---

    # Functions of the interpreter's own: a method would take as long as a small addition.
    add, subtract, multiply = operator.add, operator.sub, operator.mul
    divide, negative = operator.truediv, operator.neg

    def add_into(self, a: Array, b: Array) -> None:
        a += b

    # --- activations ---

    def sigmoid(self, x: Array) -> Array:
        # e / (1 + e): accurate where it is tiny, and 1 to the last bit from here on, so nothing overflows.
        e = self.xp.asarray(self.xp.minimum(x, 40 if x.dtype.itemsize > 2 else 11))
        self.xp.exp(e, out=e)
        e /= e + 1
        return e

    def sigmoid_grad(self, y: Array, gy: Array) -> Array:
        g = self.xp.asarray(y * y)
        self.xp.subtract(y, g, out=g)
        g *= gy
        return g

    def relu(self, x: Array) -> Array:
        return self.xp.maximum(x, 0)

    def relu_grad(self, x: Array, gy: Array) -> Array:
        return gy * ~(x <= 0)  # not x > 0: at NaN the gradient goes on, too

    def softmax(self, x: Array, axis: int) -> Array:
        y = self.xp.exp(x - x.max(axis=axis, keepdims=True))
        y /= y.sum(axis=axis, keepdims=True)
        return y

    def log_softmax(self, x: Array, axis: int) -> Array:
        shifted = x - x.max(axis=axis, keepdims=True)
        shifted -= self.xp.log(self.xp.exp(shifted).sum(axis=axis, keepdims=True))
        return shifted

    def dropout_mask(self, x: Array, p: float, seed: int) -> Array:
        """1 / (1 - p) where the number that ``seed`` means for it is p or more, else 0, in the form of x."""
        numbers = np.random.Generator(np.random.Philox(key=seed))
        kept = numbers.random(x.shape, np.float32) >= p
        mask = self.xp.asarray(kept).astype(x.dtype)
        mask /= 1 - p
        return mask

    # --- softmax cross-entropy over the last axis of (examples, classes) ---

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weight: float | None
    ) -> tuple[Array, Array]:
        """Minus the log-probability of each example's label, or their sum times ``weight``; and all probabilities.

        Raises
        ------
        ValueError
            For a label that is no class.
        """
        if labels.min() < 0 or labels.max() >= logits.shape[1]:
            refuse_labels(labels, logits.shape[1])
        losses, probabilities = self._softmax_cross_entropy(logits, labels)
        return losses if weight is None else losses.sum() * weight, probabilities

    def _softmax_cross_entropy(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        shifted = logits - logits.max(axis=1, keepdims=True)
        picked = shifted[self.xp.arange(len(labels)), labels]
        probabilities = self.xp.exp(shifted, out=shifted)
        total = probabilities.sum(axis=1, keepdims=True)
        probabilities /= total
        return self.xp.log(total.reshape(-1)) - picked, probabilities

    def softmax_cross_entropy_grad(
        self, probabilities: Array, labels: Array, gy: Array, weight: float | None
    ) -> Array:
        """``gy`` per example, or one for all, which ``weight`` multiplies."""
        gy = self.xp.asarray(gy if weight is None else gy * weight)
        g = probabilities * gy.reshape(-1, 1)
        g[self.xp.arange(len(labels)), labels] -= gy
        return g.astype(probabilities.dtype, copy=False)

    def concatenate(self, parts: Sequence[Array], axis: int) -> Array:
        return self.xp.concatenate(parts, axis=axis)

    def sum(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        if half(x.dtype):
            return x.sum(axis=axes, dtype="float32", keepdims=keepdims).astype(x.dtype)
        return x.sum(axis=axes, keepdims=keepdims)

    def channel_sum(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Sum over all axes but the kept ones."""
        return x.sum(axis=axes)

    # --- batch normalization; ``kept`` are the axes that keep their own statistics ---

    def batch_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        kept: tuple[int, ...],
        eps: float,
        ddof: int,
    ) -> tuple[Array, Array, Array, Array]:
        """Output, mean, variance (of m - ddof degrees of freedom) and 1 / sqrt(var + eps)."""
        m = layout(x.shape, kept)[1]
        y, mean, var = self.deviations(x, kept)
        var /= m - ddof
        inv_std = self._standardize(y, gamma, beta, var, kept, eps)
        return y.astype(x.dtype, copy=False), mean, var, inv_std

    def moments(self, x: Array, w: Array | None, kept: tuple[int, ...]) -> tuple[Array, Array]:
        """The mean, and the sum of the squared deviations from it.

        A position counts as often as its weight says; w has one element along the kept axes.
        """
        if w is None:
            return self.deviations(x, kept)[1:]
        axes, _, wide, _ = layout(x.shape, kept)
        x, count = x.astype(w.dtype, copy=False), w.sum()
        count += count == 0  # of nothing the mean is 0
        mean = self.channel_sum(w * x, axes) / count
        d = x - mean.reshape(wide)
        return mean, self.channel_sum(w * d * d, axes)

    def deviations(self, x: Array, kept: tuple[int, ...]) -> tuple[Array, Array, Array]:
        """x - mean, the mean, and the sum of the squared deviations, at least in float32.

        Sums are of deviations from the first value of each channel, so a large mean costs no precision and a constant
        channel has a variance of exactly 0.
        """
        axes, m, wide, key = layout(x.shape, kept)
        first = x[key]
        if x.dtype.itemsize == 2:
            first = first.astype("float32")
        d = x - first
        mean = self.channel_sum(d, axes)
        mean /= m
        d -= mean.reshape(wide)
        m2 = self.channel_sum(d * d, axes)
        mean += first.reshape(mean.shape)
        return d, mean, m2

    def _standardize(
        self,
        d: Array,
        gamma: Array | None,
        beta: Array | None,
        var: Array,
        kept: tuple[int, ...],
        eps: float,
    ) -> Array:
        """d = gamma d / sqrt(var + eps) + beta per channel, in place; returns 1 / sqrt(var + eps)."""
        wide = layout(d.shape, kept)[2]
        inv_std = var + eps
        self.xp.sqrt(inv_std, out=inv_std)
        self.xp.divide(1, inv_std, out=inv_std)
        d *= (inv_std if gamma is None else inv_std * gamma).reshape(wide)
        if beta is not None:
            d += beta.reshape(wide)
        return inv_std

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
        """Gradients of the output alone for x, gamma and beta."""
        axes, m, wide, _ = layout(x.shape, kept)
        d = x - mean.reshape(wide)
        gy = gy.astype(d.dtype, copy=False)
        # The mean is rounded to its dtype: at a large mean that offset matters, and it costs one sum to remove.
        offset = self.channel_sum(d, axes)
        offset /= m
        gbeta = self.channel_sum(gy, axes)
        ggamma = self.channel_sum(gy * d, axes)
        ggamma -= offset * gbeta
        ggamma *= inv_std
        # gx = scale * (gy - gbeta / m - xhat * ggamma / (m - ddof)), where xhat = (d - offset) * inv_std
        slope = ggamma * inv_std
        slope /= m - ddof
        shift = gbeta / m
        offset *= slope
        shift -= offset
        d *= slope.reshape(wide)
        d += shift.reshape(wide)
        gx = self.xp.subtract(gy, d, out=d)
        gx *= (inv_std if gamma is None else inv_std * gamma).reshape(wide)
        return gx.astype(x.dtype, copy=False), ggamma, gbeta

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
        wide = layout(x.shape, kept)[2]
        y = x - mean.reshape(wide)
        self._standardize(y, gamma, beta, var, kept, eps)
        return y.astype(x.dtype, copy=False)

    def finite(self, var: Array) -> bool:
        """Whether variances are: the largest is NaN where any is."""
        return math.isfinite(var.max().item())

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
        """running = momentum * running + (1 - momentum) * batch, in place; a cumulative average for None.

        ``debiased`` divides by 1 - momentum^n after n batches, as if there had been no initial values. Says whether the
        batch is finite; nothing has moved if it is not, which is an error if ``strict``.
        """
        if not self.finite(var):
            if strict:
                refuse_statistics()
            return False
        num_batches += 1
        if momentum is None:
            new = (1 / num_batches).astype(mean.dtype)
        elif debiased:
            new = ((1 - momentum) / (1 - momentum**num_batches)).astype(mean.dtype)
        else:
            new = 1 - momentum
        running_mean *= 1 - new
        running_mean += new * mean
        running_var *= 1 - new
        running_var += (new * correction) * var
        return True
