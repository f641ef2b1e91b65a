"""The same elements in another shape or order: reshape, transpose, broadcast, concatenate, stack, pad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from ..messages import explained, kind_of, not_a_tensor, require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .methods import method, of_tensor

Shape = tuple[int, ...]

#: arrays of this many elements or more are refused: no machine has the memory
TOO_MANY = 2**40


class View(Op):
    """Base of the ops that show an array of shape ``old`` in the shape ``new``, without a copy where they can."""

    saves_inputs = False
    aliases = True
    __slots__ = ("new", "old")

    def __init__(self, old: Shape, new: Shape) -> None:
        self.old, self.new = old, new


class Reshape(View):
    def forward(self, k: Any, x: Any) -> Any:
        return x.reshape(self.new)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return apply(Reshape(self.new, self.old), gy)


class Transpose(Op):
    saves_inputs = False
    aliases = True
    __slots__ = ("order",)

    def __init__(self, order: Shape) -> None:
        self.order = order

    def forward(self, k: Any, x: Any) -> Any:
        return x.transpose(self.order)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        inverse = tuple(sorted(range(len(self.order)), key=self.order.__getitem__))
        return apply(Transpose(inverse), gy)


class BroadcastTo(View):
    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.broadcast_to(x, self.new)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        lead = len(self.new) - len(self.old)
        stretched = (i + lead for i, n in enumerate(self.old) if n != self.new[i + lead])
        return gy.sum((*range(lead), *stretched), keepdims=True).reshape(self.old)


class Concatenate(Op):
    saves_inputs = False
    __slots__ = ("axis", "sizes")

    def __init__(self, axis: int, sizes: Shape) -> None:
        self.axis, self.sizes = axis, sizes

    def forward(self, k: Any, *parts: Any) -> Any:
        return k.concatenate(parts, self.axis)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        grads, start = [], 0
        for size, need in zip(self.sizes, needs, strict=True):
            part = (*[slice(None)] * self.axis, slice(start, start + size))
            grads.append(gy[part] if need else None)
            start += size
        return tuple(grads)


class Pad(Op):
    saves_inputs = False
    __slots__ = ("value", "widths")

    def __init__(self, widths: tuple[tuple[int, int], ...], value: float) -> None:
        self.widths, self.value = widths, value

    def forward(self, k: Any, x: Any) -> Any:
        return k.xp.pad(x, self.widths, constant_values=self.value) if self.widths else x.copy()

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        inner = zip(self.widths, gy.shape, strict=True)
        return gy[tuple(slice(before, n - after) for (before, after), n in inner)]


@method("reshape", "view")
def reshape(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape, given as ints or one tuple; one -1 is inferred from the others.

    Raises
    ------
    ValueError
        If the number of elements differs.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.arange(6).reshape(2, -1)
    Tensor([[0., 1., 2.],
            [3., 4., 5.]])
    """
    new = integers("reshape", shape)
    known, size = math.prod(n for n in new if n != -1), x._data.size
    if new.count(-1) == 1 and known and size % known == 0:
        new = tuple(size // known if n == -1 else n for n in new)
    if any(n < 0 for n in new) or math.prod(new) != size:
        raise ValueError(f"reshape: shape {x.shape} ({size} elements) does not fit {new}")
    return x if new == x.shape else apply(Reshape(x.shape, new), x)


@method()
def flatten(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """Join the axes from ``start_axis`` to ``end_axis``, both included: all of them by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.ones((5, 2, 3))
    >>> mg.flatten(x).shape, x.flatten(1).shape
    ((30,), (5, 6))
    """
    x = x if x.ndim else reshape(x, 1)
    start, end = (one_axis("flatten", a, x, x.ndim) for a in (start_axis, end_axis))
    if start > end:
        raise ValueError(f"flatten: expected start_axis <= end_axis, got {start_axis}, {end_axis}")
    middle = math.prod(x.shape[start : end + 1])
    return reshape(x, *x.shape[:start], middle, *x.shape[end + 1 :])


@method()
def transpose(x: Tensor, *axes: int | Sequence[int]) -> Tensor:
    """Axes in another order, given as ints or one tuple; reversed without one."""
    order = integers("transpose", axes) or tuple(reversed(range(x.ndim)))
    positive = tuple(a + x.ndim if a < 0 else a for a in order)
    unchanged = len(axes) == 2 and positive == (0, 1)  # what PyTorch calls exchanging these
    if unchanged or sorted(positive) != list(range(x.ndim)):
        hint = f"; x.swapaxes{order} exchanges two" if len(order) == 2 else ""
        wrong = "change nothing" if unchanged else f"are not a permutation of {x.ndim} dimensions"
        raise ValueError(f"transpose: axes {order} {wrong}{hint}")
    return apply(Transpose(positive), x)


@method()
def permute(x: Tensor, *axes: int | Sequence[int]) -> Tensor:
    """Axes in another order, given as ints or one tuple."""
    return transpose(x, integers("permute", axes))


@method()
def broadcast_to(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """x repeated along new or stretched axes to a shape given as ints or one tuple, without a copy; the gradient is
    summed back."""
    new = integers("broadcast_to", shape)
    if x.shape == new:
        return x
    lead = len(new) - x.ndim
    if (
        lead < 0
        or min(new) < 0
        or any(n not in (1, m) for n, m in zip(x.shape, new[lead:], strict=True))
    ):
        raise ValueError(f"broadcast_to: shape {x.shape} does not broadcast to {new}")
    require_size("broadcast_to", new)
    return apply(BroadcastTo(x.shape, new), x)


@explained
def concatenate(tensors: list[Tensor] | tuple[Tensor, ...], axis: int = 0) -> Tensor:
    """Tensors joined along an existing axis; they agree in dtype and in every other dimension.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.concatenate([mg.zeros(2), mg.ones(1)])
    Tensor([0., 0., 1.])
    """
    first = _first(tensors, "concatenate")
    axis = one_axis("concatenate", axis, first, first.ndim)
    rest = (*first.shape[:axis], *first.shape[axis + 1 :])
    for t in tensors:
        if (*t.shape[:axis], *t.shape[axis + 1 :]) != rest or t.ndim != first.ndim:
            raise ValueError(
                f"concatenate: shapes {first.shape} and {t.shape} differ off axis {axis}"
            )
        if t.dtype != first.dtype:
            raise TypeError(f"concatenate: dtypes {first.dtype} and {t.dtype} differ; use .astype")
    return apply(Concatenate(axis, tuple(t.shape[axis] for t in tensors)), *tensors)


@explained
def stack(tensors: list[Tensor] | tuple[Tensor, ...], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    first = _first(tensors, "stack")
    for t in tensors:
        if t.shape != first.shape:
            raise ValueError(f"stack: shapes {first.shape} and {t.shape} differ")
    axis = one_axis("stack", axis, first, first.ndim + 1)
    wide = (*first.shape[:axis], 1, *first.shape[axis:])
    return concatenate([reshape(t, wide) for t in tensors], axis)


@of_tensor
def pad(x: Tensor, widths: Any, value: float = 0.0, mode: str = "constant") -> Tensor:
    """Pad x with a constant, or with its own elements.

    Parameters
    ----------
    x : Tensor
    widths : int, (before, after) pair, or one such pair per axis
        How many elements to add at each end; an int or a single pair holds for every axis.
    value : float
        The constant, 0 by default.
    mode : {"constant", "reflect", "edge", "wrap"}
        As for ``numpy.pad``: the constant, x mirrored at its first and last element, these repeated, or x repeated.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.pad(mg.ones(2), [(1, 2)])
    Tensor([0., 1., 1., 0., 0.])
    >>> mg.pad(mg.arange(3), 2, mode="reflect")
    Tensor([2., 1., 0., 1., 2., 1., 0.])
    """
    require_numbers("pad", value=value)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        hint = {"replicate": "; this is 'edge'", "circular": "; this is 'wrap'"}.get(str(mode), "")
        raise ValueError(f"pad: expected mode constant, reflect, edge or wrap, got {mode!r}{hint}")
    if hasattr(widths, "numpy"):
        widths = widths.numpy()
    try:
        given = np.array(widths)
        pairs = np.broadcast_to(given, (x.ndim, 2)) if given.dtype.kind in "iu" else given
        if pairs.shape != (x.ndim, 2) or (pairs.size and pairs.min() < 0):
            raise ValueError
    except ValueError:  # NumPy raises it too, for ragged widths
        raise ValueError(
            f"pad: expected an int, a (before, after) pair or {x.ndim} such pairs, none negative, got {widths}"
        ) from None
    ends = tuple((int(a), int(b)) for a, b in pairs)
    require_size("pad", tuple(n + sum(e) for n, e in zip(x.shape, ends, strict=True)))
    if mode != "constant":
        return _extended(x, ends, mode)
    return apply(Pad(ends, value), x) if x.ndim else x


def _extended(x: Tensor, ends: tuple[tuple[int, int], ...], mode: str) -> Tensor:
    """x with elements of its own at the ends of each axis, which ``numpy.pad`` chooses."""
    for axis, (before, after) in enumerate(ends):
        if not before + after:
            continue
        size = x.shape[axis]
        if not size:
            raise ValueError(f"pad: shape {x.shape} has nothing along axis {axis} for {mode!r}")
        order = np.pad(np.arange(size), (before, after), mode).tolist()  # type: ignore[call-overload]
        keys = [(*[slice(None)] * axis, part) for part in (order[:before], order[before + size :])]
        before_x, after_x = ([x[key]] if key[-1] else [] for key in keys)
        x = concatenate([*before_x, x, *after_x], axis)
    return x


def integers(name: str, args: Any) -> Shape:
    """A shape or axes given to ``name`` as integers or as one sequence of them.

    Raises
    ------
    TypeError
        For anything else, such as floats and booleans.
    """
    items = args
    try:
        if len(args) == 1 and (
            not hasattr(args[0], "__index__") or getattr(args[0], "ndim", 0) > 0
        ):
            items = tuple(args[0])
        if bool in map(type, items):
            raise TypeError
        return tuple(map(index, items))
    except TypeError:
        given = ", ".join(map(str, args))
        hint = "; a dtype is given by name" if isinstance(args[-1], (type, str, np.dtype)) else ""
        raise TypeError(
            f"{name}: expected integers or one tuple of them, got {given}{hint}"
        ) from None


def sizes(name: str, args: Any) -> Shape:
    """A shape given to ``name`` as integers or as one sequence of them; ValueError for negative or absurd ones."""
    shape = integers(name, args)
    if shape and min(shape) < 0:
        raise ValueError(f"{name}: expected sizes of at least 0, got {shape}")
    require_size(name, shape)
    return shape


def require_size(name: str, shape: Shape) -> None:
    """Raise ValueError for a shape of more elements than any machine holds, empty axes not counted."""
    if math.prod(n or 1 for n in shape) >= TOO_MANY:
        raise ValueError(f"{name}: expected fewer than 2**40 elements, got shape {tuple(shape)}")


def one_axis(name: str, axis: Any, x: Tensor, ndim: int) -> int:
    """One of ``ndim`` axes as a non-negative int."""
    if not hasattr(axis, "__index__"):
        raise TypeError(f"{name}: expected axis as an int, got {axis!r}")
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for shape {x.shape}")
    return int(axis % ndim)


def _first(tensors: Any, name: str) -> Tensor:
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name}: expected a list or tuple of Tensors, got {kind_of(tensors)}")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}, tensor {i}: {not_a_tensor(t)}")
    if not tensors:
        raise ValueError(f"{name}: expected at least one Tensor, got none")
    return tensors[0]
