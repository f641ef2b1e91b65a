"""Operators that move elements around, and those whose results depend on sizes alone; see ``operators``.

What depends on sizes alone (``Shape``, and arithmetic with what it gives) is computed on the host, and stands in a
captured graph as constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import shape as shapes
from ...tensor import Tensor
from .room import Room, Scalar, Vector, each_axis, one_axis


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> np.ndarray:
    return np.array(x.shape[start:end], np.int64)


def reshape(x: Tensor, shape: Vector, *, allowzero: int = 0) -> Tensor:
    """A 0 stands for the size that is there, unless it is allowed to mean itself."""
    new = list(shape)
    if not allowzero:
        if 0 in new[x.ndim :]:
            raise ValueError(f"shape {shape} copies an axis that {x.shape} does not have")
        new = [x.shape[i] if n == 0 else n for i, n in enumerate(new)]
    rest = math.prod(n for n in new if n != -1)
    if not x.size and rest:
        new = [0 if n == -1 else n for n in new]
    return x.reshape(tuple(new))


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = one_axis(axis, x.ndim) if axis != x.ndim else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def transpose(x: Tensor, *, perm: Vector | None = None) -> Tensor:
    if perm is not None and sorted(perm) != list(range(x.ndim)):
        raise ValueError(f"perm {perm} is no permutation of the axes of {x.shape}")
    return x.transpose(perm) if perm else x.transpose()


def squeeze(x: Tensor, axes: Vector | None = None) -> Tensor:
    gone = [i for i, n in enumerate(x.shape) if n == 1]
    if axes is not None:
        gone, ones = each_axis(axes, x.ndim), gone
        if not set(gone) <= set(ones):
            raise ValueError(f"expected sizes of 1 along the axes {axes}, got shape {x.shape}")
    return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in gone))


def unsqueeze(x: Tensor, axes: Vector) -> Tensor:
    rank = x.ndim + len(axes)
    new, sizes = each_axis(axes, rank), iter(x.shape)
    return x.reshape(tuple(1 if i in new else next(sizes) for i in range(rank)))


def concat(*xs: Tensor, axis: int, room: Room) -> Tensor:
    room((sum(x.size for x in xs),), xs[0].dtype)
    return shapes.concatenate(xs, axis)


def slice_(
    x: Tensor,
    starts: Vector,
    ends: Vector,
    axes: Vector | None = None,
    steps: Vector | None = None,
) -> Tensor:
    chosen = each_axis(range(len(starts)) if axes is None else axes, x.ndim)
    steps = (1,) * len(starts) if steps is None else steps
    cut = [slice(None)] * x.ndim
    for a, start, end, step in zip(chosen, starts, ends, steps, strict=True):
        # Backwards a start before the first element is the first, other than in Python.
        cut[a] = slice(max(start, -x.shape[a]) if step < 0 else start, end, step)
    return x[tuple(cut)]


def gather(x: Tensor, indices: Tensor, *, axis: int = 0, room: Room) -> Tensor:
    axis = one_axis(axis, x.ndim)
    room((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    key = (*[slice(None)] * axis, indices)
    return x[key]


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0, room: Room) -> Tensor:
    places = indices.shape[-1] if indices.ndim else 0
    if batch_dims or not 1 <= places <= x.ndim:
        raise ValueError(
            f"expected indices of 1 to {x.ndim} axes and batch_dims=0, got shape {indices.shape} and {batch_dims}"
        )
    room((*indices.shape[:-1], *x.shape[places:]), x.dtype)
    return x[tuple(indices[..., i] for i in range(places))]


def pad(
    x: Tensor,
    pads: Vector,
    value: Scalar | None = None,
    axes: Vector | None = None,
    *,
    mode: str = "constant",
    room: Room,
) -> Tensor:
    """By a constant, where negative widths cut off, or by elements of x."""
    chosen = each_axis(range(x.ndim) if axes is None else axes, x.ndim)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ValueError(f"expected mode constant, reflect, edge or wrap, got {mode!r}")
    if len(pads) != 2 * len(chosen):
        raise ValueError(f"expected {2 * len(chosen)} widths, got {pads}")
    if mode != "constant" and min(pads, default=0) < 0:
        raise ValueError(f"expected widths >= 0 for mode {mode!r}, got {pads}")
    widths = [(0, 0)] * x.ndim
    for a, before, after in zip(chosen, pads, pads[len(chosen) :], strict=False):
        widths[a] = before, after
    added = [(max(b, 0), max(a, 0)) for b, a in widths]
    room([n + sum(w) for n, w in zip(x.shape, added, strict=True)], x.dtype)
    if mode == "constant":
        x = shapes.pad(x, added, 0 if value is None else value)
    else:
        growth = [sum(w) / max(n, 1) for n, w in zip(x.shape, added, strict=True)]
        for a in np.argsort(growth).tolist():  # the longest axis last: the others are copied less
            before, after = added[a]
            if before or after:
                room((before + x.shape[a] + after, 64))
                source = _padded(mode, np.arange(-before, x.shape[a] + after), x.shape[a])
                key = (*[slice(None)] * a, source.tolist())
                x = x[key]
    cut = [(max(-b, 0), max(-a, 0)) for b, a in widths]
    return x[tuple(slice(b, max(n - a, 0)) for (b, a), n in zip(cut, x.shape, strict=True))]


def _padded(mode: str, places: np.ndarray, n: int) -> np.ndarray:
    """Which of n elements are at ``places``, some of them outside."""
    if not n:
        raise ValueError(f"expected elements to copy for mode {mode!r}, got none")
    if mode == "edge":
        return places.clip(0, n - 1)
    if mode == "wrap":
        return places % n
    period = max(2 * (n - 1), 1)
    return np.minimum(places % period, period - places % period)


def expand(x: Tensor, shape: Vector, *, room: Room) -> Tensor:
    new = np.broadcast_shapes(x.shape, shape)
    room(new, x.dtype)
    return x.broadcast_to(new)


SHAPES: dict[str, Callable[..., Any]] = {
    "Concat": concat,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherND": gather_nd,
    "Pad": pad,
    "Reshape": reshape,
    "Shape": shape_of,
    "Slice": slice_,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
