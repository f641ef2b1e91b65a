"""What writers of programs share: rows and places, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .numba import NumbaKernels
from .places import NotWritten, Place, Row, Storage

FLOAT = np.dtype(np.float32)


class _NoModule:
    """Functions of an array module, none of which is written down."""

    def __getattr__(self, name: str) -> Any:
        raise NotWritten(name)


class RowWriter:
    """What writers of kernels share. ``kernels`` are those that they stand for."""

    xp: Any = _NoModule()

    def __init__(self, kernels: NumbaKernels) -> None:
        self.kernels = kernels
        self.rows: list[Row] = []

    def __getattr__(self, name: str) -> Any:
        raise NotWritten(name)

    def write(
        self,
        name: str,
        work: int,
        *arguments: Any,
        numbers: Sequence[float] = (),
        over: tuple[int, int] | None = None,
    ) -> None:
        self.rows.append(Row(name, work, arguments, tuple(numbers), over))

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


def require(*places: Place) -> None:
    if any(p.dtype != FLOAT for p in places):
        raise NotWritten("other dtypes than float32")


def row_major(x: Place) -> Place:
    if not x.contiguous():
        raise NotWritten("an array with its axes in another order")
    return x


def flat(x: Place, like: Place) -> Place:
    """x, if its numbers lie side by side in memory, in the order of those of ``like``."""
    require(x)
    if x.shape != like.shape or any(
        n > 1 and a != b for n, a, b in zip(x.shape, x.strides, like.strides, strict=True)
    ):
        raise NotWritten("arrays of different layouts")
    return x


def single(x: Place) -> bool:
    """Whether it is one number, or the same one everywhere."""
    return not any(stride for n, stride in zip(x.shape, x.strides, strict=True) if n > 1)
