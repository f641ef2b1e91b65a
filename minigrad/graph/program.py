"""How a graph is replayed fast: as programs of compiled kernels, with the calls that only Python can make in between.

Kernels that know how (``Kernels.writer``) write down what each op computes; for the rest the op itself is called. All
results that the graph keeps to itself share one piece of memory, planned by how long each is needed; what is returned,
and gradients, get memory of their own in each replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import pool
from ..kernels.places import NotWritten, Place, Row, Storage
from ..kernels.table import Table
from ..kernels.threads import forked, get_num_threads
from ..kernels.writer import Writer
from ..optim.optimizers import Update
from ..tensor import Tensor
from .memory import LINE, Life, share
from .state import State, plainly_set

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


class Plan:
    """The fast replay of one graph, for inputs that lie in memory as they did when it was made.

    Attributes
    ----------
    nbytes : int
        Memory that a replay takes: results that the graph keeps to itself, those that it returns, and gradients; what
        calls that Python makes allocate comes on top.
    """

    def __init__(self, graph: Graph, kernels: Any, strides: dict[Value, tuple[int, ...]]) -> None:
        # The graph keeps its plan: a way back would be a cycle, with all this memory in it.
        self._title, self._kernels, self._strides = graph.title, kernels, strides
        self._writer = Writer(kernels)
        self._busy = Lock()
        self._threads = get_num_threads()
        self._places: dict[Value, Place] = {}
        #: storages that have another array in each replay, and their numbers
        self._loose: dict[Storage, int] = {}
        #: what Python's calls made that may be views, and what those look into
        self._views: dict[Storage, Storage] = {}
        for v in graph.values():
            if v.tensor is not None:
                self._places[v] = self._writer.place(v.tensor._data, v.kind == "constant")
            elif v.kind != "result":
                self._places[v] = self._brought(v)
        self.steps: list[Rows | Call] = []
        for call in graph.calls:
            self._write(call)
        self._state = State(graph)
        self._find_memory(graph)
        for step in self.steps:
            if isinstance(step, Rows):
                step.table = Table(step.rows, self._loose)
        self._shared = any(isinstance(s, Rows) and s.table.threads > 1 for s in self.steps)
        self._brought_inputs = [(self._number(v), self._strides[v]) for v in graph.inputs]
        self._brought_gradients = [
            (v.leaf, self._number(v), self._strides[v], v.dtype)
            for v in graph.values()
            if v.kind == "gradient"
        ]
        self._gradients = [v and self._leaving(v, graph.inputs) for v in graph.gradients.values()]
        self._results = [self._leaving(v, graph.inputs) for v in graph.outputs]

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
        except (NotWritten, TypeError):
            # TypeError is Python's own word that Places are no arrays.
            self.steps.append(call)
            self._places.update((v, self._brought(v)) for v in call.outputs)
            if call.op.aliases and call.inputs[0] is not None:
                seen = self._places[call.inputs[0]].storage
                self._views |= {self._places[v].storage: seen for v in call.outputs}
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
        if isinstance(call.op, Update) and not plainly_set(call.op.optimizer):
            raise NotWritten("settings that may change without an assignment")
        arguments = [None if v is None else self._places[v] for v in call.inputs]
        result = call.op.forward(self._writer, *arguments)
        places = () if result is None else result if isinstance(result, tuple) else (result,)
        for v, place in zip(call.outputs, places, strict=True):
            # In another layout the next kernel might sum in another order than it does for eager code.
            if place.shape != v.shape or not place.lies_as(self._strides[v]):
                raise NotWritten("another layout")
        return places

    def _find_memory(self, graph: Graph) -> None:
        """Memory for the results that stay inside, shared; those that leave are loose."""
        leaving = [s for v in graph.wanted() for s in self._behind(self._places[v])]
        brought = set(self._loose)
        for storage in leaving:
            if storage.array is None:
                self._loose.setdefault(storage, len(self._loose))
        lives: dict[Storage, Life] = {}
        for moment, storage in self._uses():
            if storage.array is None and storage not in self._loose:
                first = lives[storage].first if storage in lives else moment
                lives[storage] = Life(storage.nbytes, first, moment)
        roots = self._write_over(lives)
        offsets, size = share(lives)
        pool.release()  # what eager code needed until here would lie idle beside this
        self._arena = pool.empty((size,), np.uint8)
        for storage, offset in offsets.items():
            storage.array = self._arena[offset : offset + storage.nbytes]
        for storage, root in roots.items():
            storage.array = root.array
        # What is returned may be kept for long, one by one; gradients are replaced together.
        outputs = {s for v in graph.outputs for s in self._behind(self._places[v])}
        own = [s for s in self._loose if s not in brought]
        whole = {p.storage: p for v in graph.outputs if (p := self._places[v]).whole()}
        self._single: list[tuple[int, Any, Any]] = []
        self._block: list[tuple[int, int, int]] = []
        end = 0
        for s in own:
            if s in whole:
                self._single.append((self._loose[s], whole[s].shape, whole[s].dtype))
            elif s in outputs:
                self._single.append((self._loose[s], s.nbytes, np.uint8))
            else:
                self._block.append((self._loose[s], end, end + s.nbytes))
                end += -(-s.nbytes // LINE) * LINE
        self._block_size = end
        self.nbytes = size + end + sum(s.nbytes for s in own if s in outputs)

    def _write_over(self, lives: dict[Storage, Life]) -> dict[Storage, Storage]:
        """Results that are written over an input which is not needed any more, and whose memory they take."""
        roots: dict[Storage, Storage] = {}
        moment = 0
        for step in self.steps:
            rows = step.rows if isinstance(step, Rows) else []
            for i, row in enumerate(rows):
                if row.over is not None:
                    before, result = (row.arguments[k].storage for k in row.over)
                    root = roots.get(before, before)
                    life, later = lives.get(root), lives.get(result)
                    if life and later and (life.last, life.nbytes) == (moment + i, later.nbytes):
                        lives[root] = life._replace(last=lives.pop(result).last)
                        roots[result] = root
                        rows[i] = row.in_place()
            moment += len(rows) or 1
        return roots

    def _number(self, v: Value) -> int:
        return self._loose[self._places[v].storage]

    def _leaving(self, v: Value, among: list[Value]) -> Callable[[list[Tensor], list[Any]], Any]:
        """How to get a value that leaves from the inputs and the arrays of a replay."""
        place, bound = self._places[v], v.tensor
        if v.kind == "state":
            return lambda inputs, arrays: bound
        if bound is not None:
            return lambda inputs, arrays: Tensor(bound._data.copy())
        if v.kind == "input":
            index = among.index(v)
            return lambda inputs, arrays: inputs[index]
        memory, fixed = place.storage.array, place.storage.constant
        if memory is not None:  # a view of state, or of constants, which nobody may write into
            return lambda inputs, arrays: Tensor(
                place.of(memory).copy("K") if fixed else place.of(memory)
            )
        number = self._loose[place.storage]
        if (number, place.shape, place.dtype) in self._single and place.whole():
            return lambda inputs, arrays: Tensor(arrays[number], None)
        return lambda inputs, arrays: Tensor(place.of(arrays[number]), None)

    def _behind(self, place: Place) -> Iterator[Storage]:
        """The storage of a place, and what it is a view of, which is needed as long."""
        storage: Storage | None = place.storage
        while storage is not None:
            yield storage
            storage = self._views.get(storage)

    def _uses(self) -> Iterator[tuple[int, Storage]]:
        """Which storage is needed at which moment: a row, or a call."""
        for moment, step in self._moments():
            if isinstance(step, Row):
                places = [a for a in step.arguments if isinstance(a, Place)]
            else:
                places = [self._places[v] for v in filter(None, (*step.inputs, *step.outputs))]
            yield from ((moment, s) for place in places for s in self._behind(place))

    def _moments(self) -> Iterator[tuple[int, Row | Call]]:
        """Rows, and the calls that Python makes, in time."""
        parts = (step.rows if isinstance(step, Rows) else [step] for step in self.steps)
        return enumerate(chain.from_iterable(parts))

    # --- running it ---

    def run(self, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]] | None:
        """Gradients, as many as the graph replaces, and results; None if memory is not as it was."""
        arrays = self._arrays(inputs)
        if arrays is None or not self._busy.acquire(
            blocking=False
        ):  # another thread may be in here
            return None
        try:
            if not all(map(self._refresh, self._state.reset())):
                return None
            for number, shape, dtype in self._single:
                arrays[number] = np.empty(shape, dtype)
            if self._block_size:
                block = pool.empty((self._block_size,), np.uint8)
                for number, start, end in self._block:
                    arrays[number] = block[start:end]
            try:
                self._run(arrays)
            finally:  # an error may come after some have changed
                self._state.touch()
            gradients = [g and g(inputs, arrays) for g in self._gradients]
            return gradients, [r(inputs, arrays) for r in self._results]
        finally:
            self._busy.release()

    def _arrays(self, inputs: list[Tensor]) -> list[Any] | None:
        """What was brought, in its place; None if something lies elsewhere than when this was planned."""
        if get_num_threads() != self._threads or (self._shared and forked()):
            return None
        if not self._state.in_place():
            return None
        arrays: list[Any] = [None] * len(self._loose)
        for t, (number, strides) in zip(inputs, self._brought_inputs, strict=True):
            array = t._data
            if array.strides != strides:
                return None
            arrays[number] = array
        leaf: Any
        for leaf, number, strides, dtype in self._brought_gradients:
            g: Any = leaf._grad._data  # anybody's: only its shape is known
            if type(g) is not np.ndarray or g.strides != strides or g.dtype != dtype:
                return None
            arrays[number] = g
        return arrays

    def _run(self, arrays: list[Any]) -> None:
        for step in self.steps:
            if not isinstance(step, Rows):
                self._apply(step, arrays)
                continue
            start = 0
            while (stopped := step.table.run(arrays, start)) >= 0:
                index = step.call_of(stopped)
                self._apply(step.calls[index], arrays)
                start = step.ends[index]

    def _refresh(self, op: Update) -> bool:
        """Take over an optimizer's settings; False where they need other rows than those there are."""
        for step in self.steps:
            begin = 0
            if not isinstance(step, Rows):
                continue
            for call, end in zip(step.calls, step.ends, strict=True):
                if call.op is op:
                    self._writer.rows.clear()
                    try:
                        self._written(call)
                    except (NotWritten, TypeError):
                        return False
                    fresh = self._writer.rows
                    if list(map(_fixed, fresh)) != list(map(_fixed, step.rows[begin:end])):
                        return False
                    for i, row in enumerate(fresh, begin):
                        step.table.numbers[i, : len(row.numbers)] = row.numbers
                begin = end
        self._state.settings[op] = vars(op.optimizer).copy()
        return True

    def _apply(self, call: Call, arrays: list[Any]) -> None:
        """A call as eager code makes it."""
        inputs = [None if v is None else self._array(self._places[v], arrays) for v in call.inputs]
        result = call.forward(self._kernels, inputs, self._title)
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


def _fixed(row: Row) -> list[Any]:
    """What stays of a row when an optimizer's settings are other numbers."""
    return [row.name, len(row.numbers), *(a for a in row.arguments if not isinstance(a, Place))]
