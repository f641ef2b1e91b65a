"""What is captured: a straight list of applied ops, and what replays it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import by_type, get
from ..op import Op
from ..tape import Leaf, listening, recording
from ..tensor import Tensor, apply
from .guards import Guards
from .structure import Signature


@dataclass(eq=False, slots=True)
class Value:
    """One array of a graph, known by its identity.

    Attributes
    ----------
    shape, dtype
        What it was when captured, and must be in every replay.
    kind : {"input", "state", "gradient", "constant", "result"}
        An argument of the call; a parameter, buffer or optimizer's tensor, bound by reference; the gradient that a
        leaf has before the call; numbers that stand in the program; what an op makes.
    name : str
        Of a parameter or buffer, dotted; of inputs and optimizer state too; empty where there is none.
    tensor : Tensor or None
        The tensor that is bound (state), or the numbers themselves (constant).
    leaf : Leaf or None
        Whose gradient it is.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str
    name: str = ""
    tensor: Tensor | None = None
    leaf: Leaf | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class Call:
    """One application of an op.

    Attributes
    ----------
    op : Op
    inputs : tuple of Value or None
    outputs : tuple of Value
        Empty for an op that writes into its first ``op.writes`` inputs.
    layer : str
        The dotted name of the module that computed it, or whose gradient it is part of.
    phase : {"forward", "backward", "update"}
        Update: what moves parameters and running statistics.
    recorded : bool
        Whether the tape was on.
    """

    op: Op
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    layer: str = ""
    phase: str = "forward"
    recorded: bool = True

    @property
    def name(self) -> str:
        """The op's name, in the manner of functions: ``batch_norm``."""
        return snake(self.op)

    @property
    def written(self) -> tuple[Value, ...]:
        """What it changes in place."""
        return tuple(v for v in self.inputs[: self.op.writes] if v is not None)


def snake(op: Op) -> str:
    """The name of an op: BatchNormGrad is batch_norm_grad."""
    name = type(op).__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


@dataclass(eq=False)
class Graph:
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
        reason = self.guards.broken()
        if reason:
            raise RuntimeError(f"{self.title}: {reason}; capture it again, or use minigrad.jit")
        return self.run(inputs)

    def run(self, inputs: list[Tensor]) -> Any:
        """Compute, for inputs that are known to fit."""
        heard = listening.get()
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
        outputs, ``"bn.running_mean.new"`` and so on: ONNX changes nothing in place. A batch norm that moves them once
        is one node (``training_mode=1``), others are arithmetic. They are what they would be here, also where ONNX's
        convention is another one (its running variance is biased), except that a batch with NaN in it is not kept
        out. Dropout draws its masks from the other program's generator; ONNX Runtime's optimizations leave it out.

        Examples
        --------
        >>> import minigrad as mg, tempfile
        >>> graph = mg.capture(mg.nn.Linear(3, 2), mg.ones((4, 3)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     graph.to_onnx(f"{folder}/linear.onnx")
        ...     mg.from_onnx(f"{folder}/linear.onnx")
        OnnxModel(input -> output)
        """
        from .interchange.writing import write

        write(self, path)

    def state(self) -> list[Value]:
        """The tensors bound by reference, in the order of their first use."""
        return self._of_kind("state")

    def constants(self) -> list[Value]:
        """The numbers that stand in the program."""
        return self._of_kind("constant")

    def values(self) -> Iterator[Value]:
        """All there are, each once: inputs, then as calls use and make them."""
        seen: dict[Value, None] = dict.fromkeys(self.inputs)
        for call in self.calls:
            seen.update(dict.fromkeys(v for v in (*call.inputs, *call.outputs) if v is not None))
        seen.update(dict.fromkeys(self.outputs))
        return iter(seen)

    def _of_kind(self, kind: str) -> list[Value]:
        return [v for v in self.values() if v.kind == kind]

    def _reapply(self, inputs: list[Tensor]) -> list[Tensor]:
        """Apply every op once more, so that the tape, or another capture, hears it."""
        known = self._start(inputs)
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
        return self._finish({v: known[v] for v in self._wanted()})

    def _replay(self, inputs: list[Tensor]) -> list[Tensor]:
        """The same on arrays, where nobody listens."""
        kernels, xp = get(self.backend).kernels, get(self.backend).xp
        known = {v: t._data for v, t in self._start(inputs).items()}
        last = self._last_uses()
        for call, done in zip(self.calls, last, strict=True):
            arrays = [None if v is None else known[v] for v in call.inputs]
            try:
                result = call.op.forward(kernels, *arrays)
            except (TypeError, ValueError) as error:
                where = f"{call.layer}: " if call.layer else ""
                raise type(error)(f"{self.title}: {where}{error}") from error
            if result is not None:
                results = result if isinstance(result, tuple) else (result,)
                for value, array in zip(call.outputs, results, strict=True):
                    known[value] = array if type(array) in by_type else xp.asarray(array)
            elif call.op.writes:
                for v in call.written:
                    if v.tensor is not None:
                        v.tensor._bump()
            for value in done:
                del known[value]
        return self._finish({v: v.tensor or Tensor(known[v]) for v in self._wanted()})

    def _start(self, inputs: list[Tensor]) -> dict[Value, Tensor]:
        """What is there before the first call."""
        known = dict(zip(self.inputs, inputs, strict=True))
        for v in self.values():
            if v.tensor is not None:
                known[v] = v.tensor
            elif v.leaf is not None and v.leaf.grad is not None:
                known[v] = v.leaf.grad
        return known

    def _wanted(self) -> list[Value]:
        return [*self.outputs, *(v for v in self.gradients.values() if v is not None)]

    def _last_uses(self) -> list[list[Value]]:
        """For each call, the results that nobody needs after it."""
        kept, seen = set(self._wanted()), set[Value]()
        last: list[list[Value]] = []
        for call in reversed(self.calls):
            used = [v for v in (*call.inputs, *call.outputs) if v is not None]
            done = [v for v in dict.fromkeys(used) if v not in seen and v not in kept]
            seen.update(done)
            last.append([v for v in done if v.kind == "result"])
        return last[::-1]

    def _finish(self, known: dict[Value, Tensor]) -> list[Tensor]:
        """Leave gradients in their leaves; what is returned."""
        for leaf, v in self.gradients.items():
            leaf.grad = None if v is None else known[v]
        return [
            Tensor(known[v]._data.copy()) if v.kind == "constant" else known[v]
            for v in self.outputs
        ]
