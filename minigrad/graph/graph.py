"""What is captured: a straight list of applied ops, and what replays it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..backend import get
from ..kernels.cuda import LaunchedKernels, NotRecorded
from ..kernels.numba import NumbaKernels
from ..kernels.recording import dense
from ..tape import Leaf, listening, moving, recording
from ..tensor import Tensor, apply, written_out
from .calls import Call, Value
from .drawing import dot, render
from .folding import fold_batch_norm
from .guards import Guards, Replays
from .memory import peak
from .passes import fold_constants, prune
from .recorded import Recorded
from .replay import Replay
from .showing import table
from .structure import Signature


@dataclass(eq=False)
class Graph(Replays):
    """A computation as a list of applied ops, which can be read, changed by passes, and replayed.

    Made by ``minigrad.capture``. Called with arguments like the example ones it computes what the captured function
    would have: the same bits, the same changes to parameters, buffers, optimizer state and gradients. All of those are
    bound by reference: it reads and moves the very tensors that the function did.

    Attributes
    ----------
    calls : list of Call
        In the order in which they were applied.
    inputs : list of Value
        Of the tensors among the arguments, in order.
    outputs : list of Value
        Of the tensors that it returns.
    gradients : dict of Leaf to Value or None
        What the call leaves in leaves' ``.grad``.
    backend : str
        Where it was captured, and runs.
    title : str
        What was captured.
    examples : list of Tensor, or None
        The example inputs; None for graphs of ``minigrad.jit``.
    differences : dict of str to float
        Of a graph with batch norms folded: for each of them the largest difference that this makes, on the examples.

    Examples
    --------
    >>> import minigrad as mg
    >>> graph = mg.capture(lambda x: (x * 2).sum(), mg.ones(3))
    >>> [call.name for call in graph.calls], graph(mg.ones(3))
    (['multiply', 'sum'], Tensor(6.))
    """

    calls: list[Call]
    inputs: list[Value]
    outputs: list[Value]
    signature: Signature
    guards: Guards
    backend: str
    title: str = "graph"
    gradients: dict[Leaf, Value | None] = field(default_factory=dict)
    #: whether what it returns led back to its inputs and parameters
    differentiable: bool = False
    examples: list[Tensor] | None = None
    differences: dict[str, float] = field(default_factory=dict)
    _plan: Replay | Recorded | None = field(default=None, init=False, repr=False)
    _recordable: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        self._recordable = all(v.nbytes for v in self.values())

    def __repr__(self) -> str:
        return f"<Graph {self.title!r}, {len(self.calls)} ops>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} is bound to the tensors that it was captured with, and is neither pickled nor copied: capture "
            "it again there, or use minigrad.jit, which does so by itself"
        )

    def __str__(self) -> str:
        """A table: see ``minigrad.graph.showing``."""
        return table(self)

    def dot(self) -> str:
        """A drawing, as DOT text for Graphviz: see ``minigrad.graph.drawing``."""
        return dot(self)

    def svg(self) -> str:
        """A drawing, as SVG text.

        Raises
        ------
        ImportError, RuntimeError
            If the Python package ``graphviz``, or Graphviz itself, is not installed.
        """
        return render(dot(self))

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; the table where Graphviz is not installed."""
        try:
            return self.svg()
        except (ImportError, RuntimeError):
            return None

    def peak_bytes(self) -> int:
        """Bytes of results in memory at once during a replay, which uses memory again as soon as it can."""
        return peak(self)

    def prune(self) -> Graph:
        """This graph without the calls whose results nobody needs."""
        return prune(self)

    def fold_constants(self) -> Graph:
        """This graph with what depends on constants alone computed beforehand."""
        return fold_constants(self)

    def fold_batch_norm(self) -> Graph:
        """This graph for inference, with each batch norm in the weights of the linear layer or convolution before it.

        Parameters and buffers become constants, whatever becomes of the model's. A batch norm stays where something
        else uses, or the graph returns, what stands between it and the layer; where its input is no layer's; and where
        its statistics are computed. Folded once more, a graph stays as it is.

        Returns
        -------
        Graph
            Its ``differences`` say what this changes: arithmetic in another order, rounded.

        Raises
        ------
        ValueError
            For a graph that trains.

        Examples
        --------
        >>> import minigrad as mg
        >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2, bias=False), mg.nn.BatchNorm(2))
        >>> _, eval_graph = mg.graphs(model, mg.ones((4, 3)))
        >>> folded = eval_graph.fold_batch_norm()
        >>> [call.name for call in folded.calls], list(folded.differences)
        (['linear'], ['1'])
        """
        return fold_batch_norm(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute.

        Raises
        ------
        TypeError, ValueError
            For arguments of another structure, shape, dtype or backend than it was captured for.
        RuntimeError
            If something has changed that the graph was captured with: a layer's mode or setting, say.
        """
        inputs = self.signature.bind(self.title, args, kwargs)
        with moving if self.moves else nullcontext():
            reason = self.guards.broken()
            if reason:
                raise RuntimeError(f"{self.title}: {reason}; capture it again, or use minigrad.jit")
            return self.run(inputs)

    @cached_property
    def moves(self) -> bool:
        """Whether it changes what other threads may change as well, so that they must wait."""
        written = any(v.kind == "state" for call in self.calls for v in call.written)
        return written or bool(self.guards.leaves)

    def run(self, inputs: list[Tensor]) -> Any:
        """Compute, for inputs that are known to fit."""
        with moving if self.moves else nullcontext():
            for leaf in self.gradients:
                if leaf not in self.guards.leaves:
                    # It is replaced without being read, so its memory can be reused now.
                    leaf.grad = None
            heard = listening.get()
            if heard is not None:
                heard.includes(self)
            if heard is not None or (recording.get() and self.differentiable):
                values = self._reapply(inputs)
            else:
                values = self._replay(inputs)
            return self.signature.rebuild(values)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to an ONNX file, to be run by other programs; ``minigrad.from_onnx`` reads it back.

        Parameters, buffers and inputs keep their names, the parameters' values stand in the file, and the nodes are
        named after their layers. It consists of standard operators only (opset 21). Sizes are those that the graph was
        captured with, the number of examples too.

        Parameters
        ----------
        path : path
            Written whole or not at all.

        Raises
        ------
        ImportError
            If onnx is not installed.
        ValueError
            For an op that ONNX does not have (the step of an optimizer, some backward passes), naming it and its layer;
            for gradients left in leaves; for more than 2 GiB of weights.

        Notes
        -----
        A graph of a training forward normalizes by the batch, and has what the running statistics become as further
        outputs, ``"bn.running_mean.new"`` and so on: ONNX changes nothing in place. Where ``on_nonfinite="raise"``
        would raise, the file gives NaN. Dropout draws its masks from the other program's generator; ONNX Runtime's
        optimizations leave it out.

        Examples
        --------
        >>> import minigrad as mg, tempfile
        >>> graph = mg.capture(mg.nn.Linear(3, 2), mg.ones((4, 3)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     graph.to_onnx(f"{folder}/linear.onnx")
        ...     mg.from_onnx(f"{folder}/linear.onnx")
        OnnxModel(input -> output)
        """
        from ..onnx.export import write

        write(self, path)

    def state(self) -> list[Value]:
        """The tensors bound by reference, in the order of their first use."""
        return self._of_kind("state")

    def constants(self) -> list[Value]:
        """The numbers that stand in the program."""
        return self._of_kind("constant")

    def values(self) -> Iterator[Value]:
        """All there are, each once: inputs, then as calls use and make them, then what is left."""
        seen: dict[Value, None] = dict.fromkeys(self.inputs)
        for call in self.calls:
            seen.update(dict.fromkeys(v for v in (*call.inputs, *call.outputs) if v is not None))
        seen.update(dict.fromkeys(self.wanted()))
        return iter(seen)

    def _of_kind(self, kind: str) -> list[Value]:
        return [v for v in self.values() if v.kind == kind]

    def _reapply(self, inputs: list[Tensor]) -> list[Tensor]:
        """Apply every op once more, so that the tape, or another capture, hears it."""
        known = self._start(inputs)
        for v in self.constants():
            written_out(known[v])
        ambient = recording.get()
        for call in self.calls:
            arguments = [None if v is None else known[v] for v in call.inputs]
            token = recording.set(ambient and call.recorded)
            try:
                result = apply(call.op, *arguments)
            finally:
                recording.reset(token)
            outputs = result if isinstance(result, tuple) else (result,)
            known.update(zip(call.outputs, outputs, strict=False))
        return self._finish(known)

    def _replay(self, inputs: list[Tensor]) -> list[Tensor]:
        """The same on arrays, where nobody listens."""
        backend = get(self.backend)
        if backend.devices is not None:
            bound = [v.tensor for v in self.state() if v.tensor is not None] if not inputs else ()
            backend.devices.check(self.title, [t._data for t in (*inputs, *bound)])
        found = None if self._plan is None else self._plan.run(inputs)
        if found is None and isinstance(backend.kernels, NumbaKernels):
            found = self._record(inputs, backend.kernels)
        if found is not None:
            gradients, results = found
            for leaf, g in zip(self.gradients, gradients, strict=True):
                leaf.grad = g
            return results
        there = self._start(inputs)
        known = {v: t._data for v, t in there.items()}
        strides = {v: array.strides for v, array in known.items()}
        for call, done in zip(self.calls, self.last_uses(), strict=True):
            arrays = [None if v is None else known[v] for v in call.inputs]
            made = call.forward(backend.kernels, arrays, self.title)
            known.update(zip(call.outputs, made, strict=True))
            for v in call.written:
                if v.tensor is not None:
                    v.tensor._bump()
            for v in done:
                del known[v]
        if isinstance(backend.kernels, LaunchedKernels) and self._recordable:
            try:
                self._plan = Recorded(self, backend.kernels, strides)
            except NotRecorded:
                self._recordable = False
        return self._finish(
            {v: there[v] if v in there else Tensor(known[v]) for v in self.wanted()}
        )

    def _record(self, inputs: list[Tensor], kernels: Any) -> Any:
        """Gradients and results of a replay that is recorded; None where it can't be, or another thread runs it."""
        if isinstance(self._plan, Replay) and self._plan.fits(inputs):
            return None
        if not self._recordable or not all(dense(t._data) for t in inputs):
            return None
        plan = Replay(self, kernels)
        found = plan.record(self, inputs)
        self._plan, self._recordable = (None, False) if plan.failed else (plan, True)
        return found

    def _start(self, inputs: list[Tensor]) -> dict[Value, Tensor]:
        """What is there before the first call."""
        known = dict(zip(self.inputs, inputs, strict=True))
        for v in self.values():
            if v.tensor is not None:
                known[v] = v.tensor
            elif v.leaf is not None and v.leaf.grad is not None:
                known[v] = v.leaf.grad
        return known

    def wanted(self) -> list[Value]:
        """What a call leaves: results and gradients."""
        return [*self.outputs, *(v for v in self.gradients.values() if v is not None)]

    def last_uses(self) -> list[list[Value]]:
        """For each call, the results that nobody needs after it."""
        kept, seen = set(self.wanted()), set[Value]()
        last: list[list[Value]] = []
        for call in reversed(self.calls):
            used = [v for v in (*call.inputs, *call.outputs) if v is not None]
            done = [v for v in dict.fromkeys(used) if v not in seen and v not in kept]
            seen.update(done)
            last.append([v for v in done if v.kind == "result"])
        return last[::-1]

    def _finish(self, known: dict[Value, Tensor]) -> list[Tensor]:
        """Leave gradients in their leaves; what is returned."""

        def own(v: Value) -> Tensor:  # nobody may write into constants
            return Tensor(known[v]._data.copy()) if v.kind == "constant" else known[v]

        for leaf, v in self.gradients.items():
            leaf.grad = None if v is None else own(v)
        return [own(v) for v in self.outputs]
