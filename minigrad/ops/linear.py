"""Linear layer: y = x W^T + b.

x is (..., in), W is (out, in), b is (out,), y is (..., out): every output is a weighted sum of all inputs.
"""

from __future__ import annotations

import math
from typing import Any

from ..messages import not_a_tensor
from ..op import Op
from ..tensor import Tensor, apply
from .checks import require_dtype, require_tensor
from .matmul import product


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


LINEAR = Linear()


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
