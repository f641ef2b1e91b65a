"""What a graph consists of: values, the calls of ops that compute them, and the trace that lists these calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import by_type
from ..op import Op
from ..tape import Leaf
from ..tensor import Tensor
from .guards import Guards, Replays
from .structure import Signature


@dataclass(eq=False, slots=True)
class Value:
    """One array of a graph, compared by identity.

    Attributes
    ----------
    shape, dtype
        As captured; the same in every replay.
    kind : {"input", "state", "gradient", "constant", "result"}
        An argument of the call; a parameter, buffer or optimizer's tensor, bound by reference; the gradient that a
        leaf has before the call; a literal or constant tensor; an output of an op.
    name : str
        Of a parameter or buffer, dotted; of an input, by the signature; of optimizer state; empty where there is none.
    tensor : Tensor or None
        The bound tensor (state), or the numbers themselves (constant).
    leaf : Leaf or None
        Whose gradient it is.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str
    name: str = ""
    tensor: Any = None
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
        Update: what changes parameters and running statistics.
    recorded : bool
        Whether the tape was on.
    """

    op: Op
    inputs: tuple[Any, ...]
    outputs: tuple[Value, ...]
    layer: str = ""
    phase: str = "forward"
    recorded: bool = True

    @property
    def name(self) -> str:
        """The op's name in the style of functions: ``batch_norm``."""
        return snake(self.op)

    @property
    def values(self) -> tuple[Value, ...]:
        """Its inputs and outputs, but for inputs that are None."""
        return tuple([v for v in (*self.inputs, *self.outputs) if v is not None])

    @property
    def written(self) -> tuple[Value, ...]:
        """The inputs that it changes in place."""
        return tuple([v for v in self.inputs[: self.op.writes] if v is not None])

    def forward(self, kernels: Any, arrays: list[Any], title: str) -> tuple[Any, ...]:
        """Compute the outputs from arrays; errors name the graph ``title`` and the layer."""
        try:
            return self.compute(kernels, *arrays)
        except (TypeError, ValueError) as error:
            raise self.located(error, title) from error

    def compute(self, kernels: Any, *arrays: Any) -> tuple[Any, ...]:
        """Compute the outputs from arrays."""
        result = self.op.forward(kernels, *arrays)
        if result is None:
            return ()
        results = result if isinstance(result, tuple) else (result,)
        return tuple([a if type(a) in by_type else kernels.xp.asarray(a) for a in results])

    def located(self, error: Exception, title: str) -> Exception:
        """The same error with the graph ``title`` and the layer before its message."""
        return type(error)(": ".join(filter(None, (title, self.layer, str(error)))))


def snake(op: Op) -> str:
    """Return the name of an op in snake case: BatchNormGrad is batch_norm_grad."""
    name = type(op).__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


@dataclass(eq=False)
class Trace(Replays):
    """The data of a ``Graph``, where its attributes are described: what passes, tables and drawings read."""

    calls: list[Call]
    inputs: list[Value]
    outputs: list[Value]
    signature: Signature
    guards: Guards
    backend: str
    title: str = "graph"
    gradients: dict[Leaf, Value | None] = field(default_factory=dict)
    #: whether its results are connected to inputs and parameters by the tape
    differentiable: bool = False
    examples: list[Tensor] | None = None
    differences: dict[str, float] = field(default_factory=dict)

    def state(self) -> list[Value]:
        """The tensors bound by reference, in the order of their first use."""
        return [v for v in self.values() if v.kind == "state"]

    def constants(self) -> list[Value]:
        """The constants, in the order of their first use."""
        return [v for v in self.values() if v.kind == "constant"]

    def values(self) -> Iterator[Value]:
        """Iterate over all values, each once: inputs, those of the calls in order, then the remaining results."""
        seen: dict[Value, None] = dict.fromkeys(self.inputs)
        for call in self.calls:
            seen.update(dict.fromkeys(call.values))
        seen.update(dict.fromkeys(self.wanted()))
        return iter(seen)

    def wanted(self) -> list[Value]:
        """What remains after a call: results and gradients."""
        return [*self.outputs, *(v for v in self.gradients.values() if v is not None)]

    def bases(self) -> dict[Value, Value]:
        """For each view, the value whose memory it shares."""
        found: dict[Value, Value] = {}
        for call in self.calls:
            if call.op.aliases and call.inputs[0] is not None:
                found[call.outputs[0]] = found.get(call.inputs[0], call.inputs[0])
        return found

    def sharing(self) -> dict[Value, list[int]]:
        """The positions of the gradients and results, gradients first, that have a value's memory."""
        bases, found = self.bases(), dict[Value, list[int]]()
        for i, v in enumerate([*self.gradients.values(), *self.outputs]):
            if v is not None:
                found.setdefault(bases.get(v, v), []).append(i)
        return found

    def last_uses(self) -> list[list[Value]]:
        """For each call, the results that are not needed after it."""
        seen = set(self.wanted())
        last: list[list[Value]] = []
        for call in reversed(self.calls):
            done = [v for v in dict.fromkeys(call.values) if v not in seen]
            seen.update(done)
            last.append([v for v in done if v.kind == "result"])
        return last[::-1]

    def start(self, inputs: list[Tensor]) -> dict[Value, Tensor]:
        """The tensors that exist before the first call: inputs, state, constants, gradients."""
        known = dict(zip(self.inputs, inputs, strict=True))
        for v in self.values():
            if v.tensor is not None:
                known[v] = v.tensor
            elif v.leaf is not None and v.leaf.grad is not None:
                known[v] = v.leaf.grad
        return known

    def walk(
        self,
        known: dict[Value, Any],
        apply: Callable[[Call, list[Any]], Iterable[Any]],
        keep: bool = False,
    ) -> None:
        """Add what ``apply(call, inputs)`` computes to ``known``; without ``keep`` drop it after its last use."""
        for call, done in zip(self.calls, self.last_uses(), strict=True):
            inputs = [None if v is None else known[v] for v in call.inputs]
            known.update(zip(call.outputs, apply(call, inputs), strict=True))
            for v in () if keep else done:
                del known[v]

    def compute(self, kernels: Any, known: dict[Value, Any], keep: bool = False) -> None:
        """Compute all results from the arrays that are ``known``, as ``walk`` does."""

        def forward(call: Call, arrays: list[Any]) -> tuple[Any, ...]:
            made = call.forward(kernels, arrays, self.title)
            for v in call.written:
                if v.tensor is not None:
                    v.tensor._bump()
            return made

        self.walk(known, forward, keep)
