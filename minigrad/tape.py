"""What is recorded: Nodes, the Leaves they begin at, and whether recording is on.

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
from typing import TYPE_CHECKING, Any, Protocol, Union

from .contexts import Block, Override
from .op import Op

if TYPE_CHECKING:
    from .tensor import Tensor

#: the identity of a value
Ref = tuple[Union["Node", "Leaf"], int]

recording: ContextVar[bool | Block] = ContextVar("recording", default=True)
#: the tape's clock: every application and every change in place has a time of its own
now = count().__next__
#: when something changed last that decides what is computed and is no array: a module's attribute, a mode
revised = [-1]
#: held while what several threads may share is read, added to and written: gradients of leaves, running statistics
moving = RLock()
if hasattr(os, "register_at_fork"):  # a forked child does not have the thread that would release it
    os.register_at_fork(
        before=moving.acquire, after_in_parent=moving.release, after_in_child=moving.release
    )


class Listener(Protocol):
    """Who hears all that happens on the tape: a capture (``minigrad.graph``)."""

    #: whose backward pass is being computed
    node: Node | None

    def before(self, op: Op, inputs: tuple[Tensor | None, ...]) -> None:
        """``op`` is about to be applied."""

    def applied(self, op: Op, inputs: tuple[Tensor | None, ...], outputs: tuple[Any, ...]) -> None:
        """``op`` has made these Tensors."""

    def written_out(self, tensor: Any) -> None:
        """A tensor was made from what stands in the program: numbers, shapes."""

    def looked_at(self, tensor: Any, how: str) -> None:
        """Values of a tensor leave for Python or NumPy, where nobody follows them."""

    def born(self, owner: Any) -> None:
        """An object with settings is being made."""

    def changed(self, what: str, owner: Any = None) -> None:
        """Something changed, of ``owner``, that no op did."""

    def reads(self, leaf: Leaf) -> None:
        """Somebody asks for a leaf's gradient."""

    def writes(self, leaf: Leaf, value: Tensor | None) -> None:
        """A leaf's gradient is about to be replaced by ``value``."""

    def includes(self, graph: Any) -> None:
        """A graph that was captured before is about to be replayed as a part."""

    def decided(self, question: Callable[[], Any], answer: Any) -> None:
        """What is computed depends on the answer to a question about values."""

    def calls(self, module: Any, outermost: Any) -> Any:
        """A context: inside, a module computes, in the call of ``outermost``."""


#: who listens; as a rule nobody
listening: ContextVar[Listener | None] = ContextVar("listening", default=None)


@contextmanager
def unheard() -> Iterator[None]:
    """Inside, nobody listens: for looks at values that decide nothing about what is computed."""
    token = listening.set(None)
    try:
        yield
    finally:
        listening.reset(token)


def decided(question: Callable[[], Any]) -> Any:
    """The answer to a question about values that decides what is computed; whoever listens can ask it again."""
    with unheard():
        answer = question()
    heard = listening.get()
    if heard is not None:
        heard.decided(question, answer)
    return answer


class Settled:
    """Base of objects whose attributes decide what is computed: the tape notes when one changes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments")  # Python accepts them silently
        made = object.__new__(cls)
        heard = listening.get()
        if heard is not None:
            heard.born(made)
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        self._changing(name)
        object.__setattr__(self, name, value)
        revised[0] = now()  # after the change, or another thread may look before it

    def __delattr__(self, name: str) -> None:
        self._changing(name)
        object.__delattr__(self, name)
        revised[0] = now()

    def _changing(self, name: str) -> None:
        heard = listening.get()
        if heard is not None:
            heard.changed(f"{type(self).__name__}.{name}", self)


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

    def __new__(cls, function: Any = None) -> Any:
        made = object.__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)

    def __init__(self) -> None:
        super().__init__(recording, lambda outside: False)


class Leaf:
    """Where a graph begins: a tensor made to require a gradient, and the gradient ``backward`` collected."""

    __slots__ = ("_grad",)
    op = None
    parents: tuple[()] = ()
    order = -1

    def __init__(self) -> None:
        self._grad: Tensor | None = None

    @property
    def grad(self) -> Tensor | None:
        heard = listening.get()
        if heard is not None:
            heard.reads(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        heard = listening.get()
        if heard is not None:
            heard.writes(self, value)
        self._grad = value

    def __reduce__(self) -> tuple[Any, ...]:  # for all of pickle's protocols
        return Leaf, (), (None, {"_grad": self._grad})


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
    grad = None  # only a Leaf has one

    def __init__(
        self, op: Op, inputs: tuple[Any, ...], parents: Sequence[Ref | None], outputs: Any
    ) -> None:
        self.op, self.parents, self.order = op, parents, now()
        saves = op.saves_inputs
        self.inputs = inputs if saves is True else inputs[saves] if saves else ()
        if saves is not True and not op.elementwise:
            self.shapes = tuple([None if t is None else t._data.shape for t in inputs])
        # Without their way back to this node, which would be a cycle.
        saves = op.saves_outputs
        self._outputs = tuple([outputs[i].detach() for i in saves]) if saves else ()

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
        """Let go of everything behind this node."""
        self.parents = FREED
        self.inputs = self._outputs = ()
