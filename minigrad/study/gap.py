"""The gap between batch and running statistics: why a network may work in training and fail in eval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bn.hooks import accepts
from ..bn.population import observe
from ..nn.batch_norm import BatchNorm
from ..nn.module import Module
from ..tensor import Tensor


@dataclass(frozen=True)
class LayerGap:
    """The gap of one layer, root mean squares over batches and channels.

    Attributes
    ----------
    name : str
        The layer's dotted name.
    mean : float
        Batch mean minus running mean, in running standard deviations.
    var : float
        log(batch variance / running variance), both with the layer's ``ddof_running``.
    mean_noise, var_noise : float
        Their values for Gaussian data with the running statistics, due to the size of the batches alone:
        1 / sqrt(m) and sqrt(2 / (m - 1)).
    """

    name: str
    mean: float
    var: float
    mean_noise: float
    var_noise: float

    @property
    def wide(self) -> bool:
        """Whether the gap is more than three times what chance would give."""
        return self.mean > 3 * self.mean_noise or self.var > 3 * self.var_noise

    def __str__(self) -> str:
        return (
            f"{self.name:<24}{self.mean:10.3f}{self.mean_noise:10.3f}{self.var:10.3f}"
            f"{self.var_noise:10.3f}{'   <-- wide' if self.wide else ''}"
        )


class Gaps(tuple[LayerGap, ...]):
    """One ``LayerGap`` per batch norm, in the order of the model; ``print`` shows a table."""

    __slots__ = ()

    def __str__(self) -> str:
        head = f"{'layer':<24}{'mean':>10}{'by chance':>10}{'log var':>10}{'by chance':>10}"
        return "\n".join([head, *map(str, self)])


def gap(model: Module, batches: Iterable[Any]) -> Gaps:
    """Compare the statistics of batches with the running ones, layer by layer.

    The batch norms run as in training and everything else as in eval; nothing is changed. A wide gap means that eval
    computes another function than training did: statistics that have not caught up (a momentum close to 1 after few
    steps), batches that are not alike (sorted, tiny, augmented in training only), or weights that moved on.

    Parameters
    ----------
    model : Module
    batches : iterable of Tensors or arrays, or of tuples that start with one
        Of the size used in training.

    Returns
    -------
    Gaps
        A tuple of ``LayerGap``; print it for a table.

    Raises
    ------
    ValueError
        If there are no batches, or the model has no batch norm that normalizes by them.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> bn = mg.nn.BatchNorm(3, momentum=0.99)
    >>> x = np.random.default_rng(0).normal(5, 1, (64, 3)).astype("float32")
    >>> y = bn(mg.tensor(x))
    >>> (found,) = gap(bn, [x])  # one step at momentum 0.99: the running mean is at 0.05
    >>> found.wide, found.mean > 4
    (True, True)
    """
    norms = {m: n for n, m in model.named_modules() if isinstance(m, BatchNorm) and not m.frozen}
    names = {m: n for m, n in norms.items() if m.running_mean is not None}
    seen: dict[BatchNorm, list[tuple[np.ndarray, np.ndarray, float]]] = defaultdict(list)

    def collect(layer: BatchNorm, mean: Tensor, var: Tensor, m: float) -> None:
        if not m > 1:
            raise ValueError(f"expected more than one value per channel, got {m}")
        if accepts(layer, mean, var, m):
            remembered = var.numpy() * ((m - layer.ddof_norm) / (m - layer.ddof_running))
            seen[layer].append((mean.numpy(), remembered, m))

    observe(model, names, batches, collect)
    if not seen:
        raise ValueError("gap: no batch came to a batch norm that normalizes by it")
    return Gaps(
        _gap(names[layer] or type(layer).__name__, layer, seen[layer])
        for layer in names
        if layer in seen
    )


def _gap(
    name: str, layer: BatchNorm, batches: list[tuple[np.ndarray, np.ndarray, float]]
) -> LayerGap:
    mean, var = (b.numpy().astype(np.float64) for b in (layer.running_mean, layer.running_var))
    eps = layer.eps  # as in normalizing, so that a channel without variance is no infinity
    shifts = [(batch_mean - mean) / np.sqrt(var + eps) for batch_mean, _, _ in batches]
    ratios = [np.log((batch_var + eps) / (var + eps)) for _, batch_var, _ in batches]
    sizes = [m for *_, m in batches]
    return LayerGap(
        name,
        math.sqrt(np.mean(np.square(shifts))),
        math.sqrt(np.mean(np.square(ratios))),
        math.sqrt(np.mean([1 / m for m in sizes])),
        math.sqrt(np.mean([2 / (m - 1) for m in sizes])),
    )
