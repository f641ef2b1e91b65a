"""How a graph is replayed fast on the CPU: as the list of what its ops did to arrays when it was recorded.

Recording is a run like any other, op by op; see ``kernels.recording``. What is returned, and gradients, get memory of
their own in each replay; steps that use them, or arguments, are given the new arrays before a replay starts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from ..kernels.recording import Memory, Recording
from ..optim.optimizers import Update
from ..tensor import Tensor
from .calls import Call, Value
from .state import State


class Replay:
    """The recorded replay of one graph, for inputs in the layouts that it was recorded with.

    Attributes
    ----------
    steps : list of (function, arguments)
    calls : list of Call
        Of which op each step is.
    blocks : list of arrays of bytes
        The memory of intermediate results.
    """

    def __init__(self, graph: Any, kernels: Any) -> None:
        # The graph keeps its replay: a way back would be a cycle, with all this memory in it.
        self._title, self._kernels, self._busy = graph.title, kernels, Lock()
        self._state = State(graph)
        self.steps: list[tuple[Any, list[Any]]] = []
        self.calls: list[Call] = []
        self.blocks: list[np.ndarray] = []
        self._leaves: list[Any] = []
        self._brought: list[tuple[Memory, tuple[int, ...], np.dtype]] = []
        self._fresh: list[Memory] = []
        self._constants: list[Memory] = []
        self._results: list[Callable[[list[Tensor]], Tensor]] = []
        self._gradients: list[Callable[[list[Tensor]], Tensor] | None] = []

    def fits(self, inputs: list[Tensor]) -> bool:
        """Whether arguments and earlier gradients are laid out, and state is, as when it was recorded."""
        return self._arrays(inputs) is not None

    def run(self, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]] | None:
        """Gradients, as many as the graph replaces, and results; None if it doesn't fit, or is running elsewhere."""
        arrays, step = self._arrays(inputs), None
        if arrays is None or not self._busy.acquire(blocking=False):
            return None
        try:
            for (memory, *_), array in zip(self._brought, arrays):  # noqa: B905
                memory.bind(array)
            for memory in self._fresh:
                memory.renew()
            for step in self.steps:
                function, arguments = step
                function(*arguments)
            return self._leaving(inputs)
        except (TypeError, ValueError) as error:
            at = next(i for i, other in enumerate(self.steps) if other is step)
            raise self.calls[at].located(error, self._title) from error
        finally:
            self._state.touch()  # an error may come after some have changed
            for memory, *_ in self._brought:
                memory.unbind()
            self._busy.release()

    def _arrays(self, inputs: list[Tensor]) -> list[Any] | None:
        """What is another array in each replay; None if something has another layout than when it was recorded."""
        if not self._state.in_place():
            return None
        arrays = [t._data for t in inputs]
        for leaf in self._leaves:
            arrays.append(leaf.grad._data)
        for (_, strides, dtype), a in zip(self._brought, arrays):  # noqa: B905
            if a.strides != strides or a.dtype != dtype or type(a) is not np.ndarray:
                return None
        return arrays

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
            for call, done in zip(graph.calls, graph.last_uses(), strict=True):
                self._apply(call, recording, known)
                for v in done:
                    del known[v]
        finally:
            self._state.touch()
        self.steps = recording.steps
        self.failed = recording.failed
        leaving = partial(self._leave, recording, known, graph.inputs)
        self._results = [leaving(v) for v in graph.outputs]
        self._gradients = [None if v is None else leaving(v) for v in graph.gradients.values()]
        for memory in self._fresh:
            array = memory.largest()
            memory.expect(array)
            memory.array = array.copy()
            memory.own()
        found = self._leaving(inputs)
        recording.finish()
        left = {id(memory.buffer) for memory in self._fresh}
        self.blocks = [block for block in recording.blocks if id(block) not in left]
        return found

    def _leaving(self, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]]:
        return [g and g(inputs) for g in self._gradients], [r(inputs) for r in self._results]

    def _apply(self, call: Call, recording: Recording, known: dict[Value, Any]) -> None:
        inputs = [None if v is None else known[v] for v in call.inputs]
        reason = "an optimizer's settings may change" if isinstance(call.op, Update) else ""
        try:
            made = recording.apply(call.compute, inputs, reason, bool(call.op.writes))
        except (TypeError, ValueError) as error:
            raise call.located(error, self._title) from error
        known.update(zip(call.outputs, made, strict=True))
        self.calls += [call] * (len(recording.steps) - len(self.calls))

    def _leave(
        self, recording: Recording, known: dict[Value, Any], inputs: list[Value], v: Value
    ) -> Callable[[list[Tensor]], Tensor]:
        """How to get a value that leaves a replay with these inputs."""
        if v.kind == "input":
            index = inputs.index(v)
            return lambda inputs: inputs[index]
        if v.kind == "state":
            bound: Any = v.tensor
            return lambda inputs: bound
        memory = recording.find(known[v])
        assert memory is not None
        holder: list[Any] = [memory.view(known[v])]
        if memory in self._constants:  # which nobody may write into
            return lambda inputs: Tensor(holder[0].copy("K"), None)
        if memory.buffer is not None:
            memory.use(holder, 0, known[v])
        if memory.owned and memory not in self._fresh:
            self._fresh.append(memory)
        return lambda inputs: Tensor(holder[0], None)
