"""Products and norms; see ``operators``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops.batch_norm import batch_norm, frozen_batch_norm, statistics_dtype
from ...ops.linear import linear
from ...ops.matmul import matmul
from ...ops.normalization import group_norm, instance_norm
from ...tensor import Tensor
from .room import Room, one_axis


def product(a: Tensor, b: Tensor, *, room: Room) -> Tensor:
    """The larger operand's leading axes, at most, are copied for the other."""
    rows, columns = (a.shape[-2:-1], b.shape[-1:]) if b.ndim > 1 else (a.shape[-2:-1], ())
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    for t in (a, b):
        room((*lead, *t.shape[-2:]) if b.ndim > 2 else t.shape, a.dtype)
    work = math.prod((*lead, *rows, *columns, *a.shape[-1:])) * _slowness(a)
    room((*lead, *rows, *columns), a.dtype, work)
    return matmul(a, b)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    room: Room,
) -> Tensor:
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected two matrices, got shapes {a.shape} and {b.shape}")
    a = a.T if transA else a
    shape = a.shape[0], b.shape[0 if transB else 1]
    room((3, *shape), a.dtype, math.prod((*shape, a.shape[1])) * _slowness(a))
    if c is not None and np.broadcast_shapes(c.shape, shape) != shape:
        raise ValueError(f"shape {c.shape} does not broadcast to that of the product, {shape}")
    plain = transB and alpha == beta == 1 and a.dtype.kind == "f"
    if plain and (c is None or c.shape == b.shape[:1]):
        return linear(a, b, c)
    y = matmul(a, b.T if transB else b)
    y = y if alpha == 1 else y * alpha
    if c is not None and beta:
        y = y + (c if beta == 1 else c * beta)
    return y.astype(a.dtype)


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Any:
    """In training mode also the running statistics, moved by the batch's, whose variance is biased in ONNX."""
    if not spatial:
        raise ValueError("statistics for each activation (spatial=0) are not read")
    dtype, kept = statistics_dtype(x.dtype), mean.dtype
    scale, bias, mean, var = (t.astype(dtype) for t in (scale, bias, mean, var))
    if not training_mode:
        return frozen_batch_norm(x, scale, bias, mean, var, eps=epsilon)
    y, own_mean, own_var = batch_norm(x, scale, bias, eps=epsilon)
    if mean.shape != own_mean.shape or var.shape != own_var.shape:
        raise ValueError(
            f"expected statistics of shape {own_mean.shape}, got {mean.shape} and {var.shape}"
        )
    moved = (
        running * momentum + own * (1 - momentum)
        for running, own in ((mean, own_mean), (var, own_var))
    )
    return y, *(m.astype(kept) for m in moved)


def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    room: Room,
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row over the axes from ``axis`` on; also its mean and the inverse of its standard deviation."""
    if stash_type != 1:
        raise ValueError(f"expected statistics in float32 (stash_type=1), got {stash_type}")
    room((4, *x.shape), x.dtype)
    for t in (scale,) if bias is None else (scale, bias):
        if np.broadcast_shapes(x.shape, t.shape) != x.shape:
            raise ValueError(f"shape {t.shape} of a parameter does not broadcast to {x.shape}")
    axis = one_axis(axis, x.ndim)
    lead, features = x.shape[:axis], math.prod(x.shape[axis:])
    y, mean, var = batch_norm(x.reshape(math.prod(lead), features), None, None, 0, epsilon)
    y = y.reshape(x.shape) * scale
    y = y if bias is None else y + bias
    inv_std = 1 / (var + epsilon).sqrt()
    ones = (1,) * (x.ndim - axis)
    mean, inv_std = (t.reshape((*lead, *ones)).astype(np.float32) for t in (mean, inv_std))
    return y, mean, inv_std


def instance_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, room: Room
) -> Tensor:
    room((3, *x.shape), x.dtype)
    dtype = statistics_dtype(x.dtype)
    return instance_norm(x, scale.astype(dtype), bias.astype(dtype), epsilon)


def group_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    opset: int,
    room: Room,
) -> Tensor:
    """Before opset 21 with a scale and a bias for each group, from there on for each channel."""
    room((3, *x.shape), x.dtype)
    dtype = statistics_dtype(x.dtype)
    gamma, beta = scale.astype(dtype), bias.astype(dtype)
    if opset < 21:
        if gamma.shape != (num_groups,) or beta.shape != (num_groups,) or x.ndim < 2:
            raise ValueError(f"expected parameters of shape ({num_groups},), got {gamma.shape}")
        each = x.shape[1] // num_groups
        gamma, beta = (
            t.reshape(num_groups, 1).broadcast_to((num_groups, each)).reshape(num_groups * each)
            for t in (gamma, beta)
        )
    return group_norm(x, num_groups, gamma, beta, epsilon)


def _slowness(x: Tensor) -> int:
    """Products of integers are no BLAS's."""
    return 1 if x.dtype.kind == "f" else 32


LAYERS: dict[str, Callable[..., Any]] = {
    "BatchNormalization": batch_normalization,
    "Gemm": gemm,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "MatMul": product,
}
