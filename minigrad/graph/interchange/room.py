"""What the nodes of a file may cost, and the types of their parameters that are read on the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Vector = tuple[int, ...]
Scalar = float

#: multiplications that count as one byte
WORK = 128
#: bytes per byte of inputs and weights that a node may always take: what the layers of networks do
ALWAYS = 64


class Room:
    """What a run may still allocate: ``most`` bytes at a node, and by all nodes beyond ``ALWAYS`` times the data."""

    def __init__(self, most: int, data: int) -> None:
        self.most, self.always = most, ALWAYS * data
        self._spent = self._node = 0

    def next_node(self) -> None:
        self._spent += max(self._node - self.always, 0)
        self._node = 0

    def __call__(self, shape: Any, dtype: Any = np.uint8, work: int = 0) -> None:
        """Count an array of this shape, made by so many multiplications.

        Raises
        ------
        ValueError
            If a size is negative, or the array too much.
        """
        if any(n < 0 for n in shape):
            raise ValueError(f"a size is negative in shape {tuple(shape)}")
        self._node += max(math.prod(shape) * np.dtype(dtype).itemsize, work // WORK)
        if max(self._node, self._spent + self._node - self.always) > self.most:
            raise ValueError(
                f"it needs {self._spent + self._node} bytes, or the time of as many, more than max_bytes={self.most} "
                "allows; if you trust the file, read it with a larger max_bytes"
            )


def one_axis(axis: int, rank: int) -> int:
    """``axis``, counted from the front."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {rank} dimensions")
    return axis % rank


def each_axis(axes: Any, rank: int) -> list[int]:
    """``axes``, counted from the front, none of them twice."""
    found = [one_axis(a, rank) for a in axes]
    if len(set(found)) < len(found):
        raise ValueError(f"an axis is given twice in {tuple(axes)}")
    return found
