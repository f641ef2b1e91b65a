"""Batch normalization, with the statistics of the batch and with frozen ones: two ops, two graphs.

With m values x_i per channel (Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithm 1)::

    mean = 1/m sum x_i                                 mini-batch mean
    var  = 1/m sum (x_i - mean)^2                      mini-batch variance, biased
    xhat_i = (x_i - mean) / sqrt(var + eps)            normalize
    y_i  = gamma xhat_i + beta                         scale and shift

Every value of a batch influences every other's output: the gradient flows through mean and var. With frozen
statistics (Algorithm 2, line 11) it is a fixed affine map of each value by itself.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache, reduce
from operator import add
from typing import Any

import numpy as np

from ..messages import not_a_tensor, require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .checks import require_dtype, require_floating, require_tensor
from .reduction import normalize_axes

Axes = int | tuple[int, ...]


class PerChannel(Op):
    """Base of the ops with statistics per channel: ``kept`` are the feature axes. Not all need ``eps`` and ``ddof``."""

    __slots__ = ("ddof", "eps", "kept")

    def __init__(self, kept: tuple[int, ...], eps: float = 0.0, ddof: int = 0) -> None:
        self.kept, self.eps, self.ddof = kept, float(eps), ddof

    def reduced(self, x: Tensor) -> tuple[int, ...]:
        """The axes over which statistics are taken."""
        return tuple(i for i in range(x.ndim) if i not in self.kept)

    def wide(self, channels: Tensor, x: Tensor) -> Tensor:
        """Reshape per-channel values to broadcast against x."""
        return channels.reshape(tuple(n if i in self.kept else 1 for i, n in enumerate(x.shape)))

    def deviation(self, x: Tensor, mean: Tensor) -> Tensor:
        """x - mean, without the rounding error of a large mean."""
        d = x - self.wide(mean, x)
        return d - d.mean(self.reduced(x), keepdims=True)


class BatchNorm(PerChannel):
    """Algorithm 1: y, mean, var, and 1 / sqrt(var + eps), which the backward pass needs."""

    num_outputs = 4
    saves_outputs = (1, 3)
    __slots__ = ()

    def reference(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Any:
        xs = x.astype(statistics_dtype(x.dtype))
        mean, var = xs.mean(self.reduced(x)), xs.var(self.reduced(x), self.ddof)
        y = FrozenBatchNorm(self.kept, self.eps).reference(x, gamma, beta, mean, var)
        return y, mean, var, 1 / (var + self.eps).sqrt()

    def forward(self, k: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return k.batch_norm(x, gamma, beta, self.kept, self.eps, self.ddof)

    def backward(self, node: Any, needs: Any, *grads: Tensor | None) -> Any:
        (x, gamma, _), (mean, inv_std) = node.inputs, node.outputs
        gy, gmean, gvar, ginv_std = grads
        m, dtype = x.size // mean.size, x.dtype
        ggamma = gbeta = None
        terms = []
        if any([g is not None for g in grads[1:]]):
            x = x.widened()  # terms are added before they are rounded
        if gy is not None:
            op = BatchNormGrad(self.kept, ddof=self.ddof)
            gx, ggamma, gbeta = apply(op, x, gamma, mean, inv_std, gy.astype(x.dtype))
            terms.append(gx)
        if ginv_std is not None:
            through = ginv_std * inv_std**3 * -0.5
            gvar = through if gvar is None else gvar + through
        if gmean is not None:
            terms.append((self.wide(gmean, x) / m).broadcast_to(x.shape))
        if gvar is not None:
            slope = self.wide(gvar, x) * (2 / (m - self.ddof))
            terms.append(slope * self.deviation(x, mean))
        return reduce(add, terms).astype(dtype) if terms else None, ggamma, gbeta


class BatchNormGrad(PerChannel):
    """The paper's six gradient equations (section 3) in closed form, for a gradient of y alone.

    mean and inv_std, outputs of the forward op, are inputs here: a second derivative flows to x directly and through
    them.
    """

    num_outputs = 3
    __slots__ = ()

    def reference(
        self, x: Tensor, gamma: Tensor | None, mean: Tensor, inv_std: Tensor, gy: Tensor
    ) -> Any:
        m, axes = x.size // mean.size, self.reduced(x)
        inv_std, gy = self.wide(inv_std, x), gy.astype(mean.dtype)
        xhat = self.deviation(x, mean) * inv_std
        gbeta, ggamma = gy.sum(axes, keepdims=True), (gy * xhat).sum(axes, keepdims=True)
        scale = inv_std if gamma is None else self.wide(gamma, x) * inv_std
        gx = scale * (gy - gbeta / m - xhat * ggamma / (m - self.ddof))
        return gx.astype(x.dtype), ggamma.reshape(mean.shape), gbeta.reshape(mean.shape)

    def forward(self, k: Any, x: Any, gamma: Any, mean: Any, inv_std: Any, gy: Any) -> Any:
        return k.batch_norm_grad(x, gamma, mean, inv_std, gy, self.kept, self.ddof)


class FrozenBatchNorm(PerChannel):
    """Algorithm 2, line 11: the affine map of given statistics."""

    __slots__ = ()

    def reference(
        self, x: Tensor, gamma: Tensor | None, beta: Tensor | None, mean: Tensor, var: Tensor
    ) -> Tensor:
        y = (x - self.wide(mean, x)) / (self.wide(var, x) + self.eps).sqrt()
        y = y if gamma is None else self.wide(gamma, x) * y
        y = y if beta is None else y + self.wide(beta, x)
        return y.astype(x.dtype)

    def forward(self, k: Any, x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
        return k.frozen_batch_norm(x, gamma, beta, mean, var, self.kept, self.eps)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        x, gamma, _, mean, var = node.inputs
        inv_std, axes = 1 / (var + self.eps).sqrt(), self.reduced(x)
        scale = inv_std if gamma is None else gamma * inv_std
        gy = gy.astype(mean.dtype)
        gx = (gy * self.wide(scale, x)).astype(x.dtype) if needs[0] else None
        if not any(needs[1:]):
            return gx, None, None, None, None
        total, moment = gy.sum(axes), (gy * (x - self.wide(mean, x))).sum(axes)
        ggamma = None if gamma is None else moment * inv_std
        return gx, ggamma, total, -scale * total, moment * scale * inv_std**2 * -0.5


class MoveStatistics(Op):
    """Update running statistics with a batch's, in place: the averages of Algorithm 2, line 10.

    ``correction`` is the ratio of the running average's variance to the one that normalized the batch. A batch that is
    not finite changes nothing, and is an error if ``strict``. ``debiased`` divides by the sum of the weights so far.
    """

    writes = 3
    differentiable = False
    __slots__ = ("correction", "debiased", "momentum", "strict")

    def __init__(
        self, momentum: float | None, correction: float, strict: bool, debiased: bool = False
    ) -> None:
        self.momentum, self.correction = momentum, correction
        self.strict, self.debiased = strict, debiased

    def forward(self, k: Any, *arrays: Any) -> None:
        k.move_statistics(*arrays, self.momentum, self.correction, self.debiased, self.strict)


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    axis: Axes = 1,
    eps: float = 1e-3,
    ddof: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize each channel by the statistics of this batch, then scale and shift (arXiv:1502.03167, Algorithm 1).

    Gradients flow through the statistics (the six equations of section 3), and from ``mean`` and ``var`` wherever they
    are used: all three outputs are differentiable, to any order. With gamma = sqrt(var + eps) and beta = mean it is the
    identity, which it can learn (section 3).

    Parameters
    ----------
    x : Tensor, at least 2 axes
    gamma, beta : Tensor or None, shape of ``mean``
        Scale and shift; None is 1 and 0.
    axis : int or tuple of ints
        The feature axes, which have statistics of their own, 1 by default; all others are averaged over. For images in
        NCHW this is per-channel batch norm, with m' = N H W values each (section 3.2).
    eps : float
        Added to the variance, under the square root.
    ddof : int
        The variance is the sum of the squared deviations divided by m - ddof. 0, the default here and in every
        framework, is the paper's biased variance, after which the output has variance 1.

    Returns
    -------
    y : Tensor, shape and dtype of x
    mean, var : Tensor, shape of the feature axes
        The statistics that normalized. float32 for float16 input, else x's dtype.

    Raises
    ------
    ValueError
        For fewer than two axes, channels without a value (an empty batch), one value per channel (the output would
        always be ``beta``), a wrong shape of gamma or beta, a bad axis, eps <= 0, or ddof < 0 or >= m.
    TypeError
        If an argument is no Tensor, or the dtypes do not fit.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor([[1, 10], [3, 30]])
    >>> y, mean, var = mg.batch_norm(x, None, None, eps=1e-12)
    >>> y, mean, var
    (Tensor([[-1., -1.], [ 1.,  1.]]), Tensor([ 2., 20.]), Tensor([  1., 100.]))
    """
    op: Any
    op, values = _fitted(BatchNorm, (eps, ddof), "batch_norm", x, axis, gamma=gamma, beta=beta)
    if not x._data.size and not all(x.shape[i] for i in op.kept):
        return op.reference(x, gamma, beta)[:3]  # no channels
    if values < 2:
        raise ValueError(
            f"batch_norm: expected at least 2 values per channel, got {values} from shape {x.shape} "
            f"with axis={axis}: their variance says nothing. For inference call model.eval() first (or use "
            "frozen_batch_norm); in training use larger batches, and DataLoader(drop_last=True) if the "
            "last is too small"
        )
    if not 0 <= ddof < values:
        raise ValueError(
            f"batch_norm: expected 0 <= ddof < {values}, the values per channel, got {ddof}"
        )
    y, mean, var, _ = apply(op, x, gamma, beta)
    return y, mean, var


def frozen_batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    axis: Axes = 1,
    eps: float = 1e-3,
) -> Tensor:
    """Normalize each channel by given statistics, then scale and shift (arXiv:1502.03167, Algorithm 2, line 11)::

        y = gamma (x - mean) / sqrt(var + eps) + beta

    An affine map of each value by itself. ``mean`` and ``var`` are ordinary inputs, differentiable like the others.

    Parameters
    ----------
    x : Tensor, at least 2 axes
    gamma, beta : Tensor or None, shape of ``mean``
        Scale and shift; None is 1 and 0.
    mean, var : Tensor, shape of the feature axes
        Running or population statistics; float32 for float16 input, else x's dtype.
    axis, eps
        As for ``batch_norm``.

    Returns
    -------
    Tensor, shape and dtype of x

    Raises
    ------
    ValueError, TypeError
        As ``batch_norm``, except that one value per channel, or none, is fine.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, mean, var = mg.tensor([[5, 5]]), mg.tensor([3, 4]), mg.tensor([4, 1])
    >>> mg.frozen_batch_norm(x, None, None, mean, var, eps=1e-12)
    Tensor([[1., 1.]])
    """
    for argument, value in (("mean", mean), ("var", var)):
        if value is None:
            raise TypeError(f"frozen_batch_norm, argument {argument}: {not_a_tensor(value)}")
    channels = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
    op, _ = _fitted(FrozenBatchNorm, (eps,), "frozen_batch_norm", x, axis, **channels)
    return apply(op, x, gamma, beta, mean, var)


@cache
def statistics_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of statistics and parameters beside values of ``dtype``: the same, but at least float32."""
    return np.promote_types(dtype, np.float32)


def kept_axes(name: str, shape: tuple[int, ...], axis: Axes) -> tuple[Any, ...]:
    """The feature axes, their sizes, and the number of values per channel."""
    if len(shape) < 2:
        raise ValueError(f"{name}: expected x of at least 2 axes, got shape {shape}")
    kept = normalize_axes(axis, len(shape), name)
    if not kept or len(kept) == len(shape):
        raise ValueError(
            f"{name}: axis={axis} leaves no axis of {shape} to keep, or none to average"
        )
    values = math.prod(n for i, n in enumerate(shape) if i not in kept)
    return kept, tuple(shape[i] for i in kept), values


@lru_cache(maxsize=1024, typed=True)
def _op(
    cls: type, settings: tuple[Any, ...], name: str, shape: tuple[int, ...], axis: Axes
) -> tuple[Any, ...]:
    """The op for x of this shape, the shape of its per-channel inputs, and the values per channel."""
    kept, expected, values = kept_axes(name, shape, axis)
    eps = settings[0]
    require_numbers(name, eps=eps)
    if not eps > 0:
        raise ValueError(f"{name}: expected eps > 0, got {eps}")
    return cls(kept, *settings), expected, values


def _fitted(
    cls: type, settings: tuple[Any, ...], name: str, x: Tensor, axis: Axes, **channels: Any
) -> tuple[Op, int]:
    """The op and the values per channel; raise for arguments that do not fit. ``settings`` start with eps."""
    if not isinstance(x, Tensor) or x._data.dtype.kind != "f":
        require_floating(name, x)
    data = x._data
    axis = tuple(axis) if isinstance(axis, list) else axis
    op, expected, values = _op(cls, settings, name, data.shape, axis)
    dtype = statistics_dtype(data.dtype)
    for argument, value in channels.items():
        if value is None:
            continue
        if not isinstance(value, Tensor) or value._data.dtype != dtype:
            require_tensor(name, **channels)
            require_dtype(name, x, statistics_dtype, **channels)
        if value._data.shape != expected:
            raise ValueError(
                f"{name}: expected {argument} of shape {expected} for x {x.shape} with axis={axis}, "
                f"got {value.shape}"
            )
    return op, values
