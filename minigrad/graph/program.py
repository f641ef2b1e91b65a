"""How a graph is replayed fast: as programs of compiled kernels, with the calls that only Python can make in between.

Kernels that know how (``Kernels.writer``) write down what each op computes; for the rest the op itself is called. All
results that the graph keeps to itself share one piece of memory, planned by how long each is needed; what is returned,
and gradients, get memory of their own in each replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import pool
from ..kernels.numba import NumbaKernels
from ..kernels.places import NotWritten, Place, Row, Storage
from ..kernels.table import Table
from ..kernels.threads import get_num_threads
from ..kernels.writer import Writer
from ..optim.optimizers import Update
from ..tape import now
from ..tensor import Tensor
from .memory import LINE, Life, share

if TYPE_CHECKING:
    from .calls import Call, Value
    from .graph import Graph


@dataclass(eq=False)
class Rows:
    """Calls that are one program, and where the rows of each end."""

    calls: list[Call] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    table: Any = None

    def call_of(self, row: int) -> int:
        return next(i for i, end in enumerate(self.ends) if row < end)


def make_plan(graph: Graph, kernels: Any, strides: dict[Value, tuple[int, ...]]) -> Plan | None:
    """A plan for arrays of these strides; None where there is nothing to plan."""
    if not isinstance(kernels, NumbaKernels):
        return None
    plan = Plan(graph, kernels, strides)
    return plan if any(isinstance(step, Rows) for step in plan.steps) else None


class Plan:
    """The fast replay of one graph, for inputs that lie in memory as they did when it was made.

    Attributes
    ----------
    nbytes : int
        Memory that a replay takes: results that the graph keeps to itself, those that it returns, and gradients; what
        calls that Python makes allocate comes on top.
    """

    def __init__(self, graph: Graph, kernels: Any, strides: dict[Value, tuple[int, ...]]) -> None:
        self._graph, self._kernels, self._strides = graph, kernels, strides
        self._writer = Writer(kernels)
        self._busy = Lock()
        self._threads = get_num_threads()
        self._places: dict[Value, Place] = {}
        #: storages that have another array in each replay, and their numbers
        self._loose: dict[Storage, int] = {}
        for v in graph.values():
            if v.tensor is not None:
                self._places[v] = self._writer.place(v.tensor._data)
            elif v.kind != "result":
                self._places[v] = self._brought(v)
        self.steps: list[Rows | Call] = []
        for call in graph.calls:
            self._write(call)
        self._bound = [(v.tensor, v.tensor._data) for v in graph.values() if v.tensor is not None]
        written = {v.tensor for call in graph.calls for v in call.written if v.kind == "state"}
        self._versions = [t._shared_version() for t in written if t is not None]
        self._settings = {
            call.op: vars(call.op.optimizer).copy()
            for call in graph.calls
            if isinstance(call.op, Update)
        }
        self._find_memory()
        for step in self.steps:
            if isinstance(step, Rows):
                step.table = Table(step.rows, self._loose)
        self._wanted = {
            v: self._places[v] for v in graph.wanted() if v.kind not in ("state", "constant")
        }

    # --- making it ---

    def _brought(self, v: Value) -> Place:
        """A place in an array that is another in each replay."""
        storage = Storage(v.nbytes)
        self._loose[storage] = len(self._loose)
        return Place(storage, v.shape, v.dtype, self._strides[v])

    def _write(self, call: Call) -> None:
        """Rows for a call, or the call itself."""
        rows = self._writer.rows
        rows.clear()
        try:
            places = self._written(call)
        except (
            NotWritten,
            TypeError,
        ):  # a TypeError is Python's own word that Places are no arrays
            self.steps.append(call)
            self._places.update((v, self._brought(v)) for v in call.outputs)
            return
        self._places.update(zip(call.outputs, places, strict=True))
        if not rows:  # a view
            return
        if not self.steps or not isinstance(self.steps[-1], Rows):
            self.steps.append(Rows())
        step = self.steps[-1]
        assert isinstance(step, Rows)
        step.calls.append(call)
        step.rows += rows
        step.ends.append(len(step.rows))

    def _written(self, call: Call) -> tuple[Place, ...]:
        """Have a call written down; where its results will be."""
        values = [*call.inputs, *call.outputs]
        if any(v is not None and not v.nbytes for v in values):
            raise NotWritten("arrays without elements")
        arguments = [None if v is None else self._places[v] for v in call.inputs]
        result = call.op.forward(self._writer, *arguments)
        places = () if result is None else result if isinstance(result, tuple) else (result,)
        for v, place in zip(call.outputs, places, strict=True):
            # In another layout the next kernel might sum in another order than it does for eager code.
            if place.shape != v.shape or not place.lies_as(self._strides[v]):
                raise NotWritten("another layout")
        return places

    def _find_memory(self) -> None:
        """Memory for the results that stay inside, shared; those that leave are loose."""
        leaving = [self._places[v].storage for v in self._graph.wanted()]
        brought = set(self._loose)
        for storage in leaving:
            if storage.array is None:
                self._loose.setdefault(storage, len(self._loose))
        lives: dict[Storage, Life] = {}
        for moment, storage in self._uses():
            if storage.array is None and storage not in self._loose:
                first = lives[storage].first if storage in lives else moment
                lives[storage] = Life(storage.nbytes, first, moment)
        offsets, size = share(lives)
        self._arena = pool.empty((size,), np.uint8)
        for storage, offset in offsets.items():
            storage.array = self._arena[offset : offset + storage.nbytes]
        # What is returned may be kept for long, one by one; gradients are replaced together.
        outputs = {self._places[v].storage for v in self._graph.outputs}
        own = [s for s in self._loose if s not in brought]
        self._single = [(self._loose[s], s.nbytes) for s in own if s in outputs]
        self._block: list[tuple[int, int, int]] = []
        end = 0
        for s in own:
            if s not in outputs:
                self._block.append((self._loose[s], end, s.nbytes))
                end += -(-s.nbytes // LINE) * LINE
        self._block_size = end
        self.nbytes = size + end + sum(n for _, n in self._single)

    def _uses(self) -> Iterator[tuple[int, Storage]]:
        """Which storage is needed at which moment: a row, or a call."""
        moment = 0
        for step in self.steps:
            if isinstance(step, Rows):
                for row in step.rows:
                    yield from ((moment, a.storage) for a in row.arguments if isinstance(a, Place))
                    moment += 1
            else:
                values = [v for v in (*step.inputs, *step.outputs) if v is not None]
                yield from ((moment, self._places[v].storage) for v in values)
                moment += 1

    # --- running it ---

    def run(self, there: dict[Value, Tensor]) -> dict[Value, Tensor] | None:
        """Results and gradients; None if memory is not as it was, or another thread is in here."""
        if not self._fits(there) or not self._busy.acquire(blocking=False):
            return None
        try:
            self._refresh()
            return self._run(there)
        finally:
            self._busy.release()

    def _fits(self, there: dict[Value, Tensor]) -> bool:
        for t, array in self._bound:
            if t._data is not array:
                return False
        for v, t in there.items():
            if v.tensor is None and t._data.strides != self._strides[v]:
                return False
        return get_num_threads() == self._threads

    def _refresh(self) -> None:
        """Take over optimizers' settings that have changed."""
        for op, before in self._settings.items():
            assert isinstance(op, Update)
            if vars(op.optimizer) != before:
                self._settings[op] = vars(op.optimizer).copy()
                for step in self.steps:
                    if isinstance(step, Rows):
                        self._rewrite(step, op)

    def _rewrite(self, step: Rows, op: Update) -> None:
        begin = 0
        for call, end in zip(step.calls, step.ends, strict=True):
            if call.op is op:
                self._writer.rows.clear()
                self._written(call)
                for i, row in enumerate(self._writer.rows, begin):
                    step.table.numbers[i, : len(row.numbers)] = row.numbers
            begin = end

    def _run(self, there: dict[Value, Tensor]) -> dict[Value, Tensor]:
        places, loose = self._places, self._loose
        arrays: list[Any] = [None] * len(loose)
        for v, t in there.items():
            if v.tensor is None:
                arrays[loose[places[v].storage]] = t._data
        for number, nbytes in self._single:
            arrays[number] = pool.empty((nbytes,), np.uint8)
        block = pool.empty((self._block_size,), np.uint8)
        for number, start, nbytes in self._block:
            arrays[number] = block[start : start + nbytes]
        for step in self.steps:
            if isinstance(step, Rows):
                start = 0
                while (stopped := step.table.run(arrays, start)) >= 0:
                    index = step.call_of(stopped)
                    self._apply(step.calls[index], arrays)
                    start = step.ends[index]
            else:
                self._apply(step, arrays)
        time = now()
        for version in self._versions:
            version[0] = time
        return {
            v: there[v] if v in there else Tensor(self._array(place, arrays))
            for v, place in self._wanted.items()
        } | {v: v.tensor for v in self._graph.wanted() if v.tensor is not None}

    def _apply(self, call: Call, arrays: list[Any]) -> None:
        """A call as eager code makes it."""
        inputs = [None if v is None else self._array(self._places[v], arrays) for v in call.inputs]
        result = call.forward(self._kernels, inputs, self._graph.title)
        for v, array in zip(call.outputs, result, strict=True):
            place = self._places[v]
            number = self._loose.get(place.storage)
            if number is None or arrays[number] is not None:
                self._array(place, arrays)[...] = array
            elif array.strides == place.strides:
                arrays[number] = array
            else:
                arrays[number] = own = np.empty(place.storage.nbytes, np.uint8)
                place.of(own)[...] = array

    def _array(self, place: Place, arrays: list[Any]) -> Any:
        number = self._loose.get(place.storage)
        memory: Any = place.storage.array if number is None else arrays[number]
        return place.of(memory)
