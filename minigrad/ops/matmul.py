"""Matrix multiplication, batched over leading axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..op import Op, of_tensor
from .in_place import in_place

if TYPE_CHECKING:
    from ..tensor import Operand, Tensor


class MatMul(Op):
    """(..., n, k) @ (..., k, m) -> (..., n, m), where either operand may come transposed."""

    __slots__ = ("ta", "tb")

    def __init__(self, ta: bool, tb: bool) -> None:
        self.ta, self.tb = ta, tb

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return k.matmul(a.swapaxes(-1, -2) if self.ta else a, b.swapaxes(-1, -2) if self.tb else b)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        ta, tb = self.ta, self.tb
        ga = gb = None
        if needs[0]:
            ga = product(b, gy, tb, True) if ta else product(gy, b, False, not tb)
        if needs[1]:
            gb = product(gy, a, True, ta) if tb else product(a, gy, not ta, False)
        return ga, gb


_MATMUL = {(ta, tb): MatMul(ta, tb) for ta in (False, True) for tb in (False, True)}
MATMUL = _MATMUL[False, False]


def product(a: Tensor, b: Tensor, ta: bool = False, tb: bool = False) -> Tensor:
    """a @ b for operands known to fit, each transposed in its last two axes if asked for."""
    return a.apply(_MATMUL[ta, tb], a, b)


@of_tensor
def matmul(a: Tensor, b: Operand) -> Tensor:
    """Matrix product over the last two axes; leading axes broadcast, vectors as in NumPy.

    Raises
    ------
    ValueError
        If the inner dimensions differ, the leading axes do not broadcast, or an operand has no axis.
    TypeError
        If the dtypes differ.

    Examples
    --------
    >>> import minigrad as mg
    >>> (mg.ones((5, 2, 3)) @ mg.ones((3, 4))).shape
    (5, 2, 4)
    """
    b = a.lift(b, MATMUL)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: expected at least one axis, got shapes {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise TypeError(f"matmul: dtypes {a.dtype} and {b.dtype} differ; cast one with .astype")
    if a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ValueError(f"matmul: inner dimensions differ in shapes {a.shape} and {b.shape}")
    if a.ndim == 1:
        y = matmul(a.reshape(1, -1), b)
        return y.reshape(*y.shape[:-2], *y.shape[-1:]) if b.ndim > 1 else y.reshape(())
    if b.ndim == 1:
        return matmul(a, b.reshape(-1, 1)).reshape(a.shape[:-1])
    if a.ndim > 2 and b.ndim == 2:
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        return matmul(rows, b).reshape(*a.shape[:-1], b.shape[-1])
    lead_a, lead_b = a.shape[:-2], b.shape[:-2]
    if lead_a != lead_b:
        try:
            lead = np.broadcast_shapes(lead_a, lead_b)
        except ValueError:
            raise ValueError(
                f"matmul: leading axes of shapes {a.shape} and {b.shape} do not broadcast"
            ) from None
        dtype, a, b = a.dtype, a.widened(), b.widened()  # gradients are sums of products
        a = a.broadcast_to((*lead, *a.shape[-2:]))
        b = b.broadcast_to((*lead, *b.shape[-2:]))
        return a.apply(MATMUL, a, b).astype(dtype)
    return a.apply(MATMUL, a, b)


class Matrices:
    """The methods that a Tensor has from this file."""

    __slots__ = ()

    __matmul__ = matmul
    __imatmul__ = in_place("@=", matmul)

    def __rmatmul__(self: Any, other: Operand) -> Any:
        return matmul(self.lift(other, MATMUL), self)
