"""Where the statistics of a batch go, and where a batch's statistics come from.

After a forward in training a batch norm hands the statistics of its batch to whoever collects them; as a rule that is
the layer itself, which moves its running ones. ``hold_statistics`` lets them go by, ``population_statistics`` gathers
them.

Before it normalizes, a batch norm may merge its statistics with those of others that together with it make up the
batch (``merging_statistics``): other micro-batches, other processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..contexts import Override, Setting
from ..ops.moments import Moments
from ..tensor import Tensor
from .module import Module

#: takes a layer, and its batch's mean, biased variance, and values per channel
Collector = Callable[[Any, Tensor, Tensor, float], None]
#: takes a layer and the moments of what it sees, and returns those to normalize by
Merge = Callable[[Any, Moments], Moments]

collector: Setting[Collector | None] = Setting("collector", None)
merging: Setting[Merge | None] = Setting("merging", None)


def collecting_statistics(collect: Collector) -> Override:
    """Inside, the statistics of training batches go to ``collect`` and move nothing."""
    return Override(collector.variable, lambda outside: collect)


def merging_statistics(merge: Merge) -> Override:
    """Inside, batch norms in training normalize by ``merge(layer, moments)``, given the moments of their own input.

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
    return Override(merging.variable, lambda outside: merge)


def hold_statistics(model: Module | None = None) -> Override:
    """Inside, no running statistics of ``model`` move: for forwards that are not a step of training.

    Recomputing a forward, checking a gradient or capturing a graph sees a batch that was counted already, or one that
    is not of the data. The layers compute what they would in training otherwise.

    Parameters
    ----------
    model : Module, optional
        Whose batch norms to hold; all there are by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm(2)
    >>> with mg.nn.hold_statistics(bn):
    ...     y = bn(mg.tensor([[1, 10], [3, 30]]))
    >>> bn.running_mean, bn.num_batches
    (Tensor([0., 0.]), Tensor(0, dtype=int64))
    """

    def holding(outside: Collector | None) -> Collector:
        held = None if model is None else set(model.modules())

        def collect(layer: Any, mean: Tensor, var: Tensor, m: float) -> None:
            if held is None or layer in held:
                return
            if outside is None:
                layer.move_statistics(mean, var, m)
            else:
                outside(layer, mean, var, m)

        return collect

    return Override(collector.variable, holding)
