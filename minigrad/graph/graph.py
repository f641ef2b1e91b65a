"""Graph: a captured computation that can be printed, drawn, changed by passes, exported and replayed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..backend import get
from ..kernels.cuda import LaunchedKernels, NotRecorded
from ..kernels.numba import NumbaKernels
from ..kernels.recording import dense
from ..tape import moving, recording, tracing
from ..tensor import Tensor, apply, literal
from .calls import Call, Trace, Value
from .costs import peak
from .drawing import dot, svg
from .passes import fold_batch_norm, fold_constants, prune
from .recorded import Recorded
from .replay import Replay
from .showing import table


@dataclass(eq=False)
class Graph(Trace):
    """A computation as a list of applied ops, which can be read, changed by passes, and replayed.

    Made by ``minigrad.capture``. Called with arguments like the example ones it computes what the captured function
    would have: the same bits, the same changes to parameters, buffers, optimizer state and gradients. All of those are
    bound by reference: it reads and changes the very tensors that the function did.

    Attributes
    ----------
    calls : list of Call
        In the order in which they were applied.
    inputs, outputs : list of Value
        The tensors among the arguments, and those that it returns, in order.
    gradients : dict of Leaf to Value or None
        What the call assigns to leaves' ``.grad``.
    backend : str
        Where it was captured, and runs.
    title : str
        The name of the captured function.
    examples : list of Tensor, or None
        The example inputs; None for graphs of ``minigrad.jit``.
    differences : dict of str to float
        For each folded batch norm, the largest difference that folding makes on the examples.

    Examples
    --------
    >>> import minigrad as mg
    >>> graph = mg.capture(lambda x: (x * 2).sum(), mg.ones(3))
    >>> [call.name for call in graph.calls], graph(mg.ones(3))
    (['multiply', 'sum'], Tensor(6.))
    """

    _plan: Replay | Recorded | None = field(default=None, init=False, repr=False)
    _recordable: bool = field(default=True, init=False, repr=False)
    #: results and gradients with a constant's memory: copied when they leave, for they are not to be written to
    _constant: list[Value] = field(default_factory=list, init=False, repr=False)
    #: values whose memory several gradients or results share, or of which a view leaves though they were there before
    #: the call; and the positions of those that leave, gradients first
    _sharing: list[tuple[Value, list[int]]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self._recordable = all(v.nbytes for v in self.values())
        self._home = get(self.backend)
        bases, leaving = self.bases(), [*self.gradients.values(), *self.outputs]
        self._constant = [v for v in self.wanted() if bases.get(v, v).kind == "constant"]
        self._sharing = [
            (base, places)
            for base, places in self.sharing().items()
            if base.kind != "constant"
            if len(places) > 1 or (base.kind != "result" and leaving[places[0]] is not base)
        ]

    def __repr__(self) -> str:
        return f"<Graph {self.title!r}, {len(self.calls)} ops>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} is bound to the tensors that it was captured with, and is neither pickled nor copied: capture "
            "it again there, or use minigrad.jit, which does so by itself"
        )

    def svg(self) -> str:
        """Return a drawing as SVG text.

        Raises
        ------
        ImportError, RuntimeError
            If the Python package ``graphviz``, or Graphviz itself, is not installed.
        """
        return svg(self)

    def _repr_svg_(self) -> str | None:
        """Return what a notebook shows; None, for the table, where Graphviz is not installed."""
        try:
            return self.svg()
        except (ImportError, RuntimeError):
            return None

    __str__, dot = table, dot
    peak_bytes = peak
    prune, fold_constants, fold_batch_norm = prune, fold_constants, fold_batch_norm

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the computation on other arguments.

        Raises
        ------
        TypeError, ValueError
            For arguments of another structure, shape, dtype or backend than it was captured for.
        RuntimeError
            If something that the graph depends on has changed since the capture: a layer's mode or setting, say.
        """
        inputs = self.signature.bind(self.title, args, kwargs)
        with self._lock:
            reason = self.guards.broken()
            if reason:
                raise RuntimeError(f"{self.title}: {reason}; capture it again, or use minigrad.jit")
            return self.run(inputs)

    @cached_property
    def _lock(self) -> AbstractContextManager[Any]:
        """Makes other threads that change state or gradients wait if it changes some."""
        written = any(v.kind == "state" for call in self.calls for v in call.written)
        return moving if written or self.guards.leaves else nullcontext()

    def run(self, inputs: list[Tensor]) -> Any:
        """Replay on inputs that are known to fit."""
        with self._lock:
            tracer = tracing.get()
            if tracer is not None:
                tracer.before(self, tuple(inputs))
            for leaf in self.gradients:
                if leaf not in self.guards.leaves:
                    # It is replaced without being read, so its memory can be reused now.
                    if tracer is None:
                        leaf.grad = None
                    else:
                        leaf.assign(None)
            if tracer is not None or (recording.get() and self.differentiable):
                values = self._reapply(inputs)
            else:
                values = self._replay(inputs)
            return self.signature.rebuild(values)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to an ONNX file, which other programs can run and ``minigrad.from_onnx`` can read.

        Parameters, buffers and inputs keep their names, the file contains the parameters' values, and nodes are named
        after their layers. Only standard operators are used (opset 21). Sizes are fixed as captured, the batch size
        too.

        Parameters
        ----------
        path : path
            Written atomically.

        Raises
        ------
        ImportError
            If onnx is not installed.
        ValueError
            For an op that ONNX does not have (the step of an optimizer, some backward passes), naming it and its layer;
            for gradients left in leaves; for more than 2 GiB of weights.

        Notes
        -----
        ONNX has no in-place updates: a graph in train mode normalizes by the batch and returns the updated running
        statistics as further outputs, ``"bn.running_mean.new"`` and so on. Where ``on_nonfinite="raise"`` would raise,
        the file gives NaN. Dropout masks come from the other program's generator; ONNX Runtime's optimizations remove
        dropout.

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

    def _reapply(self, inputs: list[Tensor]) -> list[Tensor]:
        """Apply every op again, so that the tape or another capture records it."""
        known = self.start(inputs)
        for v in self.constants():
            literal(known[v])
        ambient = recording.get()

        def reapply(call: Call, arguments: list[Any]) -> tuple[Any, ...]:
            token = recording.set(ambient and call.recorded)
            try:
                result = apply(call.op, *arguments)
            finally:
                recording.reset(token)
            return result if isinstance(result, tuple) else (result,)[: len(call.outputs)]

        self.walk(known, reapply)

        known |= {v: Tensor(known[v]._data.copy()) for v in self._constant}
        for leaf, gradient in self.gradients.items():
            leaf.assign(gradient and known[gradient])
        return [known[v] for v in self.outputs]

    def _replay(self, inputs: list[Tensor]) -> list[Tensor]:
        """Compute on arrays, where neither a tape nor a capture records."""
        backend = self._home
        if backend.devices is not None:
            bound = [v.tensor for v in self.state() if v.tensor is not None] if not inputs else ()
            backend.devices.check(self.title, [t._data for t in (*inputs, *bound)])
        found = None if self._plan is None else self._plan.run(inputs)
        if found is None and isinstance(backend.kernels, NumbaKernels):
            found = self._record(inputs, backend.kernels)
        gradients, results = found or self._compute(inputs)
        if self._sharing:
            self._join(inputs, [*gradients, *results])
        for leaf, g in zip(self.gradients, gradients, strict=True):
            leaf.grad = g
        return results

    def _compute(self, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor]]:
        """Replay op by op, and record on a GPU how."""
        kernels, there = self._home.kernels, self.start(inputs)
        known = {v: t._data for v, t in there.items()}
        strides = {v: array.strides for v, array in known.items()}
        self.compute(kernels, known)
        if isinstance(kernels, LaunchedKernels) and self._recordable:
            kept = self._plan.kept if isinstance(self._plan, Recorded) else frozenset[Value]()
            try:
                self._plan = Recorded(self, kernels, strides, kept)
            except NotRecorded:
                self._plan, self._recordable = None, False
        found = {v: there[v] if v in there else Tensor(known[v]) for v in self.wanted()}
        found |= {v: Tensor(known[v].copy()) for v in self._constant}
        return [v and found[v] for v in self.gradients.values()], [found[v] for v in self.outputs]

    def _record(self, inputs: list[Tensor], kernels: Any) -> Any:
        """Replay and record the launches; None where that is not possible or another thread replays the recording."""
        if isinstance(self._plan, Replay) and self._plan.busy.locked():
            return None
        if not self._recordable or not all(dense(t._data) for t in inputs):
            return None
        plan = Replay(self, kernels)
        found = plan.record(self, inputs)
        self._plan, self._recordable = (None, False) if plan.failed else (plan, True)
        return found

    def _join(self, inputs: list[Tensor], leaving: list[Any]) -> None:
        """Let tensors that share memory share their version, as in eager code: the tape sees a change of any."""
        there = self.start(inputs)
        for base, places in self._sharing:
            version = there.get(base, leaving[places[0]])._shared_version()
            for i in places:
                leaving[i]._version = version
