"""What is recorded: Nodes, the Leaves they begin at, and whether recording is on.

A value is known by ``(node, index)``, the output ``index`` of ``node``, never by the Python object that holds it.
Nodes point back to the nodes before them and never forward to Tensors, so a graph has no cycles: it is freed with
the last Tensor that came out of it.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from itertools import count
from typing import TYPE_CHECKING, Union

from .op import Op

if TYPE_CHECKING:
    from .tensor import Tensor

#: the identity of a value
Ref = tuple[Union["Node", "Leaf"], int]

recording: ContextVar[bool] = ContextVar("recording", default=True)
_tick = count().__next__


class no_grad(ContextDecorator):
    """Inside, nothing is recorded: results require no gradient. A context manager and a decorator.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> no_grad:
        return no_grad()  # a decorated function may run in several threads at once

    def __enter__(self) -> None:
        self._tokens.append(recording.set(False))

    def __exit__(self, *exception: object) -> None:
        recording.reset(self._tokens.pop())


class Leaf:
    """Where a graph begins: a tensor made to require a gradient, and the gradient ``backward`` collected."""

    __slots__ = ("grad",)
    op = None
    parents: tuple[()] = ()
    order = -1

    def __init__(self) -> None:
        self.grad: Tensor | None = None


FREED: list[Ref | None] = []


class Node:
    """One application of an op.

    ``parents`` are the values of its inputs, None for those without a gradient, and ``FREED`` after ``free``.
    ``order`` counts applications: parents are always older than their children.
    """

    __slots__ = ("op", "parents", "order", "_inputs", "_outputs", "_versions")
    grad = None  # only a Leaf has one

    def __init__(self, op: Op, parents: list[Ref | None]) -> None:
        self.op = op
        self.parents = parents
        self.order = _tick()
        self._versions: list[int] | None = None

    def save(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]) -> None:
        """Keep what the op asked for. Outputs are kept without their way back to this node, a cycle."""
        op = self.op
        self._inputs = inputs if op.saves_inputs else ()
        self._outputs = [outputs[i].detach() for i in op.saves_outputs] if op.saves_outputs else []
        self._versions = self._current_versions()

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        if not recording.get():
            return tuple(self._outputs)
        pairs = zip(self.op.saves_outputs, self._outputs, strict=True)
        return tuple([y.as_value((self, i)) for i, y in pairs])

    def _current_versions(self) -> list[int]:
        saved = (*self._inputs, *self._outputs) if self._outputs else self._inputs
        return [0 if t is None or t._version is None else t._version[0] for t in saved]

    def check(self) -> None:
        """Raise unless a gradient can pass: the graph is there, and nothing it saved has changed since."""
        if self.parents is FREED:
            raise RuntimeError(
                f"{type(self.op).__name__}: an earlier backward() freed this graph; compute it again, "
                "call backward(create_graph=True) the first time, or use grad(), which frees nothing"
            )
        if self._versions is None or self._versions == (now := self._current_versions()):
            return
        changed = [a != b for a, b in zip(self._versions, now, strict=True)].index(True)
        n = len(self._inputs)
        name = f"input {changed}" if changed < n else f"output {self.op.saves_outputs[changed - n]}"
        raise RuntimeError(
            f"{type(self.op).__name__}: {name} was changed in place after the forward pass used it, so "
            "its gradient would be wrong; go backward before the change (an optimizer step, say)"
        )

    def free(self) -> None:
        """Let go of everything behind this node."""
        self.parents = FREED
        if self._versions is not None:
            self._inputs, self._outputs, self._versions = (), [], None
