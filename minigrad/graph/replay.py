"""How a graph is replayed fast on the CPU: as the list of what its ops did to arrays when it was recorded.

Recording is a run like any other, op by op; see ``kernels.recording``. What is returned, and gradients, get memory of
their own in each replay; steps that use them, or arguments, are given the new arrays before a replay starts.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from ..kernels.recording import Memory, Recording
from ..optim.optimizers import Update
from ..tape import revised
from ..tensor import Tensor, new
from .calls import Call, Value
from .guards import State


class Replay:
    """The recorded replay of one graph, for inputs in the layouts that it was recorded with.

    Attributes
    ----------
    steps : list of (function, arguments)
    calls : list of Call
        Of which op each step is.
    blocks : list of arrays of bytes
        The memory of intermediate results.
    busy : Lock
        Held by the thread that replays it.
    """

    def __init__(self, graph: Any, kernels: Any) -> None:
        # The graph keeps its replay: a way back would be a cycle, with all this memory in it.
        self._title, self._kernels, self.busy = graph.title, kernels, Lock()
        self._revision, self._state = revised[0], State(graph)
        self.steps: list[tuple[Any, list[Any]]] = []
        self.calls: list[Call] = []
        self.blocks: list[np.ndarray] = []
        self._leaves: list[Any] = []
        self._brought: list[tuple[Memory, tuple[int, ...], np.dtype]] = []
        self._fresh: list[Memory] = []
        self._constants: list[Memory] = []
        self._results: list[Any] = []
        self._gradients: list[Any] = []

    def run(self, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]] | None:
        """Gradients, as many as the graph replaces, and results; None if it doesn't fit, or is running elsewhere."""
        revision, step = revised[0], None
        if revision != self._revision and not self._state.in_place():
            return None
        self._revision = revision
        arrays = [t._data for t in inputs]
        for leaf in self._leaves:
            arrays.append(leaf.grad._data)
        for (_, strides, dtype), a in zip(self._brought, arrays):  # noqa: B905
            if a.strides != strides or a.dtype != dtype or type(a) is not np.ndarray:
                return None
        if not self.busy.acquire(blocking=False):
            return None
        try:
            for (memory, *_), array in zip(self._brought, arrays):  # noqa: B905
                memory.bind(array)
            for memory in self._fresh:
                memory.renew()
            for step in self.steps:
                function, arguments = step
                function(*arguments)
            return self._leaving(self._gradients, inputs), self._leaving(self._results, inputs)
        except (TypeError, ValueError) as error:
            at = next(i for i, other in enumerate(self.steps) if other is step)
            raise self.calls[at].located(error, self._title) from error
        finally:
            self._state.touch()  # an error may come after some have changed
            for memory, *_ in self._brought:
                memory.bind(None)
            self.busy.release()

    def record(self, graph: Any, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]]:
        """Compute as ``run`` does, and note how."""
        recording, known = Recording(self._kernels), dict[Any, Any]()
        self._leaves = [v.leaf for v in graph.values() if v.kind == "gradient"]
        given = dict(zip(graph.inputs, inputs, strict=True))
        for v in graph.values():
            if v.tensor is not None:
                known[v], memory = recording.fixed(v.tensor._data)
                if v.kind == "constant":
                    self._constants.append(memory)
            elif v.kind != "result":
                source: Any = given[v] if v.leaf is None else v.leaf.grad
                known[v], memory = recording.brought(source._data)
                self._brought.append((memory, known[v].strides, v.dtype))
        try:
            graph.walk(known, partial(self._apply, recording))
        finally:
            self._state.touch()
        self.steps = recording.steps
        self.failed = recording.failed
        leaving = partial(self._source, recording, known, graph.inputs)
        self._results = [leaving(v) for v in graph.outputs]
        self._gradients = [None if v is None else leaving(v) for v in graph.gradients.values()]
        for memory in self._fresh:
            array = memory.largest()
            memory.expect(array)
            memory.array = array.copy()
            memory.own()
        found = self._leaving(self._gradients, inputs), self._leaving(self._results, inputs)
        recording.finish()
        left = {id(memory.buffer) for memory in self._fresh}
        self.blocks = [block for block in recording.blocks if id(block) not in left]
        return found

    def _leaving(self, sources: list[Any], inputs: list[Tensor]) -> list[Any]:
        """The values of these sources, as ``_source`` describes them; None where there is none."""
        values = []
        for source in sources:
            if type(source) is int:
                values.append(inputs[source])
            elif type(source) is list:
                values.append(value := new(Tensor))
                (array, constant), value._ref, value._version = source, None, None
                value._data = array.copy("K") if constant else array
            else:
                values.append(source)
        return values

    def _apply(self, recording: Recording, call: Call, inputs: list[Any]) -> list[Any]:
        reason = "an optimizer's settings may change" if isinstance(call.op, Update) else ""
        changes = bool(call.op.writes)
        compute = call.op.forward if changes else call.compute
        try:
            made = recording.apply(compute, inputs, reason, changes)
        except (TypeError, ValueError) as error:
            raise call.located(error, self._title) from error
        self.calls += [call] * (len(recording.steps) - len(self.calls))
        return made

    def _source(
        self, recording: Recording, known: dict[Value, Any], inputs: list[Value], v: Value
    ) -> Any:
        """The source of a value that leaves a replay: an input's index, a bound tensor, or a list.

        The list holds the array, which is replaced with its memory, and whether it is a constant, to be copied.
        """
        if v.kind in ("input", "state"):
            return inputs.index(v) if v.kind == "input" else v.tensor
        memory = recording.find(known[v])
        assert memory is not None
        source = [memory.view(known[v]), memory in self._constants]
        if memory not in self._constants:
            if memory.buffer is not None:
                memory.use(source, 0, known[v])
            if memory.owned and memory not in self._fresh:
                self._fresh.append(memory)
        return source
