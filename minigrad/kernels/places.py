"""Where a program's arrays lie, and its rows before they are a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided


class NotWritten(Exception):
    """There is no instruction for this."""


class Storage:
    """Memory that places lie in: an array's that there is, or memory to be found."""

    __slots__ = ("array", "constant", "nbytes")

    def __init__(
        self, nbytes: int, array: np.ndarray | None = None, constant: bool = False
    ) -> None:
        self.nbytes, self.array, self.constant = nbytes, array, constant


class Row(NamedTuple):
    """An instruction by name, the numbers it computes, its whole arguments or places, and those that are not whole.

    ``over`` counts two arguments: an input, and the result that may be written over it, for which there is another
    instruction: the compiler does without vectors where it finds out that two arrays are one.
    """

    name: str
    work: int
    arguments: tuple[Any, ...]
    numbers: tuple[float, ...]
    over: tuple[int, int] | None = None

    def in_place(self) -> Row:
        """The row that writes over its input."""
        assert self.over is not None
        _, result = self.over
        rest = (*self.arguments[:result], *self.arguments[result + 1 :])
        return Row(f"{self.name}_over", self.work, rest, self.numbers)


class Place:
    """An array as far as a program knows it: where it lies and its form. Offset and strides in bytes."""

    __slots__ = ("storage", "offset", "shape", "strides", "dtype")

    def __init__(
        self,
        storage: Storage,
        shape: tuple[int, ...],
        dtype: np.dtype,
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> None:
        self.storage, self.offset, self.shape, self.dtype = storage, offset, shape, dtype
        self.strides = dense(shape, dtype) if strides is None else strides

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def T(self) -> Place:
        return self.transpose(tuple(reversed(range(self.ndim))))

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        raise NotWritten(f"{name} of an array")

    def transpose(self, *order: Any) -> Place:
        order = order[0] if len(order) == 1 and isinstance(order[0], tuple) else order
        shape, strides = (tuple(a[i] for i in order) for a in (self.shape, self.strides))
        return Place(self.storage, shape, self.dtype, strides, self.offset)

    def swapaxes(self, a: int, b: int) -> Place:
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.transpose(tuple(order))

    def reshape(self, *shape: Any) -> Place:
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if not self.contiguous() or math.prod(shape) != self.size:
            raise NotWritten("a reshape that copies")
        return Place(self.storage, shape, self.dtype, None, self.offset)

    def contiguous(self) -> bool:
        """Whether it is C-contiguous."""
        return self.lies_as(dense(self.shape, self.dtype))

    def whole(self) -> bool:
        """Whether it is all of its storage, C-contiguous."""
        return self.contiguous() and self.size * self.dtype.itemsize == self.storage.nbytes

    def lies_as(self, strides: tuple[int, ...]) -> bool:
        """Whether its strides are those, of axes that matter."""
        pairs = zip(self.shape, self.strides, strides, strict=True)
        return all(n == 1 or a == b for n, a, b in pairs)

    def of(self, memory: np.ndarray) -> np.ndarray:
        """The array in its storage's memory: bytes, or the array that was brought."""
        if (
            memory.shape == self.shape
            and memory.dtype == self.dtype
            and memory.strides == self.strides
        ):
            return memory
        if memory.dtype == np.uint8 and memory.ndim == 1:
            return np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)
        if self.offset:
            raise NotWritten("a part of an array that was brought")
        return as_strided(memory, self.shape, self.strides)

    def take(self, order: Sequence[int], shape: tuple[int, ...]) -> Place:
        """With its axes in another order, which has to be that of memory, and then another shape."""
        return self.transpose(tuple(order)).reshape(shape)


def dense(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """The strides of a C-contiguous array."""
    strides, size = [], dtype.itemsize
    for n in reversed(shape):
        strides.append(size)
        size *= n
    return tuple(reversed(strides))
