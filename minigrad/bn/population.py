"""Population statistics: from the trained network to the inference network (arXiv:1502.03167, Algorithm 2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from ..nn.batch_norm import BatchNorm
from ..nn.module import Module
from ..tape import no_grad
from ..tensor import Tensor, tensor
from .hooks import Collector, accepts, collecting_statistics
from .moments import Moments, merge_moments


def population_statistics(
    model: Module, batches: Iterable[Any], estimator: str = "batch_mean"
) -> None:
    """Replace the running statistics of every batch norm by those of a pass over the data.

    Only the batch norms run as in training, so that each gets the input it had then; everything else, dropout say, runs
    as in eval. Sums are in float64, of batch means and variances in the layers' dtype. Layers frozen to their running
    statistics keep them. ``num_batches`` becomes the number of batches, if it was less.

    Parameters
    ----------
    model : Module
        Restored to the mode it was in, layer by layer.
    batches : iterable of Tensors or arrays, or of tuples that start with one
        Inputs of the model: one epoch of a ``DataLoader``, say.
    estimator : {"batch_mean", "total"}
        "batch_mean", Algorithm 2, line 10: E[x] is the mean of the batch means, Var[x] is m/(m-1) times the mean of the
        batch variances, batches of unequal size m weighted by it. "total": the law of total variance, which adds the
        variance of the batch means: NumPy's ``var`` of the whole data set, however it is split.

    Raises
    ------
    ValueError, TypeError
        For another estimator, no batches, a model without batch norms, or a batch that a layer refuses. No statistics
        have changed then.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm(1)
    >>> population_statistics(bn, [[[1.0], [3.0]], [[5.0], [7.0]]], estimator="total")
    >>> bn.running_mean, bn.running_var, bn.num_batches
    (Tensor([4.]), Tensor([5.]), Tensor(2, dtype=int64))
    """
    if estimator not in ("batch_mean", "total"):
        raise ValueError(
            f"population_statistics: expected estimator 'batch_mean' or 'total', got {estimator!r}"
        )
    norms = (m for m in model.modules() if isinstance(m, BatchNorm) and not m.frozen)
    layers = [m for m in norms if m.running_mean is not None]
    if not layers:
        raise ValueError("population_statistics: the model has no batch norm that is not frozen")
    seen: dict[BatchNorm, list[Moments]] = defaultdict(list)

    def collect(layer: BatchNorm, mean: Tensor, var: Tensor, m: float) -> None:
        if not m > 1:
            raise ValueError(f"expected more than one value per channel, got {m}")
        if accepts(layer, mean, var, m):
            count = tensor(float(m), dtype="float64", backend=mean.backend)
            m2 = var.astype("float64") * (m - layer.ddof_norm)
            seen[layer].append(Moments(count, mean.astype("float64"), m2))

    observe(model, layers, batches, collect)
    if not seen:
        raise ValueError("population_statistics: expected at least one batch that counts, got none")
    with no_grad():
        found = {layer: _estimate(parts, estimator) for layer, parts in seen.items()}
    for layer, (mean, var) in found.items():
        layer.running_mean.data = mean.astype(layer.running_mean.dtype).data
        layer.running_var.data = var.astype(layer.running_var.dtype).data
        batches_seen = max(len(seen[layer]), int(layer.num_batches.item()))
        layer.num_batches.data = tensor(batches_seen, dtype="int64", backend=mean.backend).data


def observe(
    model: Module, layers: Collection[BatchNorm], batches: Iterable[Any], collect: Collector
) -> None:
    """Call ``model`` with all batches, ``layers`` in training mode and all else in eval mode.

    The layers' statistics go to ``collect``. Afterwards all modes are restored.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for layer in layers:
            layer.training = True
        with no_grad(), collecting_statistics(collect):
            for batch in batches:
                x = batch[0] if isinstance(batch, tuple) else batch
                model(x if isinstance(x, Tensor) else tensor(x))
    finally:
        for module, training in modes.items():
            module.training = training


def _estimate(parts: list[Moments], estimator: str) -> tuple[Tensor, Tensor]:
    """Mean and variance of the population, from the moments of all batches."""
    if estimator == "total":
        merged = merge_moments(parts)
        return merged.mean, merged.var()
    zero = parts[0].mean * 0
    total = sum((part.count for part in parts), zero)
    mean = sum((part.count * part.mean for part in parts), zero) / total
    return mean, sum((part.count * part.var(ddof=1) for part in parts), zero) / total
