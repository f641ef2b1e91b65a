"""Writing programs: a kernel set that notes what it is asked to compute, instead of computing it.

An op's ``forward`` is called with a ``Writer`` for its kernels and ``Place``s for its arrays. What comes out is rows of
a program (``compiled.program``), with the results of the compiled kernels to the last bit. Places know their shape and
where they lie, and nothing else: whatever an op does with arrays that is not written down here raises ``NotWritten``,
and that op is left to Python.
"""

from __future__ import annotations

import numpy as np

from .chains import Steps, packed
from .places import NotWritten, Place
from .writer_base import flat, require, row_major, single
from .writer_norm import NormWriter, code

INT = np.dtype(np.int64)


class Writer(NormWriter):
    """A kernel set that writes rows; see above."""

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
        require(x, weight)
        (m, k), n = x.shape, len(weight)
        if m <= self.kernels._products.FEW:
            y = self.empty((m, n))
            self.write("few_rows", 0, row_major(x), row_major(weight), y, m, k, n)
        elif weight.storage.constant:
            return self._packed(x, weight, bias, "")
        else:
            y = self.matmul(x, weight.T)
        if bias is not None:
            self.write("add_row", 0, y, row_major(bias), m, n)
        return y

    def activated_linear(
        self, x: Place, weight: Place, bias: Place | None, activation: str
    ) -> Place:
        require(x, weight)
        if len(x) > self.kernels._products.FEW and weight.storage.constant:
            return self._packed(x, weight, bias, activation)
        return self._along(activation, self.linear(x, weight, bias))

    def _packed(self, x: Place, weight: Place, bias: Place | None, activation: str) -> Place:
        """A linear layer whose weights can be packed once for all times; with its bias and activation in one kernel."""
        products, (m, k), n = self.kernels._products, x.shape, len(weight)
        assert weight.storage.array is not None
        panels = products.packed(weight.of(weight.storage.array).T)
        y, work = self.empty((m, n)), m * n * k // products.PER_NUMBER
        row = self._channels(bias, 0, n)
        places = row_major(x), self.place(panels), y, row
        sizes = m, k, n, *panels.shape[:3], products.threads_for(work)
        self.write("packed_product", work, *places, *sizes, bias is not None, code(activation))
        return y

    def sum(self, x: Place, axes: tuple[int, ...], keepdims: bool) -> Place:
        require(x)
        if axes != (0,) or x.ndim != 2:
            raise NotWritten("sum over other axes")
        y = self.empty((1, x.shape[1]) if keepdims else x.shape[1:])
        self.write("column_sums", 0, row_major(x), y, *x.shape)
        return y

    # --- element by element ---

    def sigmoid(self, x: Place) -> Place:
        return self._along("sigmoid", x)

    def sigmoid_grad(self, y: Place, gy: Place) -> Place:
        return self._along("sigmoid_grad", y, gy, over=(1, 2))

    def relu(self, x: Place) -> Place:
        return self._along("relu", x)

    def relu_grad(self, x: Place, gy: Place) -> Place:
        return self._along("relu_grad", x, gy, over=(1, 2))

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
        require(*places)
        like = max(places, key=lambda p: (p.size, not single(p), p.ndim))
        y, singles = self.empty(like.shape, like), 0
        for i, p in enumerate(places):
            if single(p) and (p.size == 1 or p.shape == y.shape) and p.ndim <= y.ndim:
                singles |= 1 << i
            else:
                flat(p, y)
        sizes = y.size, y, len(places), len(steps), singles
        self.write("chain", y.size, *sizes, *places, *packed(steps))
        return y

    def add_into(self, a: Place, b: Place) -> None:
        like = self.empty(a.shape, a)
        self.write("add_into", a.size, flat(a, like), flat(b, like), a.size)

    def _along(self, name: str, *arrays: Place, over: tuple[int, int] | None = None) -> Place:
        """An instruction that goes through arrays as they lie in memory."""
        y = self.empty(arrays[0].shape, arrays[0])
        self.write(name, y.size, *(flat(a, y) for a in arrays), flat(y, y), y.size, over=over)
        return y

    # --- the loss ---

    def softmax_cross_entropy(
        self, logits: Place, labels: Place, weight: float | None
    ) -> tuple[Place, Place]:
        """Labels that are no classes stop the program."""
        require(logits)
        if labels.dtype != INT:
            raise NotWritten("labels of another dtype")
        p, loss = self.empty(logits.shape), self.empty(labels.shape if weight is None else ())
        places = row_major(logits), row_major(labels), loss, p
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
        require(probabilities, gy)
        if labels.dtype != INT:
            raise NotWritten("labels of another dtype")
        g = self.empty(probabilities.shape)
        places = row_major(probabilities), row_major(labels), row_major(gy), g
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
            require(*places)
            flat, n, numbers = map(row_major, places), places[0].size, [lr, weight_decay]
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
            require(*places)
            step = Place(steps.storage, (), INT, (), steps.offset + 8 * i)
            n, numbers = places[0].size, (lr, *betas, eps, weight_decay)
            self.write("adam", n, *map(row_major, places), step, n, numbers=numbers)


def _matrix(x: Place) -> tuple[Place, bool]:
    """A matrix as it lies, and whether that is its transpose."""
    require(x)
    if x.ndim != 2 or not x.size:
        raise NotWritten("products of such arrays")
    if x.contiguous():
        return x, False
    return row_major(x.T), True
