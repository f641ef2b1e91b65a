"""Statistics that can be merged, and batch norm by weighted statistics.

Per channel: the number of values, their mean, and M2, the sum of the squared deviations from the mean. (count, mean,
M2) of several batches give those of all together without another pass over the data (Chan, Golub & LeVeque 1979,
equation 2.1): the statistics of micro-batches, of processes and of whole data sets are computed so::

    mean = sum_k count_k mean_k / count
    M2   = sum_k M2_k + sum_k count_k (mean_k - mean)^2
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add, mul
from typing import Any

from ..ops.arithmetic import where
from ..ops.batch_norm import Axes, PerChannel, frozen_batch_norm, kept_axes, statistics_dtype
from ..ops.checks import require_floating
from ..tensor import Tensor, apply


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of a set of values, per channel.

    Attributes
    ----------
    count : Tensor, shape ()
        Values per channel, or the sum of their weights.
    mean : Tensor, shape of the feature axes
    m2 : Tensor, shape of the feature axes
        Sum of the squared deviations from ``mean``.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor

    def var(self, ddof: float = 0) -> Tensor:
        """M2 / (count - ddof): biased by default, unbiased for 1."""
        return self.m2 / (self.count - ddof)


class MeanM2(PerChannel):
    """Mean and M2, the sum of squared deviations, per channel.

    With weights, a position counts as often as its weight says; x has to be finite where that is 0.
    """

    num_outputs = 2
    saves_outputs = (0,)
    __slots__ = ()

    def reference(self, x: Tensor, w: Tensor | None = None) -> Any:
        xs, axes = x.astype(statistics_dtype(x.dtype)), self.reduced(x)
        weight = 1.0 if w is None else w
        mean = (weight * xs).sum(axes) / self._divisor(x, w)
        return mean, (weight * (xs - self.wide(mean, x)) ** 2).sum(axes)

    def forward(self, k: Any, x: Any, w: Any = None) -> Any:
        return k.moments(x, w, self.kept)

    def backward(self, node: Any, needs: Any, gmean: Tensor | None, gm2: Tensor | None) -> Any:
        (x, *weights), (mean,) = node.inputs, node.outputs
        terms = []
        if gmean is not None:
            share = self.wide(gmean, x) / self._divisor(x, *weights)
            terms.append(share.broadcast_to(x.shape))
        if gm2 is not None:
            d = x.astype(mean.dtype) - self.wide(mean, x) if weights else self.deviation(x, mean)
            terms.append(self.wide(gm2, x) * 2 * d)
        terms = [reduce(mul, weights, term) for term in terms]
        gx = reduce(add, terms).astype(x.dtype) if terms else None
        return gx, *(None for _ in weights)

    def _divisor(self, x: Tensor, w: Tensor | None = None) -> Any:
        """The number of values, or the sum of their weights; 1 where that is 0: the mean of no values is 0."""
        if w is None:
            return math.prod(x.shape[i] for i in self.reduced(x))
        count = w.sum()
        return count + (count == 0).astype(count.dtype)


def moments(x: Tensor, axis: Axes = 1, weight: Any = None) -> Moments:
    """Count, mean and M2 of each channel, differentiable to any order.

    Parameters
    ----------
    x : Tensor, at least 2 axes
    axis : int or tuple of ints
        The axes that keep statistics of their own, 1 by default.
    weight : Tensor or array, optional
        How often each position counts, see ``weighted_batch_norm``.

    Raises
    ------
    ValueError, TypeError
        If there are no values, or the arguments do not fit. Where all weights are 0, so are the moments.

    Examples
    --------
    >>> import minigrad as mg
    >>> found = mg.moments(mg.tensor([[1, 10], [3, 30]]))
    >>> found.count, found.mean, found.m2
    (Tensor(2.), Tensor([ 2., 20.]), Tensor([  2., 200.]))
    """
    require_floating("moments", x)
    kept, _, values = kept_axes("moments", x.shape, axis)
    if weight is not None:
        w = position_weights("moments", x, weight, axis)
        return _weighted(w, where(w > 0, x, 0.0), PerChannel(kept))[0]
    op = MeanM2(kept)
    if not all(x.shape[i] for i in kept):  # no channels
        mean, m2 = op.reference(x)
    elif not values:
        raise ValueError(f"moments: expected at least one value per channel, got shape {x.shape}")
    else:
        mean, m2 = apply(op, x)
    return Moments(mean.lift(float(values), "moments"), mean, m2)


def merge_moments(parts: Sequence[Moments]) -> Moments:
    """The moments of all parts together; differentiable.

    Means are rounded to their dtype: in float32, where they are 10^5 times the deviations, few digits of those remain.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.arange(12).reshape(6, 2)
    >>> merged = mg.merge_moments([mg.moments(x[:2]), mg.moments(x[2:])])
    >>> merged.mean, merged.var()
    (Tensor([5., 6.]), Tensor([11.666667, 11.666667]))
    """
    if not parts:
        raise ValueError("merge_moments: expected at least one part, got none")
    first, *others = parts
    for part in others:
        if part.mean.shape != first.mean.shape:
            raise ValueError(
                f"merge_moments: expected means of one shape, got {first.mean.shape} and {part.mean.shape}"
            )
    count = sum((part.count for part in others), first.count)
    # Differences, so that a large mean that all parts share is not multiplied and divided again.
    shifts = ((part.mean - first.mean) * (part.count / count) for part in others)
    mean = sum(shifts, first.mean)
    m2 = first.m2 + first.count * (first.mean - mean) ** 2
    for part in others:
        m2 = m2 + part.m2 + part.count * (part.mean - mean) ** 2
    return Moments(count, mean, m2)


def weighted_batch_norm(
    x: Tensor,
    weight: Any,
    gamma: Tensor | None,
    beta: Tensor | None,
    axis: Axes = 1,
    eps: float = 1e-3,
    ddof: int = 0,
) -> tuple[Tensor, Moments]:
    """Batch norm in which each position counts as often as its weight says.

    A weight of 2 is a position given twice; one of 0, or False in a mask, is padding: it is never read, so that its
    value may be anything, and its output and gradient are 0. Everything else is as in ``batch_norm``.

    Parameters
    ----------
    x : Tensor, at least 2 axes
    weight : Tensor or array of booleans or non-negative numbers
        One for each position: the shape of x without its feature axes, or of the first of those (one per example, say).
        Constants: no gradient comes back to them.
    gamma, beta, axis, eps, ddof
        As for ``batch_norm``.

    Returns
    -------
    y : Tensor, shape and dtype of x
    moments : Moments
        Count (the sum of the weights), mean and M2.

    Raises
    ------
    ValueError, TypeError
        As ``batch_norm``; for a weight of the wrong shape, negative, not finite, or that requires a gradient; if fewer
        than two positions count, or the weights' sum is not more than ``ddof``.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> x = mg.tensor([[1.0], [3.0], [np.nan]])
    >>> y, _ = mg.weighted_batch_norm(x, np.array([True, True, False]), None, None, eps=1e-12)
    >>> y.T
    Tensor([[-1.,  1.,  0.]])
    """
    name = "weighted_batch_norm"
    require_floating(name, x)
    w = position_weights(name, x, weight, axis)
    there = w > 0
    counted = int(there.sum().item())
    if counted < 2:
        raise ValueError(
            f"{name}: expected at least 2 positions that count, got {counted} of {w.size}: "
            "their variance says nothing; use a larger batch or frozen_batch_norm"
        )
    kept, _, _ = kept_axes(name, x.shape, axis)
    found, centered, offset = _weighted(w, where(there, x, 0.0), PerChannel(kept))
    if not 0 <= ddof < found.count.item():
        raise ValueError(
            f"{name}: expected 0 <= ddof < {found.count.item()}, the sum of the weights, got {ddof}"
        )
    y = frozen_batch_norm(centered, gamma, beta, offset, found.var(ddof), axis, eps)
    return where(there, y, 0.0).astype(x.dtype), found


def position_weights(name: str, x: Tensor, weight: Any, axis: Axes) -> Tensor:
    """``weight`` in a shape that broadcasts against x and the dtype of its statistics; raise if it is unsuitable."""
    kept, _, _ = kept_axes(name, x.shape, axis)
    w = x.lift_index(weight, name)
    positions = tuple(n for i, n in enumerate(x.shape) if i not in kept)
    if not w.ndim or w.shape != positions[: w.ndim]:
        raise ValueError(
            f"{name}: expected a mask or weight of shape {positions}, or of the first of these axes, "
            f"for x {x.shape} that keeps axes {kept}, got {w.shape}"
        )
    if w.requires_grad:
        raise TypeError(f"{name}: weights are constants, got one that requires a gradient")
    low, high = (w.min().item(), w.max().item()) if w.size else (0, 0)
    if not 0 <= low <= high < float("inf"):
        raise ValueError(f"{name}: expected finite weights >= 0, got {low} ... {high}")
    w = w.astype(statistics_dtype(x.dtype)).reshape(*w.shape, *[1] * (len(positions) - w.ndim))
    w = w.broadcast_to(positions)
    return w.reshape(*(1 if i in kept else n for i, n in enumerate(x.shape)))


def _weighted(w: Tensor, x: Tensor, channels: PerChannel) -> tuple[Moments, Tensor, Tensor]:
    """The moments of x; x minus a constant near its mean, for precision at a large mean; and the mean of that."""
    op = MeanM2(channels.kept)
    shift, _ = apply(op, x.detach(), w)
    centered = x.astype(shift.dtype) - channels.wide(shift, x)
    offset, m2 = apply(op, centered, w)
    return Moments(w.sum(), shift + offset, m2), centered, offset
