"""Operators that move elements around, and those whose results are known without a look at any.

Shapes, axes and indices are ``Static``: arrays on the host. Of those, what depends on sizes alone (``Shape``, and
arithmetic with what it gives) is computed on the host too, and stands in a captured graph as constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import shape as shapes
from ...tensor import Tensor
from .protobuf import MOST_BYTES
from .schema import Array, Floats, Ints, Static


def constant(
    *,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: Floats | None = None,
    value_int: int | None = None,
    value_ints: Ints | None = None,
) -> np.ndarray:
    if value is not None:
        return value
    for given, dtype in (
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_int, np.int64),
        (value_ints, np.int64),
    ):
        if given is not None:
            return np.array(given, dtype)
    raise ValueError("it has no value")


def constant_of_shape(shape: Static, *, value: Array | None = None) -> np.ndarray:
    one = np.zeros(1, np.float32) if value is None else value
    if one.size != 1:
        raise ValueError(f"expected a value of one element, got shape {one.shape}")
    new = tuple(shape.tolist())
    _require_room(new, one.dtype)
    return np.full(new, one.item(), one.dtype)


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> np.ndarray:
    return np.array(x.shape[start:end], np.int64)


def reshape(x: Tensor, shape: Static, *, allowzero: int = 0) -> Tensor:
    """A 0 stands for the size that is there, unless it is allowed to mean itself."""
    new = shape.tolist()
    if not allowzero:
        if any(n == 0 for n in new[x.ndim :]):
            raise ValueError(f"shape {new} copies an axis that {x.shape} does not have")
        new = [x.shape[i] if n == 0 else n for i, n in enumerate(new)]
    if -1 in new and 0 in x.shape:
        rest = math.prod(n for n in new if n != -1)
        new = [0 if n == -1 and rest else n for n in new]
    return x.reshape(*new)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"axis {axis} is out of range for {x.ndim} dimensions")
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    if perm is not None and len(perm) != x.ndim:
        raise ValueError(f"perm {perm} does not fit the shape {x.shape}")
    return x.transpose(perm) if perm else x.transpose()


def squeeze(x: Tensor, at: Static | None = None, *, axes: Ints | None = None) -> Tensor:
    chosen = axes if at is None else at.tolist()
    gone = (
        [i for i, n in enumerate(x.shape) if n == 1]
        if chosen is None
        else [_axis(a, x.ndim) for a in chosen]
    )
    return x.reshape(*(n for i, n in enumerate(x.shape) if i not in gone))


def unsqueeze(x: Tensor, at: Static | None = None, *, axes: Ints | None = None) -> Tensor:
    chosen = list((axes or ()) if at is None else at.tolist())
    rank = x.ndim + len(chosen)
    new = {_axis(a, rank) for a in chosen}
    if len(new) < len(chosen):
        raise ValueError(f"an axis is given twice in {chosen}")
    sizes = iter(x.shape)
    return x.reshape(*(1 if i in new else next(sizes) for i in range(rank)))


def concat(*xs: Tensor, axis: int) -> Tensor:
    return shapes.concatenate(xs, axis)


def split(
    x: Tensor,
    sizes: Static | None = None,
    *,
    axis: int = 0,
    split: Ints | None = None,
    num_outputs: int | None = None,
    made: int,
) -> tuple[Tensor, ...]:
    """In equal parts, but for the last, unless sizes are given."""
    axis = _axis(axis, x.ndim)
    n, given = x.shape[axis], split if sizes is None else sizes.tolist()
    if given is None:
        part = -(-n // (num_outputs or made))
        given = [min(part, n - i * part) for i in range(made)]
    if len(given) != made or sum(given) != n or min(given) < 0:
        raise ValueError(f"parts {list(given)} do not fit {made} outputs and an axis of {n}")
    ends = np.cumsum(given).tolist()
    before = (slice(None),) * axis
    parts = [(*before, slice(e - g, e)) for g, e in zip(given, ends, strict=True)]
    return tuple([x[part] for part in parts])


def slice_(
    x: Tensor,
    first: Static | None = None,
    last: Static | None = None,
    along: Static | None = None,
    by: Static | None = None,
    *,
    starts: Ints | None = None,
    ends: Ints | None = None,
    axes: Ints | None = None,
) -> Tensor:
    begin, stop = (s if d is None else d.tolist() for s, d in ((starts, first), (ends, last)))
    if begin is None or stop is None or len(begin) != len(stop):
        raise ValueError(f"expected as many starts as ends, got {begin} and {stop}")
    chosen = axes if along is None else along.tolist()
    chosen = range(len(begin)) if chosen is None else chosen
    steps = [1] * len(begin) if by is None else by.tolist()
    cut = [slice(None)] * x.ndim
    for a, start, end, step in zip(chosen, begin, stop, steps, strict=True):
        cut[_axis(a, x.ndim)] = slice(start, end, step)
    return x[tuple(cut)]


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    key = (*[slice(None)] * _axis(axis, x.ndim), indices)
    return x[key]


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise ValueError("expected batch_dims=0")
    return x[tuple(indices[..., i] for i in range(indices.shape[-1]))]


def pad(
    x: Tensor,
    sides: Static | None = None,
    fill: Static | None = None,
    along: Static | None = None,
    *,
    mode: str = "constant",
    pads: Ints | None = None,
    value: float = 0.0,
) -> Tensor:
    """By a constant, or by elements of x, whose indices are padded in its place; negative widths cut off."""
    given = pads if sides is None else sides.tolist()
    chosen = range(x.ndim) if along is None else [_axis(a, x.ndim) for a in along.tolist()]
    if given is None or len(given) != 2 * len(chosen):
        raise ValueError(f"expected {2 * len(chosen)} widths, got {given}")
    widths = [(0, 0)] * x.ndim
    for i, a in enumerate(chosen):
        widths[a] = given[i], given[i + len(chosen)]
    added = [(max(b, 0), max(a, 0)) for b, a in widths]
    _require_room([n + sum(w) for n, w in zip(x.shape, added, strict=True)], x.dtype)
    if mode == "constant":
        x = shapes.pad(x, added, value if fill is None else fill.item())
    elif mode in ("reflect", "edge", "wrap"):
        for a, width in enumerate(added):
            if any(width):
                source = np.pad(np.arange(x.shape[a]), width, mode)  # type: ignore[call-overload]
                key = (*[slice(None)] * a, source.tolist())
                x = x[key]
    else:
        raise ValueError(f"expected mode constant, reflect, edge or wrap, got {mode!r}")
    cut = [(max(-b, 0), max(-a, 0)) for b, a in widths]
    return x[tuple(slice(b, n - a) for (b, a), n in zip(cut, x.shape, strict=True))]


def expand(x: Tensor, shape: Static) -> Tensor:
    new = np.broadcast_shapes(x.shape, tuple(shape.tolist()))
    _require_room(new, x.dtype)
    return x.broadcast_to(new)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {rank} dimensions")
    return axis % rank


def _require_room(shape: Any, dtype: np.dtype) -> None:
    """Raise before what a file asks for takes all memory."""
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise ValueError(f"shape {tuple(shape)} is negative, or more than 2 GiB")


SHAPES: dict[str, Callable[..., Any]] = {
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherND": gather_nd,
    "Pad": pad,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": lambda x: np.array(x.size),
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
