"""Moving elements around: shapes, axes and indices become constants of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ops.indexing import ARRAY, Index
from ...ops.shape import BroadcastTo, Concatenate, Pad, Reshape, Transpose

if TYPE_CHECKING:
    from .writer import Step, Writer


def reshape(to: Writer, step: Step) -> str:
    return reshaped(to, step.inputs[0], step.op.new)


def reshaped(to: Writer, x: Any, shape: tuple[int, ...]) -> str:
    # A 0 would mean: as it was.
    return to.node("Reshape", x, to.integers(shape), **({"allowzero": 1} if 0 in shape else {}))


def transpose(to: Writer, step: Step) -> str:
    return to.node("Transpose", step.inputs[0], perm=step.op.order)


def broadcast_to(to: Writer, step: Step) -> str:
    return to.node("Expand", step.inputs[0], to.integers(step.op.new))


def concatenate(to: Writer, step: Step) -> str:
    return to.node("Concat", *step.inputs, axis=step.op.axis)


def pad(to: Writer, step: Step) -> str:
    (x,), widths = step.inputs, step.op.widths
    sides = to.integers([*(before for before, _ in widths), *(after for _, after in widths)])
    return to.node("Pad", x, sides, to.constant(step.op.value, x.dtype))


def index(to: Writer, step: Step) -> str:
    """Slices, and then a shape without the axes that ints took; one index array, or several for the first axes."""
    (x, *arrays), (shape, _) = step.inputs, step.outputs[0]
    key, rank = step.op.key, len(x.shape)
    if not arrays:
        return reshaped(to, sliced(to, x, _for_each_axis(key, rank)), shape)
    if len(arrays) == 1 and all(part is ARRAY or isinstance(part, slice) for part in key):
        parts = _for_each_axis([slice(None) if part is ARRAY else part for part in key], rank)
        return to.node("Gather", sliced(to, x, parts), arrays[0], axis=key.index(ARRAY))
    if all(part is ARRAY for part in key):
        common = np.broadcast_shapes(*(w.shape for w in arrays))
        columns = [_column(to, w, common) for w in arrays]
        return to.node("GatherND", x, to.node("Concat", *columns, axis=-1))
    return to.refuse(
        step.op,
        "an index of arrays is written if there is one, between slices, or nothing but arrays",
    )


def sliced(to: Writer, x: Any, parts: list[Any]) -> Any:
    """x cut along its axes; an int keeps its axis, of size 1."""
    cuts = []
    for axis, (part, n) in enumerate(zip(parts, x.shape, strict=True)):
        if not isinstance(part, slice):
            part = slice(part % n, part % n + 1)
        start, stop, step = part.indices(n)
        if (start, stop, step) != (0, n, 1):
            cuts.append((axis, start, stop if stop >= 0 else -n - 1, step))
    if not cuts:
        return x
    axes, starts, stops, steps = map(to.integers, zip(*cuts, strict=True))
    return to.node("Slice", x, starts, stops, axes, steps)


def _for_each_axis(key: Any, rank: int) -> list[Any]:
    """A key without new axes and with all that ... stands for."""
    parts = [part for part in key if part is not None]
    missing = [slice(None)] * (rank - sum(part is not Ellipsis for part in parts))
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    return [*parts[:at], *missing, *parts[at + 1 :]]


def _column(to: Writer, indices: Any, shape: tuple[int, ...]) -> str:
    wide = to.node("Expand", to.cast(indices, np.dtype(np.int64)), to.integers(shape))
    return to.node("Unsqueeze", wide, to.integers([-1]))


SHAPES: dict[type, Callable[..., Any]] = {
    Reshape: reshape,
    Transpose: transpose,
    BroadcastTo: broadcast_to,
    Concatenate: concatenate,
    Pad: pad,
    Index: index,
}
