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
    axis = x.ndim - ndim
    seen = x.shape if axis else (1, *x.shape)  # a single example
    return _normalized("layer_norm", x, seen, axis or 1, slice(axis, x.ndim), eps, gamma, beta)


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
        Must divide the channels, else a ValueError.
    gamma, beta : Tensor or None, shape (channels,)
        Scale and shift; None is 1 and 0.
    eps
        As for ``layer_norm``, whose errors are raised too.

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
    return _normalized("group_norm", x, grouped, 2, slice(1, 2), eps, gamma, beta)


def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each channel of each example (Ulyanov et al. 2016, arXiv:1607.08022).

    Parameters
    ----------
    x : Tensor, shape (n, channels, ...)
        At least three axes, and two values per channel.
    gamma, beta, eps
        As for ``group_norm``, of which this is the case of a group for each channel.
    """
    require_floating("instance_norm", x)
    if x.ndim < 3:
        raise ValueError(f"instance_norm: expected x of shape (n, channels, ...), got {x.shape}")
    return _normalized("instance_norm", x, x.shape, 2, slice(1, 2), eps, gamma, beta)


def _normalized(
    name: str,
    x: Tensor,
    seen: tuple[int, ...],
    kept: int,
    features: slice,
    eps: float,
    gamma: Any,
    beta: Any,
) -> Tensor:
    """Normalize x, reshaped to ``seen``, over the axes after the first ``kept``; then scale and shift ``features``.

    float16 and bfloat16 are rounded once, at the end.
    """
    require_tensor(name, gamma=gamma, beta=beta)
    require_dtype(name, x, statistics_dtype, gamma=gamma, beta=beta)
    require_numbers(name, eps=eps)
    shape, y = x.shape[features], x.widened()
    for argument, value in (("gamma", gamma), ("beta", beta)):
        if value is not None and value.shape != shape:
            raise ValueError(f"{name}: expected {argument} of shape {shape}, got {value.shape}")
    if math.prod(seen[kept:]) == 1 and x.size:
        raise ValueError(
            f"{name}: expected at least 2 values that are normalized together, got 1 from shape {x.shape}: "
            "their variance says nothing"
        )
    if x.size:  # else there is nothing to normalize, and no statistics
        axes = tuple(range(kept))
        y = batch_norm(y.reshape(seen), None, None, axes, eps)[0].reshape(x.shape)
    wide = (*shape, *[1] * (x.ndim - features.stop))
    y = y if gamma is None else y * gamma.reshape(wide)
    return (y if beta is None else y + beta.reshape(wide)).astype(x.dtype)
