"""Which way a graph is replayed fast: by compiled kernels on the CPU, as one recording on a GPU, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..kernels.cuda import LaunchedKernels, NotRecorded
from ..kernels.numba import NumbaKernels
from ..tensor import Tensor
from .program import Plan, Rows
from .recorded import Recorded

if TYPE_CHECKING:
    from .calls import Value
    from .graph import Graph


class Unplanned:
    """No plan, and why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def run(self, inputs: list[Tensor]) -> None:
        return None


def make_plan(
    graph: Graph, kernels: Any, strides: dict[Value, tuple[int, ...]]
) -> Plan | Recorded | Unplanned:
    """A plan for arrays of these strides."""
    if isinstance(kernels, NumbaKernels):
        plan = Plan(graph, kernels, strides)
        if any(isinstance(step, Rows) for step in plan.steps):
            return plan
        return Unplanned("no op has a compiled kernel")
    if isinstance(kernels, LaunchedKernels):
        try:
            return Recorded(graph, kernels, strides)
        except NotRecorded as error:
            return Unplanned(str(error))
    return Unplanned("its kernels know no plans")
