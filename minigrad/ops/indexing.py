"""Indexing, and assignment in place: ``x[key]``, ``x[key] = value``, ``copy_``, and the operators ``+=``, ``-=``, ...

Indexing is basic (ints, slices, None, ...) or by integer or boolean arrays, as NumPy's.

The output of a recorded op is never changed in place: its gradient would be that of the old value. Everything else is
changed by one op, which counts versions and which a capture records.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import beside, writable
from ..dtypes import floating, half
from ..op import Op
from ..tape import recording
from ..tensor import Tensor, apply
from .methods import Operand, method
from .shape import Reshape, broadcast_to

#: the placeholder in a key for one of the op's index arrays
ARRAY = object()


class Keyed(Op):
    """Base of indexing and its gradient: the key, and the shape of the indexed array. Only index arrays are saved."""

    __slots__ = ("key", "shape")

    def __init__(self, key: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    @property
    def saves_inputs(self) -> slice | bool:  # type: ignore[override]
        """The index arrays, inputs after the first."""
        return slice(1, None) if ARRAY in self.key else False


class Index(Keyed):
    """x[key]; index arrays are inputs of the op, the rest of the key is static."""

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
        return apply(IndexAdd(self.key, self.shape), gy, *arrays), *[None] * len(arrays)


class IndexAdd(Keyed):
    """Zeros of ``shape`` with the values added at key: a repeated index collects all of its values."""

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
        return apply(Index(self.key, self.shape), gy, *arrays), *[None] * len(arrays)


class NonZero(Op):
    """Indices of the true elements, one array per axis."""

    differentiable = False

    def forward(self, k: Any, mask: Any) -> Any:
        return k.xp.nonzero(mask)


class Assign(Op):
    """a[...] = b, of one dtype and shape: the op of every change in place."""

    writes = 1
    differentiable = False

    def forward(self, k: Any, a: Any, b: Any) -> None:
        a[...] = b.copy() if k.xp.may_share_memory(a, b) else b


NONZERO, ASSIGN = NonZero(), Assign()


def fill(key: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The key with the index arrays in their places."""
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in key)


@method("__getitem__")
def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key], as NumPy's; gradients of elements picked more than once add up."""
    parts = [_lifted(x, part) for part in (key if isinstance(key, tuple) else (key,))]
    for i, part in enumerate(parts):
        if _is_mask(part) and not part.ndim:  # indexes a new axis of length 1
            start = _start(x, parts, i)
            x = apply(Reshape(x.shape, (*x.shape[:start], 1, *x.shape[start:])), x)
            (parts[i],) = apply(NONZERO, part.reshape(1))
    static: list[Any] = []
    arrays: list[Tensor] = []
    for i, part in enumerate(parts):
        if not isinstance(part, Tensor):
            static.append(part)
            continue
        picked = [part]
        if _is_mask(part):
            _require_fit(x, parts, i)
            picked = list(apply(NONZERO, part))
        static.extend([ARRAY] * len(picked))
        arrays.extend(picked)
    try:
        return apply(Index(tuple(static), x.shape), x, *arrays)
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
            f"got {type(part).__name__} of dtype {index.dtype}; cast it with .astype('int64')"
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
    return isinstance(part, Tensor) and part.dtype.kind == "b"


@method("__setitem__")
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


@method()
def copy_(self: Tensor, source: Operand) -> Tensor:
    """Copy the values of ``source`` into this tensor, in place, and return it.

    Parameters
    ----------
    source : Tensor, array, list or number
        On any backend; it broadcasts to this tensor's shape and takes its dtype.

    Raises
    ------
    RuntimeError
        Outside of ``no_grad``: if this tensor or ``source`` requires a gradient. Anywhere: if a recorded op computed
        this tensor.
    TypeError
        For a dtype that this one's kind of numbers can't hold, such as floats for an integer tensor.
    ValueError
        If the shapes don't broadcast, or this tensor's memory can't be written to.

    Examples
    --------
    >>> import minigrad as mg
    >>> w = mg.zeros(3, requires_grad=True)
    >>> with mg.no_grad():
    ...     w.copy_([1, 2, 3])
    Tensor([1., 2., 3.], requires_grad=True)
    """
    require_free("copy_", self)
    with beside(self._data):
        source = self.lift(source, ASSIGN).to(self.backend)
        if source.requires_grad and recording.get():
            raise RuntimeError(
                "copy_: the source requires a gradient, which would not flow through the copy; use "
                "source.detach(), or no_grad"
            )
        return _assign("copy_", self, source)


def require_free(name: str, x: Tensor) -> None:
    """Raise RuntimeError unless x may be changed in place."""
    if not x.is_leaf:
        raise RuntimeError(
            f"{name}: this tensor was computed by a recorded op, so it can't be changed in place; change "
            "x.detach(), or compute a new tensor"
        )
    if x.requires_grad and recording.get():
        raise RuntimeError(
            f"{name}: a leaf that requires a gradient can be changed in place only under "
            "minigrad.no_grad()"
        )


def _assign(name: str, x: Tensor, value: Tensor) -> Tensor:
    """Write ``value`` into the memory of x, if that can hold it."""
    a, b = value.dtype, x.dtype
    if not floating(b) and (floating(a) or not np.can_cast(a, b, "same_kind")):
        raise TypeError(f"{name}: {a} values don't fit into a tensor of dtype {b}; use .astype")
    if not writable(x._data):
        raise ValueError(
            f"{name}: this tensor's memory can't be written to, since it is read-only or its elements "
            "share it (broadcast_to); copy it with minigrad.tensor"
        )
    apply(ASSIGN, x, broadcast_to(value.astype(b), x.shape))
    return x


def _in_place(symbol: str, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The in-place form of an operator; see ``Tensor``."""

    def changed(self: Tensor, other: Operand) -> Any:
        if self.is_leaf:
            require_free(symbol, self)
        result = function(self, other)
        if result.requires_grad or not self.is_leaf:
            return result
        if result.shape != self.shape:
            raise ValueError(
                f"{symbol}: the result has shape {result.shape}, expected {self.shape}"
            )
        return _assign(symbol, self, result)

    return changed


for _name, _symbol, _function in (
    ("__iadd__", "+=", operator.add),
    ("__isub__", "-=", operator.sub),
    ("__imul__", "*=", operator.mul),
    ("__itruediv__", "/=", operator.truediv),
    ("__ipow__", "**=", operator.pow),
    ("__imatmul__", "@=", operator.matmul),
):
    method(_name)(_in_place(_symbol, _function))
