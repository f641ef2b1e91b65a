"""The tracer of a capture: records the ops that a function applies, and refuses what a replay could not repeat."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import COPY
from ..nn.module import Buffer, Module, Parameter, scope
from ..op import Op
from ..ops.indexing import NonZero
from ..ops.random import DropoutMask, generator
from ..optim.optimizers import Optimizer, Update
from ..tape import FREED, HOST_WRITE, LITERAL, Leaf, Node, Tracer, now, recording
from ..tensor import Tensor
from .calls import Call, Value, snake
from .graph import Graph
from .guards import FREE, CaptureError, Guards, attributes, changed_settings, contexts, leaf_of
from .outside import Outside
from .structure import Signature


class Capture(Tracer):
    """The tracer of one run of a function.

    With ``undo``, ``put_back`` undoes everything that the run changed.
    """

    def __init__(self, inputs: list[Tensor], names: list[str], undo: bool) -> None:
        self._node: Node | None = None
        self._start = now()
        self._undo = undo
        self._on = bool(recording.get())
        self._calls: list[Call] = []
        self._values: dict[int, Value] = {}  # by the id of the array, while that exists
        self._known: dict[int, weakref.ref[Any]] = {}
        self._bases: dict[Value, Value] = {}  # whose memory a view shares
        self.modules: dict[Module, None] = {}
        self._optimizers: dict[Optimizer, None] = {}
        self._settings: dict[Any, dict[str, Any]] = {}  # as they were when first seen
        self._names: dict[Module, dict[Module, str]] = {}  # by the outermost module
        self._states: dict[int, tuple[Tensor, str]] = {}
        self._layer_of: dict[Node, str] = {}
        self._gradients: dict[Leaf, Tensor | None] = {}  # as they were before
        self._read_first: dict[Leaf, bool] = {}
        self._replaced: dict[Leaf, Tensor | None] = {}
        self._questions: list[Callable[[], str]] = []
        self._copies: dict[int, tuple[Tensor, Any, int]] = {}
        self._generators: dict[int, tuple[np.random.Generator, Any]] = {}
        self._keep_generator(None)  # which layers that are created inside draw from
        # Arrays of their own: an argument may be given twice, or be bound as well.
        self.arguments = [Tensor(t._data.view(), t._ref, t._shared_version()) for t in inputs]
        pairs = zip(self.arguments, names, strict=True)
        self._inputs = [self._add(t, "input", name) for t, name in pairs]

    # --- events ---

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

    def before(self, op: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(op, Module):
            self._enter(op)
        elif isinstance(op, Graph):
            self._include(op)
        elif op is HOST_WRITE:
            self._assign(*inputs)
        else:
            if isinstance(op, Update):
                self._optimizers[op.optimizer] = None
                self.watch(op.optimizer)
            if isinstance(op, DropoutMask):
                self._keep_generator(op.rng)
            for i, t in enumerate(inputs):
                if t is not None:
                    self._input(op, i, t)

    def applied(
        self, op: Op, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        if op is LITERAL:
            self._add(outputs[0], "constant").tensor = outputs[0]
            return
        if any(id(y._data) in self._values for y in outputs):
            return  # the same array under a new name
        arguments = tuple([None if t is None else self._values[id(t._data)] for t in inputs])
        made = tuple([self._add(y, "result") for y in outputs])
        if op.aliases and arguments[0] is not None:
            self._bases[made[0]] = self._bases.get(arguments[0], arguments[0])
        modules, layer = scope.get(), ""
        if modules:
            layer = self._names.get(modules[0], {}).get(modules[-1], "")
        if self.node is not None:
            layer = self._layer_of.get(self.node, layer)
        writes = any(v is not None and v.kind == "state" for v in arguments[: op.writes])
        phase = "update" if writes else "forward" if self.node is None else "backward"
        recorded = bool(recording.get()) or not self._on
        self._calls.append(Call(op, arguments, made, layer, phase, recorded))
        if outputs and outputs[0]._ref is not None:
            self._layer_of[outputs[0]._ref[0]] = layer  # type: ignore[index]

    def host_read(self, source: Any, how: Any) -> None:
        if isinstance(source, Leaf):
            self._read_gradient(source)
        elif not isinstance(source, Tensor):
            what = "values have changed that decide which layer computes"
            self._questions.append(lambda: "" if source() == how else what)
        elif (v := self._values.get(id(source._data))) is None or v.kind != "constant":
            raise CaptureError(
                f"capture: {how} reads the values of a tensor of shape {source.shape}: what Python does with them "
                "would be decided once, for all replays; compute with Tensors, or do it outside of the function"
            )

    # --- what they record ---

    def use(self, *modules: Module) -> None:
        """Make the settings of modules a part of the guards."""
        for module in modules:
            self.modules[module] = None
            self.watch(module)

    def watch(self, owner: Any) -> None:
        """Remember the attributes of a module, optimizer or schedule, which the function must not set."""
        if owner not in self._settings:
            self._settings[owner] = dict(vars(owner))

    def _enter(self, module: Module) -> None:
        """A module is called."""
        outermost = scope.get()[0]
        if outermost not in self._names:
            names = self._names[outermost] = {m: name for name, m in outermost.named_modules()}
            for name, t in (*outermost.named_parameters(), *outermost.named_buffers()):
                self._states.setdefault(id(t._data), (t, name))
            self.use(*names)
        self.use(module)  # also where no attribute leads to it
        self._require_same_settings(module)

    def _include(self, graph: Graph) -> None:
        """A graph that was captured before is replayed as a part."""
        guards = replace(graph.guards, leaves={}, contexts=contexts())
        self._questions.append(guards.broken)
        for leaf in graph.guards.leaves:
            self._read_gradient(leaf)

    def _read_gradient(self, leaf: Leaf) -> None:
        if leaf in self._gradients:
            return
        g = self._gradients[leaf] = leaf.grad
        self._read_first[leaf] = g is not None
        if g is not None and id(g._data) not in self._values:
            self._add(g, "gradient", "the gradient that was there").leaf = leaf

    def _assign(self, target: Any, value: Tensor | None = None) -> None:
        """The gradient of a leaf, or the data of a tensor, is assigned."""
        if not isinstance(target, Leaf):
            raise _set_inside(f"the data of a tensor of shape {target.shape}")
        self._gradients.setdefault(target, target.grad)
        self._replaced[target] = value

    def _input(self, op: Op, i: int, t: Tensor) -> None:
        """An op is about to be applied to ``t``, as its input ``i``."""
        v = self.value(t, op, i)
        if isinstance(op, NonZero) and v.kind != "constant":
            raise CaptureError(
                f"capture: a mask of shape {t.shape} picks as many elements as are true, and a graph's shapes are "
                "those that it was captured with; use minigrad.where, or multiply by the mask"
            )
        if i >= op.writes:
            return
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

    def _copied(self, t: Tensor, v: Value) -> None:
        """Replace a constant that is about to be changed in place by a copy of it, a new one in each replay."""
        v.tensor = Tensor(t._data.copy())
        self._values[id(v.tensor._data)] = v
        del self._values[id(t._data)]
        self.applied(COPY, (v.tensor,), (t,))

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

    # --- the result ---

    def finish(
        self,
        signature: Signature,
        outside: Outside,
        results: list[Tensor],
        title: str,
        backend: str,
    ) -> Graph:
        """The graph of the recorded calls."""
        self._require_same_settings(*self._settings)
        outputs = [self.value(t) for t in results]
        gradients = {
            leaf: None if g is None else self.value(g) for leaf, g in self._replaced.items()
        }
        for v, t in zip(self._inputs, self.arguments, strict=True):
            if leaf_of(t) in self._read_first or leaf_of(t) in gradients:
                raise CaptureError(
                    f"capture: the gradient of {v.name} is read or collected, and would be that of the example in "
                    "every replay; return minigrad.grad(...), or pass it detached"
                )
        alive = any(
            t._ref is not None and isinstance(t._ref[0], Node) and t._ref[0].parents is not FREED
            for t in results
        )
        return Graph(
            self._calls,
            self._inputs,
            outputs,
            signature,
            self._guards(outside),
            backend,
            title,
            gradients,
            alive,
        )

    def _require_same_settings(self, *owners: Any) -> None:
        """Raise if the function has set an attribute of these."""
        for owner in owners:
            for name in changed_settings(owner, self._settings[owner]):
                if name not in FREE:
                    raise _set_inside(f"{type(owner).__name__}.{name}")

    def _guards(self, outside: Outside) -> Guards:
        bound = [v.tensor for v in tuple(self._values.values()) if v.kind == "state"]
        return Guards(
            contexts(),
            {owner: attributes(owner) for owner in (*self.modules, *self._optimizers)},
            [(t, backends.where(t._data), leaf_of(t)) for t in bound if t is not None],
            self._read_first,
            self._questions,
            any(call.phase == "backward" for call in self._calls),
            outside.names,
            outside.containers,
            outside.mentioned,
        )

    def forget(self) -> None:
        """Drop the weak references to arrays and their callbacks, which are cycles."""
        self._known.clear()

    def put_back(self) -> None:
        """Undo what the run changed."""
        for owner, before in self._settings.items():
            if any(changed_settings(owner, before)):
                vars(owner).clear()
                vars(owner).update(before)
        for t, array, time in self._copies.values():
            t._data[...] = array
            t._shared_version()[0] = time
        for leaf, g in self._gradients.items():
            leaf.grad = g
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


def _set_inside(what: str) -> CaptureError:
    return CaptureError(
        f"capture: {what} is set inside of the captured function, and by no op, so a replay would not set it; do "
        "it outside"
    )
