"""Capturing: a listener at the one door, and what it refuses to hear.

Everything that computes goes through ``minigrad.tensor.apply``. A capture runs a function, notes each application, and
binds what the function did not compute: its arguments by position, parameters, buffers and optimizer state by
reference, numbers in the program as constants. What would be frozen without anybody having said so is an error.

What a capture watches for, the worst first, since a replay would be wrong without a word:

1. arrays that came in from outside and are neither arguments nor state: the next batch would not be seen;
2. values that leave for Python (``.item()``, ``.numpy()``, ``bool()``): what was decided by them stays decided;
3. changes that no op makes (``p.data = ...``, ``optimizer.lr = ...``, ``model.eval()``): they would happen once;
4. Python numbers that are other ones the next time (a counter, a noise): the function is run twice, and both runs must
   have applied the same ops with the same settings to the same constants;
5. gradients that were there before and are added to, or were not (``Guards.leaves``);
6. settings, modes, devices, lists of layers, or names from outside, that change later (``Guards``, ``Outside``);
7. arguments of other shapes, dtypes, backends or structure (``Signature``);
8. results that the next replay would overwrite: each has memory of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import COPY
from ..nn.module import Buffer, Module, Parameter
from ..op import Op
from ..ops.indexing import NonZero
from ..ops.random import DropoutMask, generator
from ..optim.optimizers import Optimizer, Update
from ..tape import FREED, Leaf, Node, listening, now, recording
from ..tensor import Tensor
from .calls import Call, Value, snake
from .comparing import require_same
from .graph import Graph
from .guards import CaptureError, Guards, attributes, contexts, leaf_of
from .outside import Outside
from .structure import Signature, fixed, kind_of, put_together, take_apart


class Capture:
    """One run of a function, heard; see ``minigrad.tape.Listener``.

    With ``undo``, everything that the run changed is put back at the end.
    """

    def __init__(self, inputs: list[Tensor], undo: bool) -> None:
        self._node: Node | None = None
        self._start = now()
        self.inner: list[Guards] = []
        self.decisions: list[tuple[Callable[[], Any], Any]] = []
        self.calls_made: list[Call] = []
        self.modules: dict[Module, None] = {}
        self.optimizers: dict[Optimizer, None] = {}
        self.read_first: dict[Leaf, bool] = {}
        self.replaced: dict[Leaf, Tensor | None] = {}
        self._gradients: dict[Leaf, Tensor | None] = {}
        self._values: dict[int, Value] = {}
        self._known: dict[int, weakref.ref[Any]] = {}
        self._bases: dict[Value, Value] = {}
        self._states: dict[int, tuple[Tensor, str]] = {}
        self._names: dict[Module, dict[Module, str]] = {}
        self._layers = [""]
        self._layer_of: dict[Node, str] = {}
        self._undo = undo
        self._copies: dict[int, tuple[Tensor, Any, int]] = {}
        self._generators: dict[int, tuple[np.random.Generator, Any]] = {}
        self._keep_generator(None)  # which layers that are made inside draw from
        self._on = bool(recording.get())
        self._born: dict[int, Any] = {}
        # Arrays of their own: an argument may be given twice, or be bound as well.
        self.arguments = [Tensor(t._data.view(), t._ref, t._shared_version()) for t in inputs]
        self.inputs = [self._add(t, "input", f"input {i}") for i, t in enumerate(self.arguments)]

    # --- what it hears ---

    @property
    def node(self) -> Node | None:
        return self._node

    @node.setter
    def node(self, node: Node | None) -> None:
        if isinstance(node, Node) and node.order < self._start:
            raise CaptureError(
                "capture: goes backward into what an argument was computed from, which is another tape in every call; "
                "detach it, or go backward outside of the captured function"
            )
        self._node = node

    def includes(self, graph: Graph) -> None:
        # Gradients that it takes for granted are heard of as it goes.
        self.inner.append(replace(graph.guards, leaves={}, contexts=contexts()))

    def decided(self, question: Callable[[], Any], answer: Any) -> None:
        self.decisions.append((question, answer))

    def before(self, op: Op, inputs: tuple[Tensor | None, ...]) -> None:
        if isinstance(op, Update):
            self.optimizers[op.optimizer] = None
        if isinstance(op, DropoutMask):
            self._keep_generator(op.rng)
        for i, t in enumerate(inputs):
            if t is None:
                continue
            v = self.value(t, op, i)
            if isinstance(op, NonZero) and v.kind != "constant":
                raise CaptureError(
                    f"capture: a mask of shape {t.shape} picks as many elements as are true, and a graph's shapes are "
                    "those that it was captured with; use minigrad.where, or multiply by the mask"
                )
            if i >= op.writes:
                continue
            memory = self._bases.get(v, v)
            if v.kind == "constant" and v not in self._bases.values():
                self._copied(t, v)
            elif v.kind == "state":
                if self._undo:
                    array, time = t._data, t._shared_version()[0]
                    self._copies.setdefault(id(array), (t, array.copy(), time))
            elif memory.kind != "result":
                what = f"{'' if memory is v else 'a view of '}{memory.name or f'a {memory.kind}'}"
                raise CaptureError(
                    f"capture: {snake(op)} changes {what} in place; a graph may only change parameters, buffers and "
                    "optimizer state, each as a whole, so it must not move an argument: write x = x + y for x += y"
                )

    def applied(
        self, op: Op, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        if any(id(y._data) in self._values for y in outputs):
            return  # the same array under a new name
        arguments = tuple([None if t is None else self._values[id(t._data)] for t in inputs])
        made = tuple([self._add(y, "result") for y in outputs])
        if op.aliases and arguments[0] is not None:
            self._bases[made[0]] = self._bases.get(arguments[0], arguments[0])
        behind, layer = self.node, self._layers[-1]
        if behind is not None:
            layer = self._layer_of.get(behind, layer)
        moves = any(v is not None and v.kind == "state" for v in arguments[: op.writes])
        phase = "update" if moves else "forward" if behind is None else "backward"
        recorded = bool(recording.get()) or not self._on
        self.calls_made.append(Call(op, arguments, made, layer, phase, recorded))
        if outputs and outputs[0]._ref is not None:
            self._layer_of[outputs[0]._ref[0]] = layer  # type: ignore[index]

    def _copied(self, t: Tensor, v: Value) -> None:
        """Make a constant that is about to be changed in place the copy of one, a new copy in each replay."""
        v.tensor = Tensor(t._data.copy())
        self._values[id(v.tensor._data)] = v
        del self._values[id(t._data)]
        self.applied(COPY, (v.tensor,), (t,))

    def written_out(self, tensor: Tensor) -> None:
        self._add(tensor, "constant").tensor = tensor

    def looked_at(self, tensor: Tensor, how: str) -> None:
        value = self._values.get(id(tensor._data))
        if value is None or value.kind != "constant":
            raise CaptureError(
                f"capture: {how} reads the values of a tensor of shape {tensor.shape}: what Python does with them "
                "would be decided once, for all replays; compute with Tensors, or do it outside of the function"
            )

    def born(self, owner: Any) -> None:
        self._born[id(owner)] = owner

    def changed(self, what: str, owner: Any = None) -> None:
        if id(owner) in self._born:
            return
        raise CaptureError(
            f"capture: {what} is set inside of the captured function, and by no op, so a replay would not set it; do "
            "it outside"
        )

    def reads(self, leaf: Leaf) -> None:
        if leaf in self._gradients:
            return
        g = self._gradients[leaf] = leaf._grad
        self.read_first[leaf] = g is not None
        if g is not None and id(g._data) not in self._values:
            self._add(g, "gradient", "the gradient that was there").leaf = leaf

    def writes(self, leaf: Leaf, value: Tensor | None) -> None:
        self._gradients.setdefault(leaf, leaf._grad)
        self.replaced[leaf] = value

    @contextmanager
    def calls(self, module: Module, outermost: Module) -> Iterator[None]:
        self.modules[module] = None  # also where no attribute leads to it
        names = self._names.get(outermost)
        if names is None:
            names = {m: name for name, m in outermost.named_modules()}
            self._names[outermost] = names
            self.modules.update(dict.fromkeys(names))
            for name, t in (*outermost.named_parameters(), *outermost.named_buffers()):
                self._states.setdefault(id(t._data), (t, name))
        self._layers.append(names.get(module, ""))
        try:
            yield
        finally:
            self._layers.pop()

    # --- what it makes of it ---

    def value(self, t: Tensor, op: Op | None = None, i: int = 0) -> Value:
        """The value of a tensor that an op takes as its input ``i``, or that is returned."""
        v = self._values.get(id(t._data))
        if v is not None:
            return v
        bound, name = self._states.get(id(t._data), (t, ""))
        leaf = bound._ref is not None and isinstance(bound._ref[0], Leaf)
        if isinstance(op, Update) and i < op.writes and not leaf:
            name = op.state_name(i)
        elif not (leaf or isinstance(bound, (Parameter, Buffer))):
            where = "is returned" if op is None else f"is input {i} of {snake(op)}"
            raise CaptureError(
                f"capture: a tensor of shape {t.shape} and dtype {t.dtype} {where}, and came in from outside of the "
                "captured function: every replay would see these values; pass it as an argument, make it a Buffer of "
                "the module or, if it never changes, a minigrad.constant"
            )
        v = self._add(bound, "state", name)
        v.tensor = bound
        return v

    def finish(
        self,
        signature: Signature,
        outside: Outside,
        results: list[Tensor],
        title: str,
        backend: str,
    ) -> Graph:
        """The graph of what was heard."""
        outputs = [self.value(t) for t in results]
        gradients = {
            leaf: None if g is None else self.value(g) for leaf, g in self.replaced.items()
        }
        asked = self.read_first.keys() | self.replaced.keys()
        for i, t in enumerate(self.arguments):
            if leaf_of(t) in asked:
                raise CaptureError(
                    f"capture: the gradient of input {i} is read or collected, and would be that of the example in "
                    "every replay; return minigrad.grad(...), or pass it detached"
                )
        bound = [v.tensor for v in tuple(self._values.values()) if v.kind == "state"]
        guards = Guards(
            contexts(),
            {owner: attributes(owner) for owner in (*self.modules, *self.optimizers)},
            [(t, backends.where(t._data), leaf_of(t)) for t in bound if t is not None],
            self.read_first,
            self.inner,
            self.decisions,
            any(call.phase == "backward" for call in self.calls_made),
            outside.names,
            outside.containers,
            outside.mentioned,
        )
        alive = any(
            t._ref is not None and isinstance(t._ref[0], Node) and t._ref[0].parents is not FREED
            for t in results
        )
        return Graph(
            self.calls_made,
            self.inputs,
            outputs,
            signature,
            guards,
            backend,
            title,
            gradients,
            alive,
        )

    def forget(self) -> None:
        """Stop watching over arrays: the watchers hold on to each other."""
        self._known.clear()

    def put_back(self) -> None:
        """Undo what the run changed."""
        for t, before, time in self._copies.values():
            t._data[...] = before
            t._shared_version()[0] = time
        for leaf, g in self._gradients.items():
            leaf._grad = g
        for rng, state in self._generators.values():
            rng.bit_generator.state = state

    def _keep_generator(self, rng: np.random.Generator | None) -> None:
        if self._undo:
            rng = generator(rng)
            self._generators.setdefault(id(rng), (rng, rng.bit_generator.state))

    def _add(self, t: Tensor, kind: str, name: str = "") -> Value:
        key, values, known = id(t._data), self._values, self._known
        v = values[key] = Value(t.shape, t.dtype, kind, name)

        def forget(_: Any) -> None:  # another array may get the id of one that is gone
            del values[key], known[key]

        known[key] = weakref.ref(t._data, forget)
        return v


def run(
    function: Callable[..., Any], args: Any, kwargs: Any, title: str, undo: bool
) -> tuple[Any, Graph]:
    """What ``function`` returns, and the graph of what it did; with ``undo`` it has done nothing afterwards."""
    arguments, tensors = take_apart((args, kwargs))
    heard = Capture(tensors, undo)
    outside = Outside()
    outside.visit((function, *fixed(arguments)))
    heard.modules.update(outside.modules)
    args, kwargs = put_together(arguments, iter(heard.arguments))
    token = listening.set(heard)
    try:
        result = function(*args, **kwargs)
        outside.settle()
        for module in heard.modules:
            outside.visit(module)
        structure, found = take_apart(result, _refuse_result)
        backend = next((t.backend for t in (*tensors, *found)), backends.default().name)
        signature = Signature(arguments, tuple(map(kind_of, tensors)), structure)
        graph = heard.finish(signature, outside, found, title, backend)
        given = dict(zip(graph.inputs, tensors, strict=True))
        result = signature.rebuild(
            given.get(v, t) for v, t in zip(graph.outputs, found, strict=True)
        )
    finally:
        listening.reset(token)
        heard.forget()
        if undo:
            heard.put_back()
    return result, graph


def _refuse_result(value: Any) -> Any:
    if value is not None:
        raise CaptureError(
            f"capture: the function returns a {type(value).__name__}, which every replay would return again; return "
            "Tensors, in tuples, lists or dicts, or None"
        )


def title_of(function: Any) -> str:
    """How messages call what was captured."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return "graph" if name == "<lambda>" else name


def capture(function: Callable[..., Any], *example_inputs: Any, **keywords: Any) -> Graph:
    """What a function or module computes, as a ``Graph``: the list of ops that it applies.

    The function is run on the example inputs, twice, to see that it does the same both times; afterwards parameters,
    buffers, optimizer state, gradients and random generators are as they were. It may be a whole training step:
    forward, loss, ``backward`` and ``optimizer.step()`` all are ops.

    Parameters
    ----------
    function : Module or callable
    *example_inputs, **keywords
        Its arguments: Tensors and arrays, alone or in tuples, lists and dicts, are the graph's inputs; all else is
        fixed.

    Returns
    -------
    Graph
        To be read, printed, compared, changed by passes, and called with arguments like these.

    Raises
    ------
    CaptureError
        For what a replay would do otherwise than the function: arrays from outside that are no arguments; ``.item()``,
        ``.numpy()`` or ``bool()``; changes that no op makes; Python numbers that are other ones in the second run;
        results that are no Tensors; what ``jit`` refuses for being too large to compare.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.Sigmoid())
    >>> graph = mg.capture(model, mg.ones((4, 3)))
    >>> [(call.name, call.layer) for call in graph.calls]
    [('linear', '0'), ('sigmoid', '1')]
    """
    title = title_of(function)
    _, graph = run(function, example_inputs, keywords, title, undo=True)
    _, again = run(function, example_inputs, keywords, title, undo=True)
    require_same(graph, again)
    graph.examples = take_apart((example_inputs, keywords))[1]
    return graph
