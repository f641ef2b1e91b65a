"""Matrix multiplication, batched over leading axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..op import Op

if TYPE_CHECKING:
    from ..tensor import Operand, Tensor


class MatMul(Op):
    """(..., n, k) @ (..., k, m) -> (..., n, m)."""

    def forward(self, k: Any, a: Any, b: Any) -> Any:
        return a @ b

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        a, b = node.inputs
        ga = gy @ matrix_transpose(b) if needs[0] else None
        gb = matrix_transpose(a) @ gy if needs[1] else None
        return ga, gb


MATMUL = MatMul()


def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    return x.transpose(*range(x.ndim - 2), -1, -2)


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
        return matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    lead_a, lead_b = a.shape[:-2], b.shape[:-2]
    if lead_a != lead_b:
        try:
            lead = np.broadcast_shapes(lead_a, lead_b)
        except ValueError:
            raise ValueError(
                f"matmul: leading axes of shapes {a.shape} and {b.shape} do not broadcast"
            ) from None
        a = a.broadcast_to((*lead, *a.shape[-2:]))
        b = b.broadcast_to((*lead, *b.shape[-2:]))
    return a.apply(MATMUL, a, b)


class Matrices:
    """The methods that a Tensor has from this file."""

    __slots__ = ()

    __matmul__ = matmul

    def __rmatmul__(self: Any, other: Operand) -> Any:
        return matmul(self.lift(other, MATMUL), self)
