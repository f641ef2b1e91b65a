"""Batch norm that Numba compiles.

What is here are layouts and memory; the loops are in ``compiled.batch_norm``.
"""

from __future__ import annotations

from typing import Any

from . import compiled
from .generic import Kernels, refuse_statistics
from .layouts import alike, layout, ready
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
        found = layout(x.shape, x.strides, x.dtype.char, kept)
        if found is None:
            return super().batch_norm(x, gamma, beta, kept, eps, ddof)
        real, channels, size = x.dtype, x.shape[kept[0]], x.size
        y, (mean, var, inv_std) = self.empty(found.view, real), self.empty((3, channels), real)
        gamma = self._full(1, channels, real) if gamma is None else ready(gamma)
        beta = self._full(0, channels, real) if beta is None else ready(beta)
        settings = gamma, beta, eps, float(size // channels - ddof)
        kernel = getattr(self.compiled.batch_norm, f"{found.kind}_forward")
        kernel(found.take(x), found.chunks, *settings, y, mean, var, inv_std)
        return found.give(y), mean, var, inv_std

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
        found = layout(x.shape, x.strides, x.dtype.char, kept)
        if found is None or gy.dtype != x.dtype:
            return super().batch_norm_grad(x, gamma, mean, inv_std, gy, kept, ddof)
        real, channels, size = x.dtype, x.shape[kept[0]], x.size
        gx, ggamma = self.empty(found.view, real), self.empty((channels,), real)
        gbeta = self.empty((channels,), real)
        gamma = self._full(1, channels, real) if gamma is None else ready(gamma)
        dof = float(size // channels - ddof)
        settings = gamma, ready(mean), ready(inv_std), dof, gx, ggamma, gbeta
        kernel = getattr(self.compiled.batch_norm, f"{found.kind}_backward")
        kernel(found.take(x), found.take(gy), found.chunks, *settings)
        return found.give(gx), ggamma, gbeta

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
        found = layout(x.shape, x.strides, x.dtype.char, kept)
        if found is None:
            return super().frozen_batch_norm(x, gamma, beta, mean, var, kept, eps)
        y = self.empty(found.view, x.dtype)
        gamma = self._full(1, len(mean), x.dtype) if gamma is None else ready(gamma)
        beta = self._full(0, len(mean), x.dtype) if beta is None else ready(beta)
        kernel = getattr(self.compiled.batch_norm, f"{found.kind}_frozen")
        settings = gamma, beta, ready(mean), ready(var), eps, y
        kernel(found.take(x), found.chunks, *settings)
        return found.give(y)

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
        if mean.ndim != 1 or not alike((running_mean, running_var, mean, var)):
            return super().move_statistics(*arrays, momentum, correction, debiased, strict)
        momentum = -1.0 if momentum is None else float(momentum)
        given = *arrays, momentum, correction, debiased
        kernel = self.compiled.running.move_statistics
        moved: bool = self.launch(kernel, _refuse_statistics, *given) if strict else kernel(*given)
        return moved

    def _full(self, value: float, channels: int, dtype: Any) -> Any:
        x = self.empty((channels,), dtype)
        x.fill(value)
        return x


def _refuse_statistics(*arrays: Any) -> None:
    refuse_statistics()
