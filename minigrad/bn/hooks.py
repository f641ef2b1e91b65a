"""Batch norm with masks, weights and hooks on the statistics of a batch.

A layer in training normalizes by the statistics of its input and updates its running statistics with them. Inside
``with`` blocks, hooks change both: ``merging_statistics`` merges them with those of other parts of the same batch
(micro-batches, processes) before it normalizes; ``collecting_statistics`` receives them in place of the running ones.
``nn.BatchNorm.forward`` calls ``forward`` here for everything beyond Algorithms 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..contexts import Override
from ..kernels.generic import refuse_statistics
from ..nn.batch_norm import BatchNorm, hooks
from ..nn.module import Module
from ..ops.arithmetic import where
from ..ops.batch_norm import batch_norm, frozen_batch_norm
from ..tape import no_grad, tracing
from ..tensor import Tensor, by_type
from .moments import Moments, moments, position_weights, weighted_batch_norm

#: mean and variance that normalized a batch, and the number of values per channel: a Tensor where it was merged
Statistics = tuple[Tensor, Tensor, Any]
#: so many values that no correction is left: m / (m - 1) is 1
ANY = 1e300
#: a callable of a layer and the three statistics
Collector = Callable[[Any, Tensor, Tensor, float], None]
#: a callable of a layer and the moments of its input, which returns those to normalize by
Merge = Callable[[Any, Moments], Moments]
#: a normalized batch, and the statistics for the collector
Normalized = tuple[Tensor, list[Statistics]]


def update(layer: BatchNorm, mean: Tensor, var: Tensor, m: Any) -> None:
    """Update the running statistics unless they are frozen."""
    if layer.moving:
        if isinstance(m, Tensor):  # of all processes: computed with, since a graph can't read it
            with no_grad():
                var = var * ((m - layer.ddof_norm) / (m - layer.ddof_running))
            m = ANY
        layer.move_statistics(mean, var, m)


@dataclass(frozen=True)
class Hooks:
    """The active hooks: ``merge`` before normalizing, ``collect`` in place of updating the running statistics."""

    merge: Merge | None = None
    collect: Collector = update


def current() -> Hooks:
    """The hooks of the innermost ``with`` blocks."""
    return hooks.get() or Hooks()


def collecting_statistics(collect: Collector) -> Override:
    """Send the statistics of training batches to ``collect``; the running statistics are not updated."""
    return Override(hooks.variable, lambda outer: replace(outer or Hooks(), collect=collect))


def merging_statistics(merge: Merge) -> Override:
    """Normalize by ``merge(layer, moments)`` in training, given the moments of the layer's own input.

    What ``merge`` returns is differentiated through: a function of ``moments``, or new leaves.

    Examples
    --------
    >>> import minigrad as mg
    >>> other = mg.moments(mg.tensor([[5.0], [7.0]]))
    >>> bn = mg.nn.BatchNorm(1, momentum=0)
    >>> with merging_statistics(lambda layer, own: mg.merge_moments([own, other])):
    ...     y = bn(mg.tensor([[1.0], [3.0]]))
    >>> bn.running_mean
    Tensor([4.])
    """
    return Override(hooks.variable, lambda outer: replace(outer or Hooks(), merge=merge))


def hold_statistics(model: Module | None = None) -> Override:
    """Don't update the running statistics of ``model``, or of every batch norm by default.

    For forward passes that are not training steps: a recomputation, a gradient check or a capture uses a batch that was
    counted already, or that is no training data. The layers compute the same outputs as otherwise.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm(2)
    >>> with mg.nn.hold_statistics(bn):
    ...     y = bn(mg.tensor([[1, 10], [3, 30]]))
    >>> bn.running_mean, bn.num_batches
    (Tensor([0., 0.]), Tensor(0, dtype=int64))
    """

    def holding(outer: Hooks | None) -> Hooks:
        held = None if model is None else set(model.modules())
        onward = (outer or Hooks()).collect

        def collect(layer: Any, *statistics: Any) -> None:
            if held is not None and layer not in held:
                onward(layer, *statistics)

        return replace(outer or Hooks(), collect=collect)

    return Override(hooks.variable, holding)


def forward(
    layer: BatchNorm,
    x: Tensor,
    mask: Any = None,
    weight: Any = None,
    by_batch: Callable[[Tensor, Any], Normalized] | None = None,
) -> Tensor:
    """``layer.forward`` with a mask, weights, hooks or a variant's own way to normalize.

    Parameters
    ----------
    layer : BatchNorm
    x, mask, weight
        As for ``nn.BatchNorm.forward``.
    by_batch : callable of (x, weight), optional
        Normalizes by the statistics of the batch and returns them; ``normalize`` by default.
    """
    try:
        layer.require_features(x)
        if mask is not None:
            if weight is not None:
                raise ValueError("expected a mask or a weight, got both; a weight of 0 is a mask")
            weight = x.lift_index(mask, "batch_norm")
            if weight.dtype.kind != "b":
                raise TypeError(f"expected a boolean mask, got dtype {weight.dtype}")
        if weight is None:
            return _forward(layer, x, None, by_batch)
        there = position_weights("batch_norm", x, weight, layer.axis) > 0
        return where(there, _forward(layer, where(there, x, 0.0), weight, by_batch), 0.0)
    except (TypeError, ValueError) as error:
        raise layer.named(error, x) from error


def _forward(layer: BatchNorm, x: Tensor, weight: Any, by_batch: Any) -> Tensor:
    follows = layer.training and layer.moving
    if layer.statistics != "batch" and (layer.frozen or not layer.training):
        layer.require_statistics()
        mean: Tensor = layer.running_mean
        var: Tensor = layer.running_var
        if follows:  # updated before the backward pass, which needs their old values
            mean, var = mean + 0, var + 0
        y = frozen_batch_norm(x, layer.gamma, layer.beta, mean, var, layer.axis, layer.eps)
        with no_grad():
            found = [statistics(layer, _merged(layer, x, weight))] if follows else []
    elif by_batch is not None:
        y, found = by_batch(x, weight)
    else:
        y, own = normalize(layer, x, weight, layer.gamma, layer.beta)
        found = [own]
    for batch in found if layer.training else ():
        current().collect(layer, *batch)
    return y


def normalize(
    layer: BatchNorm, x: Tensor, weight: Any, gamma: Tensor | None, beta: Tensor | None
) -> tuple[Tensor, Statistics]:
    """Normalize by the statistics of the batch, weighted or merged, and return them too."""
    settings = layer.axis, layer.eps, layer.ddof_norm
    if current().merge is not None:
        found = _merged(layer, x, weight)
        mean, var, m = statistics(layer, found)
        return frozen_batch_norm(x, gamma, beta, mean, var, layer.axis, layer.eps), (mean, var, m)
    if weight is not None:
        y, found = weighted_batch_norm(x, weight, gamma, beta, *settings)
        return y, statistics(layer, found)
    y, mean, var = batch_norm(x, gamma, beta, *settings)
    return y, (mean, var, x.size // mean.size)


def statistics(layer: BatchNorm, found: Moments) -> Statistics:
    """The mean and the variance that normalize, and the number of values per channel."""
    m = found.count if current().merge is not None else found.count.item()
    return found.mean, found.var(layer.ddof_norm), m


def _merged(layer: BatchNorm, x: Tensor, weight: Any) -> Moments:
    """The moments of the whole batch, of which x may be one part."""
    merge, own = current().merge, moments(x, layer.axis, weight)
    found = own if merge is None else merge(layer, own)
    if tracing.get() is None and not found.count.item() > 1:
        raise ValueError(
            f"expected more than one value per channel in the whole batch, got {found.count.item()}; for "
            "inference call model.eval() first, in training use larger batches, or drop_last=True"
        )
    return found


def accepts(layer: BatchNorm, mean: Tensor, var: Tensor, m: float) -> bool:
    """Whether an update would use these statistics: whether they are finite; raise where it would raise."""
    layer.require_fitting(mean, m)
    finite: bool = by_type[type(var._data)].kernels.finite(var._data)
    if not finite and layer.on_nonfinite == "raise":
        refuse_statistics()
    return finite
