"""The siblings of batch norm: the same statistics over other axes, so that no example depends on another.

Each is ``batch_norm`` without gamma and beta along other axes, then scaled and shifted per channel or feature. They
have no running statistics: training and inference are the same function.
"""

from __future__ import annotations

import math
from typing import Any

from ..messages import require_numbers
from ..tensor import Tensor
from .batch_norm import batch_norm, statistics_dtype
from .checks import require_dtype, require_floating, require_tensor


def layer_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    ndim: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each example over its features (Ba et al. 2016, arXiv:1607.06450).

    Parameters
    ----------
    x : Tensor, shape (..., features)
    gamma, beta : Tensor or None, shape of the features
        Scale and shift; None is 1 and 0.
    ndim : int
        How many of the last axes are features, 1 by default.
    eps : float
        Added to the variance, under the square root.

    Returns
    -------
    Tensor, shape and dtype of x

    Raises
    ------
    ValueError
        If x has fewer axes, an example fewer than two values, or gamma or beta have another shape.
    TypeError
        If an argument is no Tensor, or the dtypes do not fit.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.layer_norm(mg.tensor([[1, 3], [10, 30]]), eps=1e-12)
    Tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    require_floating("layer_norm", x)
    if not hasattr(ndim, "__index__") or not 0 < ndim <= x.ndim:
        raise ValueError(
            f"layer_norm: expected 1 to {x.ndim} feature axes of x {x.shape}, got ndim={ndim}"
        )
    if ndim == x.ndim:  # a single example
        return layer_norm(x.reshape(1, *x.shape), gamma, beta, ndim, eps).reshape(x.shape)
    axis = x.ndim - ndim
    kept = tuple(range(axis))
    return _normalized("layer_norm", x, x.shape, kept, eps, gamma, beta, x.shape[axis:], axis)


def group_norm(
    x: Tensor,
    groups: int,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each example over groups of its channels (Wu & He 2018, arXiv:1803.08494).

    Parameters
    ----------
    x : Tensor, shape (n, channels, ...)
    groups : int
        Must divide the channels.
    gamma, beta : Tensor or None, shape (channels,)
        Scale and shift; None is 1 and 0.
    eps : float
        Added to the variance, under the square root.

    Returns
    -------
    Tensor, shape and dtype of x

    Raises
    ------
    ValueError
        If the groups do not divide the channels, have fewer than two values, or gamma or beta have another shape.
    TypeError
        If an argument is no Tensor, or the dtypes do not fit.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.group_norm(mg.tensor([[1, 3, 10, 30]]), 2, eps=1e-12)
    Tensor([[-1.,  1., -1.,  1.]])
    """
    require_floating("group_norm", x)
    require_numbers("group_norm", groups=groups)
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"group_norm: expected groups that divide the channels of x {x.shape}, got {groups}"
        )
    grouped = x.shape[0], groups, math.prod(x.shape[1:]) // groups
    return _normalized("group_norm", x, grouped, (0, 1), eps, gamma, beta, x.shape[1:2], 1)


def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each channel of each example (Ulyanov et al. 2016, arXiv:1607.08022).

    Parameters
    ----------
    x : Tensor, shape (n, channels, ...)
        At least two values per channel.
    gamma, beta : Tensor or None, shape (channels,)
        Scale and shift; None is 1 and 0.
    eps : float
        Added to the variance, under the square root.

    Returns
    -------
    Tensor, shape and dtype of x

    Raises
    ------
    ValueError
        If there are fewer than two values per channel, or gamma or beta have another shape.
    TypeError
        If an argument is no Tensor, or the dtypes do not fit.
    """
    require_floating("instance_norm", x)
    if x.ndim < 3:
        raise ValueError(f"instance_norm: expected x of shape (n, channels, ...), got {x.shape}")
    return _normalized("instance_norm", x, x.shape, (0, 1), eps, gamma, beta, x.shape[1:2], 1)


def _normalized(
    name: str,
    x: Tensor,
    seen: tuple[int, ...],
    kept: tuple[int, ...],
    eps: float,
    gamma: Tensor | None,
    beta: Tensor | None,
    shape: tuple[int, ...],
    axis: int,
) -> Tensor:
    """Normalize x, reshaped to ``seen``, then scale and shift by gamma and beta of ``shape`` from ``axis`` on.

    float16 and bfloat16 are rounded once, at the end.
    """
    require_tensor(name, gamma=gamma, beta=beta)
    require_dtype(name, x, statistics_dtype, gamma=gamma, beta=beta)
    require_numbers(name, eps=eps)
    together = math.prod(n for i, n in enumerate(seen) if i not in kept)
    if together == 1 and x.size:
        raise ValueError(
            f"{name}: expected at least 2 values that are normalized together, got 1 from shape {x.shape}: "
            "their variance says nothing"
        )
    y = x.widened()
    if x.size:  # else there is nothing to normalize, and no statistics
        y = batch_norm(y.reshape(seen), None, None, kept, eps)[0].reshape(x.shape)
    parameters: list[Any] = []
    for argument, value in (("gamma", gamma), ("beta", beta)):
        if value is not None and value.shape != shape:
            raise ValueError(f"{name}: expected {argument} of shape {shape}, got {value.shape}")
        trailing = y.ndim - axis - len(shape)
        parameters.append(None if value is None else value.reshape(*shape, *[1] * trailing))
    scale, shift = parameters
    y = y if scale is None else y * scale
    return (y if shift is None else y + shift).astype(x.dtype)
