"""How a graph is replayed on a GPU: as one CUDA graph of everything that its calls launch.

A recording has every address and number in it. So arguments are copied to where they were when it was made, seeds of
dropout masks are read from memory, and where the state lies elsewhere or an optimizer has other settings, another
recording is made. Results and gradients are lent: they are the recording's own memory, which the next replay
overwrites. If the caller still holds one by then, that call runs op by op instead, and a new recording copies that
value out.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.cuda import NotRecorded, lying, put_back
from ..ops.random import DropoutMask
from ..tensor import Tensor, new
from .guards import TENSORS, State, plain

if TYPE_CHECKING:
    from .calls import Call, Value
    from .calls import Trace as Graph


class Recorded:
    """The replay of one graph, for inputs that lie in memory as they did when it was made.

    Attributes
    ----------
    kept : frozenset of Value
        Those that callers kept until the next replay: ``kept`` by earlier recordings of the graph, and this one's.

    Raises
    ------
    NotRecorded
        For calls that look at values, inputs with gaps in memory, and results whose copies would no longer share memory
        with an argument, or with another result.
    """

    def __init__(
        self,
        graph: Graph,
        kernels: Any,
        strides: dict[Value, tuple[int, ...]],
        kept: frozenset[Value],
    ) -> None:
        self.kept = kept
        self._kernels, self._busy, self._state = kernels, Lock(), State(graph)
        self._graph_inputs, self._wanted = graph.inputs, graph.outputs
        self._gradients = list(graph.gradients.values())
        self._masks = [call.op for call in graph.calls if isinstance(call.op, DropoutMask)]
        self._seeds = kernels.xp.zeros(max(len(self._masks), 1), np.int64)
        self._known: dict[Value, Any] = {}
        self._brought: list[tuple[Value, Any]] = []
        for v in graph.values():
            if v.tensor is not None:
                self._known[v] = v.tensor._data
            elif v.kind != "result":
                self._known[v] = _room(kernels.xp, v, strides[v])
                self._brought.append((v, strides[v]))
        for settings in self._state.settings.values():
            if not all(plain(v) for name, v in settings.items() if name not in TENSORS):
                raise NotRecorded("settings that may change without an assignment")
        copied, lent = self._copied_and_lent(graph)
        self._bound = {v: v.tensor for v in graph.wanted() if v.kind == "state"}
        self._replay = self._launched(graph)
        made = [v for v in graph.wanted() if v.kind in ("result", "constant")]
        self._made = [(v, self._known[v], v in copied) for v in dict.fromkeys(made)]
        self._lent = {v: self._holders(v) for v in lent}

    def _copied_and_lent(self, graph: Graph) -> tuple[list[Value], list[Value]]:
        """The gradients and results that leave as copies, and those that are lent; the others are not its own."""
        leaving = [*self._gradients, *self._wanted]
        copied: list[Value] = []
        lent: list[Value] = []
        for base, places in graph.sharing().items():
            values: list[Any] = list(dict.fromkeys(leaving[i] for i in places))
            keeps = base.kind == "result" and not self.kept.isdisjoint(values)
            views = base.kind in ("input", "gradient") and values != [base]
            if views or (keeps and len(values) > 1):
                raise NotRecorded("a copy that would not share memory")
            if base.kind == "constant" or keeps:
                copied += values
            elif base.kind == "result":
                lent += values
        return copied, lent

    def _launched(self, graph: Graph) -> Callable[[], None]:
        """Record; a function that replays."""
        wanted, replay = self._kernels.launch.record(lambda: self._record(graph))
        self._known |= wanted
        return replay

    def _record(self, graph: Graph) -> dict[Value, Any]:
        """Apply the calls; what leaves. The memory of the rest is used again as soon as it can."""
        known, seeds = dict(self._known), iter(self._seeds.reshape(-1, 1))

        def forward(call: Call, arrays: list[Any]) -> tuple[Any, ...]:
            if isinstance(call.op, DropoutMask):
                return (self._kernels.dropout_mask(arrays[0], call.op.p, next(seeds)),)
            return call.forward(self._kernels, arrays, graph.title)

        graph.walk(known, forward)
        return {v: known[v] for v in graph.wanted()}

    def _holders(self, v: Value) -> int:
        """How many hold a value's array or its memory; only a rise between two calls has a meaning."""
        found: int = self._kernels.launch.holders(self._known[v])
        return found

    def run(self, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]] | None:
        """Gradients, as many as the graph replaces, and results; None if another recording is needed."""
        if not self._busy.acquire(blocking=False):  # another thread may be in here
            return None
        try:
            held = {v: self._holders(v) for v in self._lent}
            kept = {v for v, now in held.items() if now > self._lent[v]}
            self.kept |= kept
            self._lent = held if not kept else self._lent
            if kept or not self._state.in_place() or self._state.reset():
                return None
            leaving = dict(zip(self._graph_inputs, inputs, strict=True)) | self._bound
            leaving |= {v: v.leaf.grad for v, _ in self._brought if v.leaf is not None}
            if not self._bring(leaving):
                return None
            self._kernels.check()
            if self._masks:
                seeds = np.array([mask.draw() for mask in self._masks])
                self._seeds[...] = self._kernels.xp.asarray(seeds)
            try:
                self._replay()
            finally:
                self._state.touch()
            for v, array, copied in self._made:
                leaving[v] = tensor = new(Tensor)
                tensor._data = array.copy(order="K") if copied else array
                tensor._ref = tensor._version = None
            gradients = [v and leaving[v] for v in self._gradients]
            return gradients, [leaving[v] for v in self._wanted]
        finally:
            self._busy.release()

    def _bring(self, given: dict[Value, Any]) -> bool:
        """Copy what is another array in each replay to its place, if all lies as it did."""
        arrays = []
        for v, strides in self._brought:
            array = given[v]._data
            if array.strides != strides or array.dtype != v.dtype:
                return False
            arrays.append(array)
        for (v, _), array in zip(self._brought, arrays, strict=True):
            self._kernels.xp.copyto(self._known[v], array)
        return True


def _room(xp: Any, v: Value, strides: tuple[int, ...]) -> Any:
    """An array for a value, of these strides."""
    order = lying(strides)
    array = put_back(xp.empty(tuple([v.shape[i] for i in order]), v.dtype), order)
    if array.strides != strides:
        raise NotRecorded(f"an array of shape {v.shape} with gaps: strides of {strides} bytes")
    return array
