"""Matrix products, batched over leading axes, and the linear layer: y = x W^T + b.

x is (..., in), W is (out, in), b is (out,), y is (..., out): every output is a weighted sum of all inputs.
"""

from __future__ import annotations

import math
from typing import Any

from ..messages import not_a_tensor
from ..op import Op
from ..tensor import Tensor, apply
from .arithmetic import broadcast_shapes
from .checks import require_dtype, require_tensor
from .methods import Operand, method


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


class Linear(Op):
    def reference(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = x @ weight.T
        return y if bias is None else y + bias

    def forward(self, k: Any, x: Any, weight: Any, bias: Any) -> Any:
        return k.linear(x, weight, bias)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        x, weight, _ = node.inputs
        gx = product(gy, weight) if needs[0] else None
        gweight = product(gy, x, ta=True) if needs[1] else None
        gbias = gy.sum(axis=0) if needs[2] else None
        return gx, gweight, gbias


_MATMUL = {(ta, tb): MatMul(ta, tb) for ta in (False, True) for tb in (False, True)}
MATMUL = _MATMUL[False, False]
LINEAR = Linear()


def product(a: Tensor, b: Tensor, ta: bool = False, tb: bool = False) -> Tensor:
    """a @ b for operands known to fit, each transposed in its last two axes if asked for."""
    return apply(_MATMUL[ta, tb], a, b)


@method("__matmul__")
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
            lead = broadcast_shapes(lead_a, lead_b)
        except ValueError:
            raise ValueError(
                f"matmul: leading axes of shapes {a.shape} and {b.shape} do not broadcast"
            ) from None
        dtype, a, b = a.dtype, a.widened(), b.widened()  # gradients are sums of products
        a = a.broadcast_to((*lead, *a.shape[-2:]))
        b = b.broadcast_to((*lead, *b.shape[-2:]))
        return apply(MATMUL, a, b).astype(dtype)
    return apply(MATMUL, a, b)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias.

    Before a batch norm leave the bias out: the mean takes it away again, and ``beta`` does its work
    (arXiv:1502.03167, section 3.2).

    Parameters
    ----------
    x : Tensor, shape (..., in)
    weight : Tensor, shape (out, in)
    bias : Tensor, shape (out,), optional

    Returns
    -------
    Tensor, shape (..., out)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an argument is no Tensor or the dtypes differ.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.linear(mg.ones((2, 3)), mg.ones((1, 3)), mg.ones(1))
    Tensor([[4.],
            [4.]])
    """
    if not _fits(x, weight, bias):
        _refuse(x, weight, bias)
    if x.ndim == 2:
        return apply(LINEAR, x, weight, bias)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = apply(LINEAR, rows, weight, bias)
    return y.reshape(*x.shape[:-1], weight.shape[0])


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    try:
        a, w = x._data, weight._data
        fits = w.ndim == 2 and a.shape[-1] == w.shape[1] and a.dtype == w.dtype
        return fits and (
            bias is None or (bias._data.shape == w.shape[:1] and bias._data.dtype == w.dtype)
        )
    except (AttributeError, IndexError):
        return False


def _refuse(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Say what does not fit."""
    for argument, value in (("x", x), ("weight", weight)):
        if value is None:
            raise TypeError(f"linear, argument {argument}: {not_a_tensor(value)}")
    require_tensor("linear", x=x, weight=weight, bias=bias)
    if weight.ndim != 2:
        raise ValueError(f"linear: expected weight of shape (out, in), got {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: expected x of shape (..., {weight.shape[1]}) for weight {weight.shape}, "
            f"got {x.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: expected bias of shape {weight.shape[:1]}, got {bias.shape}")
    require_dtype("linear", x, weight=weight, bias=bias)


method("__rmatmul__")(lambda a, b: matmul(a.lift(b, MATMUL), a))
