"""Changing a tensor in place: copying into it, and the operators ``+=``, ``-=``, ...

What a recorded op computed is never changed: the tape knows it by its node, and would go backward as if nothing had
happened. Everything else is changed by one op, so that versions are counted and a capture sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import beside, writable
from ..dtypes import floating
from ..op import Op
from ..tape import recording
from .shape import broadcast_to

if TYPE_CHECKING:
    from ..tensor import Operand, Tensor


class Assign(Op):
    """a[...] = b, of one dtype and shape: what changes a tensor in place."""

    writes = 1
    saves_inputs = False
    differentiable = False

    def forward(self, k: Any, a: Any, b: Any) -> None:
        a[...] = b.copy() if k.xp.may_share_memory(a, b) else b


ASSIGN = Assign()


def in_place(symbol: str, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The in-place form of an operator; see ``Tensor``."""

    def changed(self: Any, other: Operand) -> Any:
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


def copy_(self: Any, source: Operand) -> Any:
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
    """Raise RuntimeError if the tape does not allow that x is changed in place."""
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
    x.apply(ASSIGN, x, broadcast_to(value.astype(b), x.shape))
    return x
