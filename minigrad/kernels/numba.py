"""Kernels for NumPy arrays of float32 and float64 that Numba compiles, and for the rest those of NumPy.

Here arrays are brought into the layouts that the loops in ``compiled`` are written for; these are compiled, or read
from Numba's cache on disk, when they are first called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .convolution import FEW, Pair, Tile, Window, tiles
from .generic import Kernels, refuse_labels
from .layouts import flat, ready, row_major
from .numba_norm import NumbaNormKernels

#: rows of a matrix up to which packing the other factor would take longer than the product
FEW_ROWS = 4
#: what the loops take where there is no bias
NO_BIAS = {char: np.empty(0, char) for char in "fd"}


class NumbaKernels(NumbaNormKernels):
    """The compiled CPU kernels."""

    # --- products ---

    def matmul(self, a: Any, b: Any) -> Any:
        if a.dtype != b.dtype or a.dtype.char not in "fd" or a.shape[:-2] != b.shape[:-2]:
            return super().matmul(a, b)
        return self._product(a, b)

    def add_product(self, a: Any, b: Any, total: Any) -> None:
        if a.dtype.char not in "fd":
            super().add_product(a, b, total)
        else:
            self._product(a, b, total, add=True)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        if x.dtype.char not in "fd" or (bias is not None and bias.dtype != x.dtype):
            return Kernels.linear(self, x, weight, bias)
        if len(x) > FEW_ROWS or not (x.flags.carray and weight.flags.carray) or not x.size:
            return self._product(x, weight.T, bias=bias)
        y = self.empty((len(x), len(weight)), x.dtype)
        self.compiled.products.few(x, weight, _bias(bias, y), y)
        return y

    def multiply_rows(self, rows: Any, k: Any, target: Any) -> None:
        if rows.dtype.char not in "fd":
            super().multiply_rows(rows, k, target)
            return
        self._product(rows, k, target.reshape(len(rows), -1))

    def _product(self, a: Any, b: Any, out: Any = None, add: bool = False, bias: Any = None) -> Any:
        """a @ b for matrices, or stacks of them, in C or Fortran order; of matrices also plus a bias.

        It is put into ``out``, which is C-contiguous, or added to what is there.
        """
        if out is None:
            out = self.empty((*a.shape[:-1], b.shape[-1]), a.dtype)
        if not out.size * a.shape[-1]:
            if not add:
                out[...] = 0 if bias is None else bias
            return out
        (a, ta), (b, tb), c = row_major(a), row_major(b), out
        if c.ndim > 2:
            a, b, c = (x.reshape(-1, *x.shape[-2:]) for x in (a, b, c))
            if len(c) > 1:
                self.compiled.products.products(a, ta, b, tb, c, add)
                return out
            a, b, c = a[0], b[0], c[0]
        self.compiled.products.product(a, ta, b, tb, c, add, _bias(bias, c))
        return out

    # --- elementwise ---

    def sigmoid(self, x: Any) -> Any:
        if x.dtype != np.float32:
            return super().sigmoid(x)
        return self._run("sigmoid", x)

    def sigmoid_grad(self, y: Any, gy: Any) -> Any:
        if y.dtype != np.float32 or gy.dtype != np.float32:
            return super().sigmoid_grad(y, gy)
        return self._run("sigmoid_grad", y, gy)

    def relu(self, x: Any) -> Any:
        return super().relu(x) if x.dtype.char not in "fd" else self._run("relu", x)

    def relu_grad(self, x: Any, gy: Any) -> Any:
        if x.dtype.char not in "fd" or gy.dtype != x.dtype:
            return super().relu_grad(x, gy)
        return self._run("relu_grad", x, gy)

    def _run(self, loop: str, *arrays: Any) -> Any:
        """A loop over the numbers of arrays of one shape as they lie in memory."""
        y = self.empty_like(arrays[0])
        for x in arrays:
            if x.strides != y.strides:
                arrays, y = tuple(a.copy(order="C") for a in arrays), self.empty(y.shape, y.dtype)
                break
        getattr(self.compiled.elementwise, loop)(*map(flat, arrays), flat(y))
        return y

    def softmax_cross_entropy(self, logits: Any, labels: Any, weight: float | None) -> Any:
        if logits.dtype.char != "f" or labels.dtype != np.int64:
            return super().softmax_cross_entropy(logits, labels, weight)
        losses, p = self.empty((len(logits),), np.float32), self.empty(logits.shape, np.float32)
        loss = self.empty((), np.float32)
        self.launch(
            self.compiled.elementwise.softmax_cross_entropy,
            _refuse_labels,
            ready(logits),
            ready(labels),
            1.0 if weight is None else weight,
            losses,
            p,
            loss,
        )
        return losses if weight is None else loss, p

    def softmax_cross_entropy_grad(
        self, probabilities: Any, labels: Any, gy: Any, weight: float | None
    ) -> Any:
        p, real = probabilities, probabilities.dtype
        if real.char != "f" or labels.dtype != np.int64 or gy.dtype != real:
            return super().softmax_cross_entropy_grad(p, labels, gy, weight)
        g = self.empty(p.shape, real)
        weight = np.float32(1 if weight is None else weight)
        self.compiled.elementwise.softmax_cross_entropy_grad(
            ready(p), ready(labels), ready(gy).reshape(-1), weight, g
        )
        return g

    # --- updates ---

    def sgd(
        self,
        *columns: tuple[Any, ...],
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        params, *velocities, grads = columns
        real = params[0].dtype
        given = *map(id, (params, velocities[0] if momentum else (), grads)), id(real)
        numbers = map(real.type, (lr, weight_decay, momentum))
        if real.char not in "fd" or not self.compiled.updates.sgd(*given, *numbers, nesterov):
            rest: Any = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
            super().sgd(*columns, lr=lr, **rest)

    def adam(
        self,
        *columns: tuple[Any, ...],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        steps: Any,
    ) -> None:
        real = columns[0][0].dtype
        given = *map(id, columns), id(real), ready(steps)
        numbers = *map(float, (lr, *betas, eps, weight_decay)), real.type(0)
        if real.char not in "fd" or not self.compiled.updates.adam(*given, *numbers):
            rest: Any = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
            super().adam(*columns, lr=lr, steps=steps, **rest)

    # --- windows ---

    def channels_last(self, x: Any) -> Any:
        """The same images, NCHW, with channels next to each other in memory."""
        last = x.transpose(0, 2, 3, 1)
        if last.flags.carray:
            return x
        if x.flags.carray and x.dtype.char in "fd":
            n, c, h, w = x.shape
            last = self.empty((n, h, w, c), x.dtype)
            self.compiled.windows.channels_last(x.reshape(n, c, h * w), last.reshape(n, h * w, c))
        else:
            last = last.copy(order="C")
        return last.transpose(0, 3, 1, 2)

    def _patches(self, x: Any, out: Pair, window: Window) -> Iterator[tuple[Tile, Any]]:
        if window.groups > 1 or x.dtype.char not in "fd":
            yield from super()._patches(x, out, window)
            return
        (kh, kw), (n, c) = window.size, x.shape[:2]
        kernel = self.compiled.windows.patch_rows if c <= FEW else self.compiled.windows.patches
        for tile in tiles(n, kh * kw * c, out, window, self.tile):
            part = self.channels_last(x[tile.images]).transpose(0, 2, 3, 1)
            windows = (len(part), tile.rows.stop - tile.rows.start, out[1])
            shape = (kh, kw, c, *windows) if c <= FEW else (*windows, kh, kw * c)
            found = self.empty(shape, x.dtype)
            part = part.reshape(*part.shape[:2], -1)
            kernel(part, tile.rows.start, *_moves(window), c, found)
            if c <= FEW:
                yield tile, found.reshape(kh * kw * c, -1).T[None]
            else:
                yield tile, found.reshape(1, -1, kh * kw * c)

    def conv2d_weight_grad(self, x: Any, gy: Any, window: Window) -> Any:
        return super().conv2d_weight_grad(x, self.channels_last(gy), window)

    def conv2d_input_grad(self, gy: Any, weight: Any, window: Window, size: Pair) -> Any:
        if window.groups > 1 or max(window.stride) == 1 or gy.dtype.char not in "fd":
            return super().conv2d_input_grad(gy, weight, window, size)
        gy = self.channels_last(gy)
        c, (kh, kw), out = weight.shape[1], window.size, gy.shape[2:]
        k = self._matrix(weight, window)[0].T
        gx = self.empty((len(gy), *size, c), gy.dtype)
        gx.fill(0)
        for tile in tiles(len(gy), kh * kw * c, out, window, self.tile):
            rows = self._product(self._rows(gy, tile, window)[0], k)
            patches = rows.reshape(-1, tile.rows.stop - tile.rows.start, out[1], kh, kw * c)
            target = gx[tile.images].reshape(-1, size[0], size[1] * c)
            add = self.compiled.windows.add_patches
            add(patches, tile.rows.start, *_moves(window), c, target)
        return gx.transpose(0, 3, 1, 2)

    def max_pool2d(self, x: Any, window: Window) -> Any:
        if x.dtype.char not in "fd":
            return super().max_pool2d(x, window)
        images = self.channels_last(x).transpose(0, 2, 3, 1)
        shape = (len(x), *window.output_size(x.shape[2:]), x.shape[1])
        y, place = self.empty(shape, x.dtype), self.empty(shape, np.int16)
        self.compiled.windows.max_pool(images, *_moves(window), y, place)
        return y.transpose(0, 3, 1, 2), place.transpose(0, 3, 1, 2)

    def max_pool2d_grad(self, gy: Any, place: Any, window: Window, size: Pair) -> Any:
        if gy.dtype.char not in "fd":
            return super().max_pool2d_grad(gy, place, window, size)
        gy, place = (self.channels_last(a).transpose(0, 2, 3, 1) for a in (gy, place))
        gx = self.empty((len(gy), *size, gy.shape[3]), gy.dtype)
        gx.fill(0)
        found = self.empty((1,), np.bool_)
        given = gy, place, *_moves(window), gx, found
        self.launch(self.compiled.windows.max_pool_grad, _refuse_places, *given)
        return gx.transpose(0, 3, 1, 2)

    def sum_pool2d(self, x: Any, window: Window) -> Any:
        if x.dtype.char not in "fd":
            return super().sum_pool2d(x, window)
        images = self.channels_last(x).transpose(0, 2, 3, 1)
        y = self.empty((len(x), *window.output_size(x.shape[2:]), x.shape[1]), x.dtype)
        self.compiled.windows.sum_pool(images, *_moves(window), y)
        return y.transpose(0, 3, 1, 2)

    def sum_pool2d_grad(self, gy: Any, window: Window, size: Pair) -> Any:
        if gy.dtype.char not in "fd":
            return super().sum_pool2d_grad(gy, window, size)
        gx = self.empty((len(gy), *size, gy.shape[1]), gy.dtype)
        gx.fill(0)
        gy = self.channels_last(gy).transpose(0, 2, 3, 1)
        self.compiled.windows.sum_pool_grad(gy, *_moves(window), gx)
        return gx.transpose(0, 3, 1, 2)


def _bias(bias: Any, like: Any) -> Any:
    """A bias as the loops take it."""
    return NO_BIAS[like.dtype.char] if bias is None else ready(bias)


def _refuse_labels(logits: Any, labels: Any, *others: Any) -> None:
    refuse_labels(labels, logits.shape[1])


def _refuse_places(gy: Any, place: Any, *others: Any) -> None:
    size, gx = others[0], others[4]
    raise ValueError(
        f"max_pool2d_grad: expected places of windows of {size} over images of {gx.shape[1:3]}, got "
        f"{place.min()} ... {place.max()}"
    )


def _moves(window: Window) -> tuple[Pair, Pair, Pair, Pair]:
    """Kernel, stride, padding before, dilation."""
    (top, _), (left, _) = window.padding
    return window.size, window.stride, (top, left), window.dilation
