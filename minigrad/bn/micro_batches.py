"""Exact gradient accumulation with batch norm: micro-batches normalized by the statistics of the whole batch.

A batch too large for memory is split into micro-batches, and their gradients are accumulated. With batch norm that is
another function: each micro-batch is normalized by its own statistics. Here the statistics are first merged over all of
them; then the gradient flows back through the merged ones to all micro-batches, with one graph at a time in memory.

Let s_l be the statistics at the l-th call of a batch norm, and S_l(k) what micro-batch k contributes to them. As
functions of s_1 ... s_L, the losses and contributions of different micro-batches are independent of each other, and the
chain rule is a sum over micro-batches, from the last call to the first::

    d loss / d s_l = sum_k [ d loss_k / d s_l + sum_(j > l) <d loss / d S_j(k), d S_j(k) / d s_l> ]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd import grad
from ..nn.batch_norm import BatchNorm
from ..nn.module import Module
from ..ops.random import generator
from ..tape import no_grad
from ..tensor import Tensor
from .hooks import accepts, current, hold_statistics, merging_statistics, statistics
from .moments import Moments, merge_moments
from .variants import BatchRenorm


def micro_batch_backward(
    model: Module, loss: Callable[..., Tensor], batches: Iterable[tuple[Any, ...]]
) -> float:
    """Add the gradient of a whole batch's mean loss to ``.grad``, one micro-batch at a time.

    Gradients, loss and running statistics equal the whole batch's, up to rounding; the running statistics
    are updated once. With L calls of batch norms it takes L + 1 forward passes for the statistics, each up to the call
    whose statistics it finds, and L + 1 forward and backward passes.

    Parameters
    ----------
    model : Module
        In training mode. Random layers draw the same numbers in all passes over a micro-batch.
    loss : callable
        ``loss(*batch)`` calls the model and returns the mean loss of a micro-batch, a Tensor with one element. It must
        call the same batch norms in the same order every time.
    batches : iterable of tuples
        The micro-batches, weighted by the length of their first items.

    Returns
    -------
    float
        The mean loss of the whole batch.

    Raises
    ------
    ValueError, TypeError
        For no micro-batches or others than tuples; if they call different batch norms, a ``GhostBatchNorm``, or one
        twice that normalizes by its running statistics (``BatchRenorm``, frozen but moving); if a loss has several
        elements; inside of ``merging_statistics`` or ``distributed.synchronized``. No ``.grad`` and no statistics have
        changed then.

    Notes
    -----
    The merged mean is rounded to its dtype. In float32 it should be at most about 10^4 times the deviations.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(2, 3), mg.nn.BatchNorm(3))
    >>> x, t = mg.ones((6, 2)) * mg.arange(6).reshape(6, 1), mg.zeros((6, 3))
    >>> halves = [(x[:3], t[:3]), (x[3:], t[3:])]
    >>> whole = mg.mse_loss(model(x), t).item()
    >>> parts = micro_batch_backward(model, lambda x, t: mg.mse_loss(model(x), t), halves)
    >>> abs(parts - whole) < 1e-6
    True
    """
    run = _Run(model, loss, list(batches))
    while run.find_next_statistics():
        pass
    for index in reversed(range(len(run.calls))):
        run.differentiate_statistics(index)
    total = run.backward()
    for call in run.calls:
        if call.layer.training:
            current().collect(call.layer, *statistics(call.layer, call.whole))
    return total


@dataclass
class _Call:
    """One call of a batch norm: the moments of each micro-batch, merged, and the gradients for those of each.

    ``parts`` are empty until the statistics are known.
    """

    layer: BatchNorm
    parts: list[Moments] = field(default_factory=list)
    whole: Any = None
    cotangents: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class _Reached(BaseException):
    """Ends a forward pass at the batch norm whose statistics are to be merged."""


class _Run:
    """The passes over the micro-batches; ``calls`` are the calls of batch norms found so far."""

    def __init__(
        self, model: Module, loss: Callable[..., Tensor], batches: list[tuple[Any, ...]]
    ) -> None:
        if not batches:
            raise ValueError("micro_batch_backward: expected at least one micro-batch, got none")
        if others := [type(b).__name__ for b in batches if not isinstance(b, (tuple, list))]:
            raise TypeError(
                f"micro_batch_backward: expected micro-batches as tuples, the arguments of loss, got {others[0]}"
            )
        if current().merge is not None:
            raise ValueError(
                "micro_batch_backward: the statistics are merged already, by merging_statistics or synchronized"
            )
        self.loss, self.batches, self.calls = loss, batches, list[_Call]()
        self.names = {module: name for name, module in model.named_modules()}
        sizes = [len(batch[0]) for batch in batches]
        self.shares = [size / sum(sizes) for size in sizes]
        self.random = _random_numbers(model, len(batches))

    def forward(self, k: int, leaves: Mapping[int, Moments]) -> tuple[Any, list[Moments]]:
        """The loss of micro-batch k, and its moments at each call of a batch norm.

        Calls normalize by the merged moments, those in ``leaves`` by the ones there. A call whose moments are not
        merged yet ends the pass: the loss is None.
        """
        seen: list[Moments] = []

        def merge(layer: BatchNorm, own: Moments) -> Moments:
            index = len(seen)
            seen.append(own)
            if index == len(self.calls):
                self.calls.append(_Call(layer))
            call = self.calls[index]
            if call.layer is not layer:
                raise self._differing()
            if not call.parts:
                raise _Reached
            return leaves.get(index, call.whole)

        try:
            with self.random(k), hold_statistics(), merging_statistics(merge):
                loss = self.loss(*self.batches[k])
        except _Reached:
            return None, seen
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise ValueError(
                "micro_batch_backward: expected loss to give a Tensor with one element, got "
                f"{f'shape {loss.shape}' if isinstance(loss, Tensor) else type(loss).__name__}"
            )
        return loss, seen

    def find_next_statistics(self) -> bool:
        """Merge the moments at the first call where they are not known; False if there is none."""
        with no_grad():
            found = [self.forward(k, {})[1] for k in range(len(self.batches))]
            if len({len(seen) for seen in found}) > 1:
                raise self._differing()
            call = self.calls[-1] if self.calls else None
            if call is None or call.parts:
                return False
            call.parts = [seen[-1] for seen in found]
            call.whole = merge_moments(call.parts)
            self._require_movable(call)
        return True

    def _require_movable(self, call: _Call) -> None:
        """Raise what updating the statistics would raise in the end, before anything has changed."""
        layer, name = call.layer, self.names.get(call.layer, "")
        title = f"{type(layer).__name__}{f' {name!r}' if name else ''}"
        again = [other.layer for other in self.calls].count(layer) > 1
        if again and (layer.frozen or isinstance(layer, BatchRenorm)):
            raise ValueError(
                f"micro_batch_backward: {title} is called twice and normalizes by its running statistics, which are "
                "updated in between; use a twin() for each call, or freeze them"
            )
        if layer.training and layer.moving:
            try:
                accepts(layer, *statistics(layer, call.whole))
            except (TypeError, ValueError) as error:
                raise type(error)(f"micro_batch_backward: {title}: {error}") from None

    def differentiate_statistics(self, index: int) -> None:
        """Compute the gradients for each micro-batch's moments at a call, given those of all later calls."""
        call = self.calls[index]
        whole = _leaves(call.whole)
        leaves = [whole.mean, whole.m2]
        totals = [leaf * 0 for leaf in leaves]
        for k in range(len(self.batches)):
            outputs, cotangents = self._outputs(k, {index: whole}, index + 1)
            grads = grad(outputs, leaves, cotangents, allow_unused=True)
            totals = [t if g is None else t + g for t, g in zip(totals, grads, strict=True)]
        parts = [_leaves(part) for part in call.parts]
        merged = merge_moments(parts)
        flat = [leaf for part in parts for leaf in (part.mean, part.m2)]
        grads = grad([merged.mean, merged.m2], flat, [t.detach() for t in totals])
        call.cotangents = list(zip(grads[::2], grads[1::2], strict=True))

    def backward(self) -> float:
        """Add the gradients of all leaves to their ``.grad``; return the whole batch's loss."""
        total = 0.0
        for k in range(len(self.batches)):
            outputs, cotangents = self._outputs(k, {}, 0)
            total += outputs[0].item() * self.shares[k]
            terms = [(y * u).sum() for y, u in zip(outputs, cotangents, strict=True)]
            sum(terms[1:], terms[0]).backward()
        return total

    def _outputs(
        self, k: int, leaves: Mapping[int, Moments], first: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Micro-batch k's loss and moments at the calls from ``first`` on, and their gradients."""
        loss, seen = self.forward(k, leaves)
        if loss is None or len(seen) < len(self.calls):
            raise self._differing()
        outputs, cotangents = [loss], [loss.filled(self.shares[k])]
        for call, own in zip(self.calls[first:], seen[first:], strict=True):
            for y, u in zip((own.mean, own.m2), call.cotangents[k], strict=True):
                if y.requires_grad:
                    outputs.append(y)
                    cotangents.append(u)
        return outputs, cotangents

    def _differing(self) -> ValueError:
        return ValueError(
            "micro_batch_backward: the micro-batches call different batch norms, or in another order"
        )


def _leaves(moments: Moments) -> Moments:
    """The same moments as leaves that require gradients."""
    mean, m2 = moments.mean.detach(), moments.m2.detach()
    mean.requires_grad = m2.requires_grad = True
    return Moments(moments.count, mean, m2)


def _random_numbers(model: Module, count: int) -> Callable[[int], Any]:
    """A context manager for each of ``count`` micro-batches, in which random layers see the same numbers every time."""
    own = [getattr(module, "rng", None) for module in model.modules()]
    found = {id(g): g for g in [*own, generator(None)] if isinstance(g, np.random.Generator)}
    generators = list(found.values())
    seeds = [[int(s) for s in g.integers(2**63, size=count)] for g in generators]

    @contextmanager
    def of(k: int) -> Iterator[None]:
        before = [g.bit_generator.state for g in generators]
        for g, own_seeds in zip(generators, seeds, strict=True):
            g.bit_generator.state = type(g.bit_generator)(own_seeds[k]).state
        try:
            yield
        finally:
            for g, state in zip(generators, before, strict=True):
                g.bit_generator.state = state

    return of
