"""Writing programs: a kernel set that notes what it is asked to compute, instead of computing it.

An op's ``forward`` is called with a ``Writer`` for its kernels and ``Place``s for its arrays. What comes out is rows of
a program (``compiled.program``), with the results of the compiled kernels to the last bit. Places know their shape and
where they lie, and nothing else: whatever an op does with arrays that is not written down here raises ``NotWritten``,
and that op is left to Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .chains import CODES, Steps, packed
from .layouts import constant, layout
from .numba import NumbaKernels
from .places import NotWritten, Place, Row, Storage

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


class _NoModule:
    """Functions of an array module, none of which is written down."""

    def __getattr__(self, name: str) -> Any:
        raise NotWritten(name)


class Writer:
    """A kernel set that writes rows; see above. ``kernels`` are those that it stands for."""

    xp: Any = _NoModule()

    def __init__(self, kernels: NumbaKernels) -> None:
        self.kernels = kernels
        self.rows: list[Row] = []

    def __getattr__(self, name: str) -> Any:
        raise NotWritten(name)

    def write(self, name: str, work: int, *arguments: Any, numbers: Sequence[float] = ()) -> None:
        self.rows.append(Row(name, work, arguments, tuple(numbers)))

    def place(self, array: np.ndarray, constant: bool = False) -> Place:
        """Where an array lies that stays there; and whether its numbers stay too."""
        storage = Storage(array.nbytes, array, constant)
        return Place(storage, array.shape, array.dtype, array.strides)

    def empty(self, shape: tuple[int, ...], like: Place | None = None) -> Place:
        """Room for a float32 result, in the layout of ``like``."""
        made = Place(Storage(4 * math.prod(shape)), shape, FLOAT)
        if like is None or like.contiguous():
            return made
        order = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
        back = tuple(sorted(range(like.ndim), key=order.__getitem__))
        return made.reshape(tuple(shape[i] for i in order)).transpose(back)

    # --- products ---

    def matmul(self, a: Place, b: Place) -> Place:
        (a, ta), (b, tb) = _matrix(a), _matrix(b)
        m, k = (a.shape[1], a.shape[0]) if ta else a.shape
        n = b.shape[0] if tb else b.shape[1]
        y, work = self.empty((m, n)), m * n * k // self.kernels._products.PER_NUMBER
        parts = self.kernels._products.parts(m, n, 4, work)
        self.write("product", work, a, b, y, m, k, n, ta, tb, *parts)
        return y

    def linear(self, x: Place, weight: Place, bias: Place | None) -> Place:
        _require(x, weight)
        (m, k), n = x.shape, len(weight)
        if m <= self.kernels._products.FEW:
            y = self.empty((m, n))
            self.write("few_rows", 0, _row_major(x), _row_major(weight), y, m, k, n)
        elif weight.storage.constant and weight.storage.array is not None:
            y = self._packed(_row_major(x), weight.of(weight.storage.array).T)
        else:
            y = self.matmul(x, weight.T)
        if bias is not None:
            self.write("add_row", 0, y, _row_major(bias), m, n)
        return y

    def _packed(self, x: Place, b: np.ndarray) -> Place:
        """x @ b, for a b that can be packed once for all times."""
        products, (m, k), n = self.kernels._products, x.shape, b.shape[1]
        panels, y, work = products.packed(b), self.empty((m, n)), m * n * k // products.PER_NUMBER
        places = x, self.place(panels), y
        parts = products.parts(m, n, 4, work)
        self.write("packed_product", work, *places, m, k, n, *panels.shape[:3], *parts)
        return y

    def sum(self, x: Place, axes: tuple[int, ...], keepdims: bool) -> Place:
        _require(x)
        if axes != (0,) or x.ndim != 2:
            raise NotWritten("sum over other axes")
        y = self.empty((1, x.shape[1]) if keepdims else x.shape[1:])
        self.write("column_sums", 0, _row_major(x), y, *x.shape)
        return y

    # --- batch normalization ---

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
            *(*arguments, scale, shift, mean, var, inv_std, _code(activation)),
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
        _require(y, gy)
        gx, ggamma, gbeta = self.empty(found.view), self.empty((channels,)), self.empty((channels,))
        taken = (a.take(found.order, found.view) for a in (x, y, gy))
        arguments = found.chunks, channels, *sizes, *taken, gx, self._channels(gamma, 1, channels)
        code = _code(activation and f"{activation}_grad")
        self.write(
            f"{found.kind}_backward",
            x.size,
            *(*arguments, _row_major(mean), _row_major(inv_std), ggamma, gbeta, code),
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
            *(*arguments, scale, shift, _row_major(mean), _row_major(var), _code(activation)),
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
    ) -> bool:
        """True: a batch that is not finite stops the program."""
        arrays = running_mean, running_var, mean, var
        _require(*arrays)
        if mean.ndim != 1:
            raise NotWritten("statistics of several axes")
        running_mean, running_var, mean, var = map(_row_major, arrays)
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
        _require(x)
        return _row_major(x)

    # --- element by element ---

    def sigmoid(self, x: Place) -> Place:
        return self._along("sigmoid", x)

    def sigmoid_grad(self, y: Place, gy: Place) -> Place:
        return self._along("sigmoid_grad", y, gy)

    def relu(self, x: Place) -> Place:
        return self._along("relu", x)

    def relu_grad(self, x: Place, gy: Place) -> Place:
        return self._along("relu_grad", x, gy)

    def add(self, a: Place, b: Place) -> Place:
        return self.chain((("add", (0, 1)),), a, b)

    def subtract(self, a: Place, b: Place) -> Place:
        return self.chain((("subtract", (0, 1)),), a, b)

    def multiply(self, a: Place, b: Place) -> Place:
        return self.chain((("multiply", (0, 1)),), a, b)

    def divide(self, a: Place, b: Place) -> Place:
        return self.chain((("divide", (0, 1)),), a, b)

    def negative(self, x: Place) -> Place:
        return self.chain((("negative", (0,)),), x)

    def chain(self, steps: Steps, *places: Place) -> Place:
        _require(*places)
        like = max(places, key=lambda p: (p.size, not _single(p), p.ndim))
        y, singles = self.empty(like.shape, like), 0
        for i, p in enumerate(places):
            if _single(p) and (p.size == 1 or p.shape == y.shape) and p.ndim <= y.ndim:
                singles |= 1 << i
            else:
                _flat(p, y)
        sizes = y.size, y, len(places), len(steps), singles
        self.write("chain", y.size, *sizes, *places, *packed(steps))
        return y

    def add_into(self, a: Place, b: Place) -> None:
        like = self.empty(a.shape, a)
        self.write("add_into", a.size, _flat(a, like), _flat(b, like), a.size)

    def _along(self, name: str, *arrays: Place) -> Place:
        """An instruction that goes through arrays as they lie in memory."""
        y = self.empty(arrays[0].shape, arrays[0])
        self.write(name, y.size, *(_flat(a, y) for a in arrays), _flat(y, y), y.size)
        return y

    # --- the loss ---

    def softmax_cross_entropy(
        self, logits: Place, labels: Place, weight: float | None
    ) -> tuple[Place, Place]:
        """Labels that are no classes stop the program."""
        _require(logits)
        if labels.dtype != INT:
            raise NotWritten("labels of another dtype")
        p, loss = self.empty(logits.shape), self.empty(labels.shape if weight is None else ())
        places = _row_major(logits), _row_major(labels), loss, p
        self.write(
            "softmax_cross_entropy",
            logits.size,
            *(*places, *logits.shape, weight is not None),
            numbers=(1 if weight is None else weight,),
        )
        return loss, p

    def softmax_cross_entropy_grad(
        self, probabilities: Place, labels: Place, gy: Place, weight: float | None
    ) -> Place:
        _require(probabilities, gy)
        if labels.dtype != INT:
            raise NotWritten("labels of another dtype")
        g = self.empty(probabilities.shape)
        places = _row_major(probabilities), _row_major(labels), _row_major(gy), g
        self.write(
            "softmax_cross_entropy_grad",
            0,
            *(*places, *probabilities.shape, gy.size),
            numbers=(1 if weight is None else weight,),
        )
        return g

    # --- updates ---

    def count(self, steps: Place, moved: tuple[int, ...]) -> Place:
        if len(moved) != len(steps):
            raise NotWritten("some parameters only")
        self.write("count", 0, steps, len(steps))
        return steps

    def sgd(
        self,
        *columns: tuple[Place, ...],
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        for places in zip(*columns, strict=True):
            _require(*places)
            flat, n, numbers = map(_row_major, places), places[0].size, [lr, weight_decay]
            if momentum:
                numbers.append(momentum)
                self.write("descend_with_momentum", n, *flat, n, nesterov, numbers=numbers)
            else:
                self.write("descend", n, *flat, n, numbers=numbers)

    def adam(
        self,
        *columns: tuple[Place, ...],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        steps: Place,
    ) -> None:
        for i, places in enumerate(zip(*columns, strict=True)):
            _require(*places)
            step = Place(steps.storage, (), INT, (), steps.offset + 8 * i)
            n, numbers = places[0].size, (lr, *betas, eps, weight_decay)
            self.write("adam", n, *map(_row_major, places), step, n, numbers=numbers)


def _code(activation: str) -> int:
    return CODES[activation] if activation else 0


def _require(*places: Place) -> None:
    if any(p.dtype != FLOAT for p in places):
        raise NotWritten("other dtypes than float32")


def _row_major(x: Place) -> Place:
    if not x.contiguous():
        raise NotWritten("an array with its axes in another order")
    return x


def _flat(x: Place, like: Place) -> Place:
    """x, if its numbers lie side by side in memory, in the order of those of ``like``."""
    _require(x)
    if x.shape != like.shape or any(
        n > 1 and a != b for n, a, b in zip(x.shape, x.strides, like.strides, strict=True)
    ):
        raise NotWritten("arrays of different layouts")
    return x


def _single(x: Place) -> bool:
    """Whether it is one number, or the same one everywhere."""
    return not any(stride for n, stride in zip(x.shape, x.strides, strict=True) if n > 1)


def _matrix(x: Place) -> tuple[Place, bool]:
    """A matrix as it lies, and whether that is its transpose."""
    _require(x)
    if x.ndim != 2 or not x.size:
        raise NotWritten("products of such arrays")
    if x.contiguous():
        return x, False
    return _row_major(x.T), True


def _given(y: Place, found: Any) -> Place:
    return y if found.plain else y.reshape(found.shape).transpose(found.back)
