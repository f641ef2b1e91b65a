"""Batch norm written as rows of a program, also together with its activation."""

from __future__ import annotations

from typing import Any

from .chains import CODES
from .layouts import constant, layout
from .places import NotWritten, Place
from .writer_base import FLOAT, RowWriter, require, row_major


class NormWriter(RowWriter):
    """The kernels of batch norm. ``activation`` is the name of one, empty for none."""

    def batch_norm(
        self,
        x: Place,
        gamma: Any,
        beta: Any,
        kept: tuple[int, ...],
        eps: float,
        ddof: int,
        activation: str = "",
    ) -> tuple[Place, Place, Place, Place]:
        found, sizes, channels = self._layout(x, kept)
        y = self.empty(found.view)
        mean, var, inv_std = (self.empty((channels,)) for _ in range(3))
        arguments = found.chunks, channels, *sizes, x.take(found.order, found.view), y
        scale, shift = self._channels(gamma, 1, channels), self._channels(beta, 0, channels)
        self.write(
            f"{found.kind}_forward",
            x.size,
            *(*arguments, scale, shift, mean, var, inv_std, code(activation)),
            numbers=(eps, x.size // channels - ddof),
        )
        return _given(y, found), mean, var, inv_std

    activated_batch_norm = batch_norm

    def batch_norm_grad(
        self, x: Place, gamma: Any, mean: Place, inv_std: Place, gy: Place, kept: Any, ddof: int
    ) -> tuple[Place, Place, Place]:
        return self.activated_batch_norm_grad(x, gamma, mean, inv_std, gy, gy, kept, ddof, "")

    def activated_batch_norm_grad(
        self,
        x: Place,
        gamma: Any,
        mean: Place,
        inv_std: Place,
        y: Place,
        gy: Place,
        kept: Any,
        ddof: int,
        activation: str,
    ) -> tuple[Place, Place, Place]:
        found, sizes, channels = self._layout(x, kept)
        require(y, gy)
        gx, ggamma, gbeta = self.empty(found.view), self.empty((channels,)), self.empty((channels,))
        taken = (a.take(found.order, found.view) for a in (x, y, gy))
        arguments = found.chunks, channels, *sizes, *taken, gx, self._channels(gamma, 1, channels)
        gradient = code(activation and f"{activation}_grad")
        self.write(
            f"{found.kind}_backward",
            x.size,
            *(*arguments, row_major(mean), row_major(inv_std), ggamma, gbeta, gradient),
            numbers=(x.size // channels - ddof,),
        )
        return _given(gx, found), ggamma, gbeta

    def frozen_batch_norm(
        self,
        x: Place,
        gamma: Any,
        beta: Any,
        mean: Place,
        var: Place,
        kept: Any,
        eps: float,
        activation: str = "",
    ) -> Place:
        found, sizes, channels = self._layout(x, kept)
        y = self.empty(found.view)
        arguments = found.chunks, channels, *sizes, x.take(found.order, found.view), y
        scale, shift = self._channels(gamma, 1, channels), self._channels(beta, 0, channels)
        self.write(
            f"{found.kind}_frozen",
            x.size,
            *(*arguments, scale, shift, row_major(mean), row_major(var), code(activation)),
            numbers=(eps,),
        )
        return _given(y, found)

    activated_frozen_batch_norm = frozen_batch_norm

    def move_statistics(
        self,
        running_mean: Place,
        running_var: Place,
        num_batches: Place,
        mean: Place,
        var: Place,
        momentum: float | None,
        correction: float,
        debiased: bool,
        strict: bool,
    ) -> bool:
        """True: a batch that is not finite stops the program, and the op is applied by Python."""
        arrays = running_mean, running_var, mean, var
        require(*arrays)
        if mean.ndim != 1:
            raise NotWritten("statistics of several axes")
        running_mean, running_var, mean, var = map(row_major, arrays)
        arguments = running_mean, running_var, num_batches, mean, var, mean.size, debiased
        numbers = -1.0 if momentum is None else momentum, correction
        self.write("move_statistics", 0, *arguments, numbers=numbers)
        return True

    def _layout(self, x: Place, kept: tuple[int, ...]) -> tuple[Any, tuple[int, ...], int]:
        """How x is looked at, the sizes of that view as three numbers, and the channels."""
        found = layout(x.shape, x.strides, x.dtype.char, kept)
        if found is None or x.dtype != FLOAT:
            raise NotWritten("batch norm of such arrays")
        sizes = (*found.view, 0) if len(found.view) == 2 else found.view
        return found, sizes, x.shape[kept[0]]

    def _channels(self, x: Place | None, value: float, channels: int) -> Place:
        if x is None:
            return self.place(constant(value, channels, FLOAT))
        require(x)
        return row_major(x)


def code(activation: str) -> int:
    return CODES[activation] if activation else 0


def _given(y: Place, found: Any) -> Place:
    return y if found.plain else y.reshape(found.shape).transpose(found.back)
