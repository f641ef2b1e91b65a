"""The gap between batch and running statistics: why a network may work in training and fail in eval.

The means and variances of K batches of m values per channel, averaged, are compared with the running ones. A batch's
mean is off by sqrt(var / m), and its variance by var sqrt(2 / (m - 1)), by chance, or by what the batches show if that
is more; averages are off by sqrt(1 / K) of it, and running statistics by sqrt(r)::

    r = (1 - momentum) / (1 + momentum) (1 - momentum^(2 steps)),  or 1 / steps for momentum None

A difference counts if it is more than 3 sqrt(1 / K + r) of it, and more than 0.1 standard deviations or 0.2 in the
logarithm of the variance, as root mean squares over channels. Its cause is the first of these:

- lag: the running statistics are the initial ones, or without the share momentum^steps of those that is left they are
  less than half as far away, or within chance;
- uneven batches: with the variance of the batches' means added to theirs, they are less than half as far away;
- forgotten eval(): running statistics were updated after the last step of an optimizer;
- another population: other data, or weights that change faster than the running statistics follow.

If none counts, but a batch's mean is off by more than 0.25 standard deviations, the cause is small batches, or uneven
ones (as images of like pixels) where that is more than 3 / sqrt(m).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bn.hooks import accepts
from ..bn.population import observe
from ..nn.batch_norm import BatchNorm
from ..nn.module import Module
from ..tensor import Tensor
from .drawing import Table


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
        Their values for Gaussian data with the running statistics, due to the size of the batches alone: 1 / sqrt(m),
        and for large m sqrt(2 / m).
    cause : str
        Starts with "lag", "uneven batches", "forgotten eval()", "another population" or "small batches", decided as the
        source file says; empty where batch and running statistics are alike.
    """

    name: str
    mean: float
    var: float
    mean_noise: float
    var_noise: float
    cause: str = ""

    @property
    def wide(self) -> bool:
        """Whether the gap is more than chance: there is a cause, other than small batches."""
        return bool(self.cause) and not self.cause.startswith("small")


class Gaps(Table, tuple[LayerGap, ...]):
    """One ``LayerGap`` per batch norm, in the order of the model; printed as a table."""

    __slots__ = ()

    def rows(self) -> Iterable[tuple[str, ...]]:
        yield "layer", "mean", "by chance", "log var", "by chance", "cause"
        for g in self:
            numbers = g.mean, g.mean_noise, g.var, g.var_noise
            yield g.name, *(f"{number:.3f}" for number in numbers), g.cause


def gap(model: Module, batches: Iterable[Any]) -> Gaps:
    """Compare the statistics of batches with the running ones, layer by layer.

    The batch norms run as in training and everything else as in eval; nothing is changed. A wide gap means that eval
    computes another function than training did; the table says why.

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
    >>> gap(bn, [x])
    layer      mean   by chance  log var  by chance  cause
    BatchNorm  4.964  0.125      0.198    0.180      lag: 99% of the initial values are left at step 1
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
    newest = last_change(*model.parameters())
    return Gaps(
        _Comparison(layer, seen[layer]).gap(names[layer] or type(layer).__name__, newest)
        for layer in names
        if layer in seen
    )


def last_change(*tensors: Tensor) -> int:
    """When one of the tensors last changed in place, on a clock that counts such changes; -1 for never."""
    return max((t._shared_version()[0] for t in tensors), default=-1)


def moved_after(layer: BatchNorm, newest: int) -> bool:
    """Whether a forward pass updated the running statistics after the parameters' ``newest`` change."""
    moved = {last_change(b) for b in (layer.running_mean, layer.running_var, layer.num_batches)}
    return len(moved) == 1 and max(moved) > newest >= 0  # assignments change one at a time


class _Comparison:
    """The statistics of batches, each (mean, variance, m), against the running ones of their layer."""

    def __init__(self, layer: BatchNorm, batches: Sequence[tuple[Any, Any, float]]) -> None:
        arrays = (np.array(values, np.float64) for values in zip(*batches, strict=True))
        self.means, self.variances, self.sizes = arrays
        self.average = np.stack([self.means.mean(axis=0), self.variances.mean(axis=0)])
        running = layer.running_mean, layer.running_var
        self.running = np.stack([b.numpy().astype(np.float64) for b in running])
        self.layer, self.steps = layer, int(layer.num_batches.item())

    def gap(self, name: str, newest: int) -> LayerGap:
        # The logarithm of a chi-squared variable: digamma(a) - log(a), and trigamma(a), each as a series.
        a = (self.sizes - 1) / 2
        log_mean, log_var = 1 / (2 * a) + 1 / (12 * a**2), 1 / a + 1 / (2 * a**2) + 1 / (6 * a**3)
        noise = _rms(1 / np.sqrt(self.sizes)), _rms(np.hypot(log_mean, np.sqrt(log_var)))
        distances = self._distances((self.means, self.variances), self.running)
        return LayerGap(name, *distances, *noise, self._cause(newest))

    def _distances(self, batch: Any, running: Any) -> tuple[float, float]:
        """Of means in running standard deviations, and of variances in logarithms."""
        eps = self.layer.eps  # as in normalizing, so that a channel without variance is no infinity
        shift = (batch[0] - running[0]) / np.sqrt(running[1] + eps)
        return _rms(shift), _rms(np.log((batch[1] + eps) / (running[1] + eps)))

    def _differ(self, errors: np.ndarray, running: np.ndarray, left: float = 0.0) -> bool:
        """Whether statistics differ by more than chance; of ``running``, the share ``left`` was taken out."""
        keep, r = self.layer.momentum, 1 / self.steps if self.steps else 0.0
        if keep is not None:
            r = (1 - keep) / (1 + keep) * (1 - keep ** (2 * self.steps))
        z = (self.average - running) / errors / math.sqrt(1 / len(self.sizes) + r / (1 - left) ** 2)
        near = self._distances(self.average, running)
        return any(_rms(z[i]) > 3 and near[i] > least for i, least in enumerate((0.1, 0.2)))

    def _cause(self, newest: int) -> str:
        m, var = self.sizes.mean(), np.maximum(self.average[1], self.running[1]) + self.layer.eps
        errors = np.stack([np.sqrt(var / m), var * np.sqrt(2 / (m - 1))])
        if len(self.sizes) > 1:
            shown = [values.std(axis=0, ddof=1) for values in (self.means, self.variances)]
            errors = np.maximum(errors, shown)
        off = _rms(errors[0] / np.sqrt(var))
        words = f"batches: their means are off by {off:.2g} standard deviations"
        if not self._differ(errors, self.running):
            kind = "small" if off * math.sqrt(m) <= 3 else "uneven"
            return f"{kind} {words}" if off > 0.25 else ""
        half = math.hypot(*self._distances(self.average, self.running)) / 2
        initial, keep = np.stack(self.layer._initial), self.layer.momentum
        if np.array_equal(initial, self.running):
            return "lag: the running statistics are the initial ones"
        left = keep**self.steps if keep is not None and self.steps else 0.0
        if 0.01 < left < 1:
            rest = (self.running - left * initial) / (1 - left)
            rest[1] = rest[1].clip(0)
            closer = math.hypot(*self._distances(self.average, rest)) < half
            if closer or not self._differ(errors, rest, left):
                return f"lag: {left:.0%} of the initial values are left at step {self.steps}"
        total = self.average[0], self.average[1] + self.means.var(axis=0)
        if math.hypot(*self._distances(total, self.running)) < half:
            return f"uneven {words}"
        if moved_after(self.layer, newest):
            return "forgotten eval(): updated after the last step of an optimizer"
        return "another population, or weights that change fast"


def _rms(values: Any) -> float:
    return math.sqrt(np.mean(np.square(values)))
