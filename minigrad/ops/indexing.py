"""Indexing: basic (ints, slices, None, ...) and by integer or boolean arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import half
from ..op import Op
from .in_place import require_free
from .shape import Reshape

if TYPE_CHECKING:
    from ..tensor import Operand, Tensor

#: stands in a key where one of the op's index arrays belongs
ARRAY = object()


class Keyed(Op):
    """What the two ops below know: the key, and the shape of what it indexes. Only index arrays are kept."""

    __slots__ = ("key", "shape")

    def __init__(self, key: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    @property
    def saves_inputs(self) -> slice | bool:  # type: ignore[override]
        """The index arrays, inputs after the first."""
        return slice(1, None) if ARRAY in self.key else False


class Index(Keyed):
    """x[key]; index arrays are inputs of the op, the rest of the key is static."""

    __slots__ = ()

    @property
    def aliases(self) -> bool:  # type: ignore[override]
        return ARRAY not in self.key

    def forward(self, k: Any, x: Any, *arrays: Any) -> Any:
        key = fill(self.key, arrays)
        if not arrays and Ellipsis not in key:
            key = (*key, ...)  # for NumPy to give a view of a single element too
        return x[key]

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        arrays = node.inputs
        return gy.apply(IndexAdd(self.key, self.shape), gy, *arrays), *[None] * len(arrays)


class IndexAdd(Keyed):
    """Zeros of ``shape`` with the values added at key: a repeated index collects all of its values."""

    __slots__ = ()

    def forward(self, k: Any, values: Any, *arrays: Any) -> Any:
        dtype = values.dtype
        y = k.xp.zeros(self.shape, np.float32 if arrays and half(dtype) else dtype)
        if arrays:
            k.xp.add.at(y, fill(self.key, arrays), values)
        else:
            y[self.key] = values
        return y.astype(dtype, copy=False)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        arrays = node.inputs
        return gy.apply(Index(self.key, self.shape), gy, *arrays), *[None] * len(arrays)


class NonZero(Op):
    """Indices of the true elements, one array per axis."""

    differentiable = False
    saves_inputs = False

    def forward(self, k: Any, mask: Any) -> Any:
        return k.xp.nonzero(mask)


NONZERO = NonZero()


def fill(key: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in key)


def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key], as NumPy's; gradients of elements picked more than once add up."""
    parts = [_lifted(x, part) for part in (key if isinstance(key, tuple) else (key,))]
    for i, part in enumerate(parts):
        if _is_mask(part) and not part.ndim:  # picks from a new axis of length 1
            start = _start(x, parts, i)
            x = x.apply(Reshape(x.shape, (*x.shape[:start], 1, *x.shape[start:])), x)
            (parts[i],) = part.apply(NONZERO, part.reshape(1))
    static: list[Any] = []
    arrays: list[Tensor] = []
    for i, part in enumerate(parts):
        if not hasattr(part, "lift"):
            static.append(part)
            continue
        picked = [part]
        if _is_mask(part):
            _require_fit(x, parts, i)
            picked = list(part.apply(NONZERO, part))
        static.extend([ARRAY] * len(picked))
        arrays.extend(picked)
    try:
        return x.apply(Index(tuple(static), x.shape), x, *arrays)
    except (IndexError, OverflowError) as error:
        raise IndexError(f"indexing a Tensor of shape {x.shape}: {error}") from None


def _lifted(x: Tensor, part: Any) -> Any:
    """A part of a key: an int, a slice, None, ..., or a Tensor of integers or booleans."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return int(part)
    index = x.lift_index(part, "indexing a Tensor")
    if index.dtype.kind not in "iub":
        raise IndexError(
            f"indexing a Tensor: expected ints, slices, None, ... or integer or boolean arrays, "
            f"got {type(part).__name__} of dtype {index.dtype}"
        )
    return index


def _require_fit(x: Tensor, parts: list[Any], i: int) -> None:
    """Raise IndexError unless the mask ``parts[i]`` has the shape of the axes it picks from."""
    mask, start = parts[i], _start(x, parts, i)
    if mask.shape != x.shape[start : start + mask.ndim]:
        raise IndexError(
            f"indexing a Tensor of shape {x.shape}: a mask of shape {mask.shape} does not fit axis {start}"
        )


def _start(x: Tensor, parts: list[Any], i: int) -> int:
    """The first axis of x that ``parts[i]`` picks from."""
    if any(part is Ellipsis for part in parts[:i]):
        return x.ndim - sum(map(_axes_taken, parts[i:]))
    return sum(map(_axes_taken, parts[:i]))


def _axes_taken(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if _is_mask(part) else 1


def _is_mask(part: Any) -> bool:
    return hasattr(part, "lift") and part.dtype.kind == "b"


def setitem(x: Tensor, key: Any, value: Operand) -> None:
    """x[key] = value, in place, for a key of ints, slices, None and ..., under the rules of ``copy_``."""
    require_free("x[key] = value", x)
    view = getitem(x, key)
    if view._version is None:  # a copy: it shares no version with x
        raise TypeError(
            "x[key] = value: expected a key of ints, slices, None and ..., got an array or mask; use "
            "x = minigrad.where(mask, value, x)"
        )
    view.copy_(value)


class Indexing:
    """The methods that a Tensor has from this file."""

    __slots__ = ()

    __getitem__ = getitem
    __setitem__ = setitem
