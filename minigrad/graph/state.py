"""Checks a recording makes of a graph's state: that its arrays are the same, and the settings of optimizers."""

from __future__ import annotations

from operator import attrgetter, is_
from typing import Any

from ..optim.optimizers import Optimizer, Update
from ..tape import now
from .guards import plain

_data = attrgetter("_data")


class State:
    """Parameters, buffers and optimizer state that a graph has bound, as they were when it was recorded.

    Attributes
    ----------
    settings : dict of Update to dict
        The attributes of each step's optimizer.
    """

    def __init__(self, graph: Any) -> None:
        self._tensors = [v.tensor for v in graph.state() if v.tensor is not None]
        self._arrays = [t._data for t in self._tensors]
        written = {v.tensor for call in graph.calls for v in call.written if v.kind == "state"}
        self._versions = [t._shared_version() for t in written if t is not None]
        self.settings = {
            call.op: vars(call.op.optimizer).copy()
            for call in graph.calls
            if isinstance(call.op, Update)
        }

    def in_place(self) -> bool:
        """Whether the tensors still have the same arrays."""
        return all(map(is_, map(_data, self._tensors), self._arrays))

    def reset(self) -> list[Update]:
        """The steps whose optimizers have other settings now."""
        return [op for op, before in self.settings.items() if vars(op.optimizer) != before]

    def touch(self) -> None:
        """Count a change of everything that the graph writes."""
        time = now() if self._versions else 0
        for version in self._versions:
            version[0] = time


def plainly_set(optimizer: Optimizer) -> bool:
    """Whether the settings of an optimizer are plain values, which change by assignment only."""
    settings = vars(optimizer).keys() - {"params", "state", "steps"}
    return all(plain(getattr(optimizer, name)) for name in settings)
