"""The tape: Nodes, the Leaves they start from, whether recording is on, and the tracer.

A value is known by ``(node, index)``, the output ``index`` of ``node``, never by the Python object that holds it.
Nodes point back to the nodes before them and never forward to Tensors, so a graph has no cycles: it is freed with
the last Tensor that came out of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any, Union, overload

from .contexts import Block, Function, Override
from .op import Op

#: the class, which is above this file
Tensor = Any
#: the identity of a value
Ref = tuple[Union["Node", "Leaf"], int]

recording: ContextVar[bool | Block] = ContextVar("recording", default=True)
#: the tape's clock: every application and every change in place has a time of its own
now = count().__next__
#: when a tensor last moved, or began or ceased to require a gradient, or a module lost an attribute
revised = [-1]
#: held while data that threads may share is read, added to and written: gradients of leaves, running statistics
moving = RLock()
if hasattr(os, "register_at_fork"):  # a forked child does not have the thread that would release it
    os.register_at_fork(
        before=moving.acquire, after_in_parent=moving.release, after_in_child=moving.release
    )


class Tracer:
    """Base class of tracers: receives every applied op and every read on the host, and ignores them."""

    #: the node whose backward is being computed
    node: Node | None = None

    def before(self, op: Any, inputs: tuple[Any, ...]) -> None:
        """``op``, or ``HOST_WRITE``, is about to be applied; or a module or captured graph to be called."""

    def applied(self, op: Op, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
        """``op`` has computed ``outputs``; ``LITERAL``, which has no inputs, stands for Python literals."""

    def host_read(self, source: Any, how: Any) -> None:
        """Python reads the values of a Tensor or the gradient of a Leaf, ``how`` tells by what.

        Or a function has read values, and its result ``how`` decides what is computed; it may be called again.
        """


#: the tracer of this context, as a rule none
tracing: ContextVar[Tracer | None] = ContextVar("tracing", default=None)


class Literal(Op):
    """Creation of a tensor from Python literals: a constant under capture."""


class HostWrite(Op):
    """An assignment by Python: to the data of a Tensor, or of a value to the gradient of a Leaf."""


LITERAL, HOST_WRITE = Literal(), HostWrite()


@contextmanager
def untraced() -> Iterator[None]:
    """Hide from the tracer, inside, reads of values that do not decide what is computed."""
    token = tracing.set(None)
    try:
        yield
    finally:
        tracing.reset(token)


@contextmanager
def differentiating(create_graph: bool) -> Iterator[None]:
    """Compute a backward pass inside, recorded if ``create_graph``."""
    tracer = tracing.get()
    outer = None if tracer is None else tracer.node
    token = recording.set(create_graph)
    try:
        yield
    finally:
        recording.reset(token)
        if tracer is not None:
            tracer.node = outer


def decided(question: Callable[[], Any]) -> Any:
    """The answer to a question about values that decides what is computed; a tracer can ask it again."""
    with untraced():
        answer = question()
    tracer = tracing.get()
    if tracer is not None:
        tracer.host_read(question, answer)
    return answer


class no_grad(Override):
    """Inside, nothing is recorded: results require no gradient. A context manager and a decorator.

    As a decorator (``@mg.no_grad()`` or ``@mg.no_grad``) it takes functions, generator functions, coroutine functions
    and async generator functions, whose callers record as before while they are suspended. A generator that yields
    inside of a ``with`` block, on the other hand, stops the recording of its caller too, until the block ends.

    Raises
    ------
    TypeError
        If what is decorated is a class or cannot be called.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """

    @overload
    def __new__(cls) -> no_grad: ...
    @overload
    def __new__(cls, function: Function) -> Function: ...  # type: ignore[misc]
    def __new__(cls, function: Any = None) -> Any:
        made = object.__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)

    if not TYPE_CHECKING:  # which would take it before __new__

        def __init__(self) -> None:
            super().__init__(recording, lambda outside: False)


class Leaf:
    """The start of a graph: a tensor that requires a gradient by itself, with the gradient that was accumulated."""

    __slots__ = ("grad",)
    op = None
    parents: tuple[()] = ()
    order = -1

    def __init__(self) -> None:
        self.grad: Tensor | None = None

    def assign(self, value: Tensor | None) -> None:
        """Replace the gradient."""
        tracer = tracing.get()
        if tracer is not None:
            tracer.before(HOST_WRITE, (self, value))
        self.grad = value

    def __reduce__(self) -> tuple[Any, ...]:  # for all of pickle's protocols
        return Leaf, (), (None, {"_grad": self.grad})

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        self.grad = state[1]["_grad"]


FREED: list[Ref | None] = []


class Node:
    """One application of an op.

    Attributes
    ----------
    parents : sequence of Ref or None
        The values of its inputs, None for those without a gradient; ``FREED`` after ``free``.
    order : int
        The time of the application: parents are older than their children, and a saved array that was written to since
        is younger than its node.
    inputs : tuple of Tensor or None
        Those that the op saves.
    shapes : tuple
        Of the inputs, for an op that neither saves all of them nor is elementwise.
    """

    __slots__ = ("op", "parents", "order", "inputs", "_outputs", "shapes")
    shapes: tuple[tuple[int, ...] | None, ...]

    def __init__(
        self,
        op: Op,
        inputs: tuple[Any, ...],
        parents: Sequence[Ref | None],
        outputs: tuple[Any, ...],
    ) -> None:
        self.op, self.parents, self.order = op, parents, now()
        saves = op.saves_inputs
        self.inputs = inputs if saves is True else inputs[saves] if saves else ()
        if saves is not True and not op.elementwise:
            self.shapes = tuple([None if t is None else t._data.shape for t in inputs])
        # Without their way back to this node, which would be a cycle.
        self._outputs: tuple[Any, ...] = ()
        if op.saves_outputs:
            self._outputs = tuple([outputs[i].detach() for i in op.saves_outputs])
        if len(outputs) == 1:
            outputs[0]._ref = (self, 0)
        else:
            for i, y in enumerate(outputs):
                y._ref = (self, i)

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The outputs that the op saves."""
        if not recording.get():
            return self._outputs
        pairs = zip(self.op.saves_outputs, self._outputs, strict=True)
        return tuple([y.as_value((self, i)) for i, y in pairs])

    def check_gradients(
        self, needs: Any, gy: Tensor | None, gxs: tuple[Tensor | None, ...]
    ) -> None:
        """Raise unless each gradient that is needed has the shape of its input, which is gy's for an elementwise op."""
        for i, gx in enumerate(gxs):
            if gx is None or needs[i] is None:
                continue
            like = gy if self.op.saves_inputs is not True else self.inputs[i]
            shape = self.shapes[i] if like is None else like._data.shape
            if gx._data.shape != shape:
                raise RuntimeError(
                    f"{type(self.op).__name__}: the backward pass computed a gradient of shape {gx.shape} for input "
                    f"{i} of shape {shape}; an op's backward must return each gradient in the shape of its input"
                )

    def check(self) -> None:
        """Raise unless a gradient can pass: the graph is there, and nothing it saved has changed since."""
        if self.parents is FREED:
            raise RuntimeError(
                f"{type(self.op).__name__}: an earlier backward() freed this graph; compute it again, "
                "call backward(create_graph=True) the first time, or use grad(), which frees nothing"
            )
        for t in (*self.inputs, *self._outputs) if self._outputs else self.inputs:
            if t is not None and t._version is not None and t._version[0] > self.order:
                raise RuntimeError(
                    f"{type(self.op).__name__}: {self._name(t)} was changed in place after the forward "
                    "pass used it, so its gradient would be wrong; go backward before the change (an "
                    "optimizer step, say)"
                )

    def _name(self, saved: Tensor) -> str:
        """Which input or output of the op a saved tensor is."""
        for i, t in enumerate(self.inputs):
            if t is saved:
                first = self.op.saves_inputs.start if isinstance(self.op.saves_inputs, slice) else 0
                return f"input {i + first}"
        return f"output {self.op.saves_outputs[[t is saved for t in self._outputs].index(True)]}"

    def free(self) -> None:
        """Release what this node saved, and the nodes before it."""
        self.parents = FREED
        self.inputs = self._outputs = ()
