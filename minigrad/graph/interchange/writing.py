"""Writing a graph as an ONNX file: a walk over its calls, each turned into nodes by its rule.

Values become names: inputs, initializers (parameters and buffers under their own names), constants, and what nodes
make. An op that has no rule, but a ``reference``, is written as what the reference applies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import backend as backends
from ...checkpoint import write_whole
from ...nn.module import Buffer
from ...op import Op
from ..passes import bases
from .protobuf import IR_VERSION, MOST_BYTES, NUMBERS, OPSET, library
from .writer import Step, Wire, Writer, tensor_proto

if TYPE_CHECKING:
    from ..calls import Call, Value
    from ..graph import Graph


class Walk:
    """One graph on its way into a file."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.to = graph, Writer(graph.title)
        self._names: dict[Value, str | None] = {}
        self._moved: dict[Value, None] = {}
        self.inputs = self._interface("input", graph.inputs)
        self._names.update(zip(graph.inputs, (w.name for w in self.inputs), strict=True))
        #: given out first, so that nobody else gets them
        self._state = {v: self.to.unique(v.name or "state") for v in graph.state()}
        for call in graph.calls:
            self._write(call)

    def _interface(self, name: str, values: list[Value]) -> list[Wire]:
        """Names for what goes in or out: numbered if there are several."""
        names = [name] if len(values) == 1 else [f"{name}_{i}" for i in range(len(values))]
        return [
            Wire(self.to.unique(n), v.shape, v.dtype) for n, v in zip(names, values, strict=True)
        ]

    def _write(self, call: Call) -> None:
        self.to.layer = call.layer
        made = self.to.write(self._step(call))
        if call.op.writes:
            self._require_unshared(call)
            self._rebind(call, made)
        self._names.update(zip(call.outputs, made, strict=False))

    def _require_unshared(self, call: Call) -> None:
        """Refuse a change in place that a view would see later: in ONNX values share no memory."""
        base = bases(self.graph)
        memory = {base.get(v, v) for v in call.written}
        later = self.graph.calls[self.graph.calls.index(call) + 1 :]
        used = {*self.graph.wanted(), *(v for c in later for v in c.inputs if v is not None)}
        made = {v for c in later for v in c.outputs}
        if any(base.get(v, v) in memory for v in used.difference(call.written, made)):
            self.to.refuse(call.op, "it changes memory in place that a view shares")

    def _rebind(self, call: Call, made: tuple[Any, ...]) -> None:
        """What an op has written to goes by other names from now on."""
        self._names.update(zip(call.written, made, strict=True))
        self._moved.update(dict.fromkeys(v for v in call.written if v.kind == "state"))

    def _step(self, call: Call) -> Step:
        wires = tuple([None if v is None else self._wire(v, call.op) for v in call.inputs])
        return Step(call.op, wires, tuple([(v.shape, v.dtype) for v in call.outputs]))

    def _wire(self, v: Value, op: Op) -> Wire:
        if v not in self._names:
            self._names[v] = self._bound(v, op)
        name = self._names[v]
        if name is None:
            self.to.refuse(op, "it uses an output that the ONNX operator before it does not have")
        return Wire(str(name), v.shape, v.dtype)

    def _bound(self, v: Value, op: Op) -> str:
        """The name of what no call makes."""
        if v.tensor is None:
            self.to.refuse(op, "it reads a gradient that was there before")
        data = v.tensor._data
        array = backends.by_type[type(data)].to_numpy(data)
        if v.kind == "constant":
            return self.to.constant(array)
        name = self._state[v]
        self.to.initializers[name] = tensor_proto(array, name)
        return name

    def finish(self) -> tuple[list[Any], list[Wire]]:
        """The nodes that are needed, and the outputs: what the graph returns, then state that has moved."""
        values = [*self.graph.outputs, *self._moved]
        wires = self._interface("output", self.graph.outputs)
        wires += [
            Wire(self.to.unique(f"{self._state[v]}.new"), v.shape, v.dtype) for v in self._moved
        ]
        self.to.layer = ""
        made = {
            name for node in self.to.nodes for name in node.output if node.op_type != "Constant"
        }
        final: dict[str, str] = {}
        for v, wire in zip(values, wires, strict=True):
            name = self._wire(v, Op()).name
            if name not in made or name in final:
                name = self.to.node("Identity", name)
            final[name] = wire.name
        nodes = _needed(self.to.nodes, set(final))
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [final.get(name, name) for name in names]
        return nodes, wires


def _needed(nodes: list[Any], names: set[str]) -> list[Any]:
    """The nodes that something in ``names`` depends on."""
    kept = []
    for node in reversed(nodes):
        if not names.isdisjoint(node.output):
            names.update(node.input)
            kept.append(node)
    return kept[::-1]


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` to an ONNX file; see ``Graph.to_onnx``."""
    onnx = library()
    if graph.gradients:
        raise ValueError(
            f"to_onnx: {graph.title} leaves gradients in its leaves, for which ONNX has no place; capture the forward "
            "alone, or a function that returns what minigrad.grad gives"
        )
    size = sum(v.nbytes for v in graph.values() if v.kind in ("state", "constant"))
    if size > MOST_BYTES:
        raise ValueError(
            f"to_onnx: {graph.title} has {size} bytes of weights; a file holds less than 2 GiB"
        )
    walk = Walk(graph)
    nodes, outputs = walk.finish()
    used = {name for node in nodes for name in node.input}
    helper = onnx.helper
    info = [
        [helper.make_tensor_value_info(w.name, NUMBERS[w.dtype], w.shape) for w in wires]
        for wires in (walk.inputs, outputs)
    ]
    weights = [proto for name, proto in walk.to.initializers.items() if name in used]
    model = helper.make_model(
        helper.make_graph(nodes, graph.title, *info, initializer=weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minigrad",
    )
    # A file does not tell parameters from buffers.
    buffers = [v.name for v in graph.state() if isinstance(v.tensor, Buffer) and v.name in used]
    helper.set_model_props(model, {"minigrad.buffers": "\n".join(buffers)})
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"to_onnx: {graph.title} is no valid ONNX model: {error}") from error
    write_whole(Path(path), model.SerializeToString())
