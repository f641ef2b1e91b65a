"""Compositions of reshape, transpose, broadcasting and slices: ravel, squeeze, swapaxes, tile, repeat, split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..tensor import Tensor
from .methods import Axes, method, of_tensor
from .shape import broadcast_to, integers, one_axis, reshape, sizes, transpose


@method()
def ravel(x: Tensor) -> Tensor:
    """All elements along one axis."""
    return reshape(x, x.size)


@method()
def squeeze(x: Tensor, axis: Axes = None) -> Tensor:
    """Drop axes of size 1: all, or those given, of which another size is a ValueError as in NumPy."""
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    gone = {one_axis("squeeze", a, x, x.ndim) for a in given}
    if wide := [a for a in gone if x.shape[a] != 1]:
        raise ValueError(f"squeeze: expected axis {wide[0]} of size 1, got shape {x.shape}")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@method()
def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """Insert an axis of size 1 at ``axis``."""
    axis = one_axis("unsqueeze", axis, x, x.ndim + 1)
    return reshape(x, *x.shape[:axis], 1, *x.shape[axis:])


@method()
def swapaxes(x: Tensor, axis1: int, axis2: int) -> Tensor:
    """Exchange two axes."""
    a, b = (one_axis("swapaxes", axis, x, x.ndim) for axis in (axis1, axis2))
    return transpose(x, [{a: b, b: a}.get(i, i) for i in range(x.ndim)])


@method()
def tile(x: Tensor, *reps: int | Sequence[int]) -> Tensor:
    """x beside itself ``reps`` times along each axis, given as ints or one tuple; PyTorch's ``repeat``.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tensor([1, 2]).tile(2, 2)
    Tensor([[1., 2., 1., 2.],
            [1., 2., 1., 2.]])
    """
    times = sizes("tile", reps)
    n = max(len(times), x.ndim)
    times, old = (*[1] * (n - len(times)), *times), (*[1] * (n - x.ndim), *x.shape)
    pairs = [m for pair in zip(times, old, strict=True) for m in pair]
    wide = broadcast_to(reshape(x, [1 if i % 2 == 0 else m for i, m in enumerate(pairs)]), pairs)
    return reshape(wide, [r * m for r, m in zip(times, old, strict=True)])


@method()
def repeat(x: Tensor, *repeats: int, axis: Any = ...) -> Tensor:
    """Each element ``repeats`` times along ``axis`` (of the flattened Tensor for None), as NumPy's.

    The axis is given by name, since ``x.repeat(2, 1)`` is a tiling in PyTorch: see ``tile``.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tensor([1, 2]).repeat(2, axis=0)
    Tensor([1., 1., 2., 2.])
    """
    if len(repeats) != 1 or axis is ... or not hasattr(repeats[0], "__index__"):
        raise TypeError(
            f"repeat: expected one int and axis=..., got {', '.join(map(str, repeats))}: elements are repeated by "
            "x.repeat(2, axis=0), as in NumPy, and the whole by x.tile(2, 1), PyTorch's repeat"
        )
    (times,) = sizes("repeat", repeats)
    if axis is None:
        x, axis = ravel(x), 0
    axis = one_axis("repeat", axis, x, x.ndim)
    before, (n, *after) = x.shape[:axis], x.shape[axis:]
    wide = broadcast_to(unsqueeze(x, axis + 1), (*before, n, times, *after))
    return reshape(wide, *before, n * times, *after)


@of_tensor
def split(
    x: Tensor, *given: Any, sizes: Any = None, sections: int | None = None, axis: int = 0
) -> tuple[Tensor, ...]:
    """The parts of x along ``axis``, as views: a tuple.

    Parameters
    ----------
    x : Tensor
    sizes : int or sequence of ints
        The size of each part, as PyTorch's; with an int the last part may be smaller. The method ``x.split(sizes)``
        takes it without a name.
    sections : int
        The number of equal parts, as NumPy's. Either this or ``sizes`` is given, and by name: ``split(x, 3)`` has
        another result in PyTorch than in NumPy.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.split(mg.arange(3), sizes=2)
    (Tensor([0., 1.]), Tensor([2.]))
    """
    axis = one_axis("split", axis, x, x.ndim)
    n = x.shape[axis]
    if given or (sizes is None) == (sections is None):
        raise TypeError(
            "split: expected sizes=..., the size of each part (PyTorch's), or sections=..., their number (NumPy's)"
        )
    if sections is not None:
        (count,) = integers("split, sections", (sections,))
        if count < 1 or n % count:
            raise ValueError(f"split: {n} elements along axis {axis} are not {count} equal parts")
        sizes = (n // count,) * count
    widths = integers("split, sizes", (sizes,))
    if hasattr(sizes, "__index__"):
        (width,) = widths
        if width < 1:
            raise ValueError(f"split: expected sizes >= 1, got {width}")
        widths = tuple(min(width, n - start) for start in range(0, max(n, 1), width))
    if sum(widths) != n or min(widths, default=0) < 0:
        raise ValueError(f"split: sizes {widths} do not add up to the {n} of axis {axis}")
    before, ends = (slice(None),) * axis, accumulate(widths)
    keys = [(*before, slice(e - w, e)) for e, w in zip(ends, widths, strict=True)]
    return tuple(x[key] for key in keys)


@method("split")
def _parts(x: Tensor, sizes: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of these sizes along ``axis``, as views: a tuple. With an int the last part may be smaller."""
    return split(x, sizes=sizes, axis=axis)
