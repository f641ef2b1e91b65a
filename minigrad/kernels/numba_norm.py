"""Batch norm that Numba compiles.

What is here are layouts and memory; the loops are in ``compiled.batch_norm``.
"""

from __future__ import annotations

from typing import Any

from . import compiled
from .generic import Kernels, refuse_statistics
from .layouts import layout, ready
from .numpy import NumpyKernels


class NumbaNormKernels(NumpyKernels):
    """The compiled CPU kernels of batch norm."""

    #: the modules of compiled kernels
    compiled: Any = compiled

    @staticmethod
    def launch(kernel: Any, refuse: Any, *args: Any) -> Any:
        """Call a kernel, or a raising function where it says False."""
        done = kernel(*args)
        if not done:
            refuse(*args)
        return done

    #: what is left of them does without NumPy's BLAS, whose threads would disturb those of these kernels
    channel_sum, deviations = Kernels.channel_sum, Kernels.deviations

    def batch_norm(
        self,
        x: Any,
        gamma: Any,
        beta: Any,
        kept: tuple[int, ...],
        eps: float,
        ddof: int,
    ) -> Any:
        found = layout(x.shape, x.strides, x.dtype.char, x.flags.carray, kept)
        if found is None:
            return super().batch_norm(x, gamma, beta, kept, eps, ddof)
        real, channels, size = x.dtype, x.shape[kept[0]], x.size
        y = (self.empty if found.large else self.small_empty)(found.view, real)
        mean, var, inv_std = self.small_empty((3, channels), real)
        gamma, beta = self._per_channel(mean, gamma, 1), self._per_channel(mean, beta, 0)
        settings = gamma, beta, eps, float(size // channels - ddof)
        kernel = getattr(self.compiled.batch_norm, f"{found.kind}_forward")
        x = x if found.plain else found.take(x)
        kernel(x, found.chunks, *settings, y, mean, var, inv_std)
        return y if found.plain else found.give(y), mean, var, inv_std

    def batch_norm_grad(
        self,
        x: Any,
        gamma: Any,
        mean: Any,
        inv_std: Any,
        gy: Any,
        kept: Any,
        ddof: int,
    ) -> Any:
        found = layout(x.shape, x.strides, x.dtype.char, x.flags.carray, kept)
        if found is None or gy.dtype != x.dtype:
            return super().batch_norm_grad(x, gamma, mean, inv_std, gy, kept, ddof)
        dof = float(x.size // len(mean) - ddof)
        gx = (self.empty if found.large else self.small_empty)(found.view, x.dtype)
        ggamma, gbeta = self.small_empty(mean.shape, x.dtype), self.small_empty(mean.shape, x.dtype)
        gamma = self._per_channel(mean, gamma, 1)
        settings = gamma, ready(mean), ready(inv_std), dof, gx, ggamma, gbeta
        kernel = getattr(self.compiled.batch_norm, f"{found.kind}_backward")
        x, gy = x if found.plain else found.take(x), found.take(gy)
        kernel(x, gy, found.chunks, *settings)
        return gx if found.plain else found.give(gx), ggamma, gbeta

    def frozen_batch_norm(
        self,
        x: Any,
        gamma: Any,
        beta: Any,
        mean: Any,
        var: Any,
        kept: Any,
        eps: float,
    ) -> Any:
        found = layout(x.shape, x.strides, x.dtype.char, x.flags.carray, kept)
        if found is None:
            return super().frozen_batch_norm(x, gamma, beta, mean, var, kept, eps)
        y = (self.empty if found.large else self.small_empty)(found.view, x.dtype)
        gamma, beta = self._per_channel(mean, gamma, 1), self._per_channel(mean, beta, 0)
        kernel = getattr(self.compiled.batch_norm, f"{found.kind}_frozen")
        x = x if found.plain else found.take(x)
        kernel(x, found.chunks, gamma, beta, ready(mean), ready(var), eps, y)
        return y if found.plain else found.give(y)

    def sum(self, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
        if (
            axes != (0,)
            or x.ndim != 2
            or x.dtype.char not in "fd"
            or not (x.size and x.flags.carray)
        ):
            return super().sum(x, axes, keepdims)
        y = self.empty((x.shape[1],), x.dtype)
        self.compiled.batch_norm.column_sums(x, y)
        return y.reshape(1, -1) if keepdims else y

    def move_statistics(
        self,
        running_mean: Any,
        running_var: Any,
        num_batches: Any,
        mean: Any,
        var: Any,
        momentum: float | None,
        correction: float,
        debiased: bool,
        strict: bool,
    ) -> bool:
        arrays = running_mean, running_var, num_batches, mean, var
        real = mean.dtype
        alike = mean.ndim == 1 and real.char in "fd"
        for a in (running_mean, running_var, mean, var):
            alike = alike and a.dtype == real and a.flags.carray
        if not alike:
            return super().move_statistics(*arrays, momentum, correction, debiased, strict)
        momentum = -1.0 if momentum is None else float(momentum)
        given = *arrays, momentum, correction, debiased
        kernel = self.compiled.running.move_statistics
        moved: bool = self.launch(kernel, _refuse_statistics, *given) if strict else kernel(*given)
        return moved

    def _per_channel(self, like: Any, given: Any, default: float) -> Any:
        """gamma or beta as the loops take it; for None an array like ``like``, all ``default``."""
        if given is not None:
            return given if given.flags.carray else given.copy()
        values = self.small_empty(like.shape, like.dtype)
        values.fill(default)
        return values


def _refuse_statistics(*arrays: Any) -> None:
    refuse_statistics()
