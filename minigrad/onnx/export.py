"""Export a graph to an ONNX file by a table of rules, one per op.

Values are inputs, initializers (parameters and buffers under their own names), constants, and outputs of nodes. An op
without a rule is exported as the ops that its ``reference`` applies.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .. import tape
from ..backend import by_type
from ..checkpoint import write_whole
from ..nn.module import Buffer
from ..op import Op
from ..ops.arithmetic import where
from ..ops.indexing import ARRAY
from ..tape import LITERAL, no_grad, tracing
from ..tensor import Tensor
from . import IR_VERSION, MOST_BYTES, NUMBERS, OPSET, library


class Wire(NamedTuple):
    """A named value of the ONNX graph."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Writer:
    """Builds the nodes and initializers of a file from a ``minigrad.graph.Graph``."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.layer = graph, ""
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._taken: set[str] = set()
        self._constants: dict[Any, str] = {}
        self.inputs = self._interface("input", graph.inputs)
        self._names = dict[Any, Any](zip(graph.inputs, (w.name for w in self.inputs), strict=True))
        self._state = {v: self.unique(v.name or "state") for v in graph.state()}
        self._moved: dict[Any, None] = {}
        for i, call in enumerate(graph.calls):
            self.layer = call.layer
            made = self.write(call.op, [v and self._wire(v, call.op) for v in call.inputs])
            if call.op.writes:  # later calls read the new values
                self._require_unshared(call, graph.calls[i + 1 :])
                self._moved |= dict.fromkeys(v for v in call.written if v.kind == "state")
            self._names.update(zip(call.written or call.outputs, made, strict=True))

    # --- used by the rules ---

    def node(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node and return its output's name. Inputs are Wires or names, None for an optional one."""
        name = self.unique(f"{self.layer}/{kind}" if self.layer else kind)
        names = ["" if v is None else getattr(v, "name", v) for v in inputs]
        while names and not names[-1]:
            names.pop()
        self.nodes.append(library().helper.make_node(kind, names, [name], name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """The name of a constant, shared by equal ones."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            layer, self.layer = self.layer, ""
            self._constants[key] = self.node(
                "Constant", value=library().numpy_helper.from_array(array)
            )
            self.layer = layer
        return self._constants[key]

    def cast(self, x: Wire | str, dtype: Any) -> str:
        return self.node("Cast", x, to=NUMBERS[np.dtype(dtype)])

    def trace(self, function: Callable[..., Any], inputs: Iterable[Wire | None]) -> tuple[str, ...]:
        """Write the ops that a function of Tensors applies, by running it on ones of these shapes."""
        tracer = Tracer(self)
        tensors = [w and tracer.know(Tensor(np.ones(w.shape, w.dtype)), w.name) for w in inputs]
        token = tracing.set(tracer)
        try:
            with no_grad(), np.errstate(all="ignore"):
                made = function(*tensors)
        finally:
            tracing.reset(token)
        return tuple([tracer.wire(t).name for t in (made if isinstance(made, tuple) else (made,))])

    def refuse(self, op: Op, why: str) -> NoReturn:
        where = f" in {self.layer}" if self.layer else ""
        raise ValueError(
            f"to_onnx: {self.graph.title}: {type(op).__name__}{where} can't be written: {why}; capture a function "
            "that does without it, as a rule the model's forward alone"
        )

    # --- the walk over the graph ---

    def unique(self, name: str) -> str:
        """``name``, with a number appended if it is taken."""
        candidate, n = name, 1
        while candidate in self._taken:
            candidate, n = f"{name}_{n}", n + 1
        self._taken.add(candidate)
        return candidate

    def write(self, op: Any, inputs: Iterable[Wire | None]) -> tuple[str | None, ...]:
        """Write an op; the names of its outputs, or of its updated inputs; None for one that ONNX does not have."""
        rule = RULES.get(type(op).__name__)
        if rule is None and type(op).reference is Op.reference:
            self.refuse(op, "there is no ONNX operator for it")
        made = self.trace(op.reference, inputs) if rule is None else rule(self, op, *inputs)
        return made if isinstance(made, tuple) else (made,)

    def _interface(self, name: str, values: list[Any]) -> list[Wire]:
        """Name inputs or outputs of the file, with numbers if there are several."""
        names = [name] if len(values) == 1 else [f"{name}_{i}" for i in range(len(values))]
        return [Wire(self.unique(n), v.shape, v.dtype) for n, v in zip(names, values, strict=True)]

    def _require_unshared(self, call: Any, later: list[Any]) -> None:
        """Refuse an in-place change of memory that a view reads later: ONNX values share no memory."""
        base = self.graph.bases()
        memory = {base.get(v, v) for v in call.written}
        used = {*self.graph.wanted(), *(v for c in later for v in c.inputs)}
        made = {*call.written, *(v for c in later for v in c.outputs)}
        if any(base.get(v, v) in memory for v in used - made):
            self.refuse(call.op, "it changes memory in place that a view shares")

    def _wire(self, v: Any, op: Op) -> Wire:
        if v not in self._names:
            if v.tensor is None:
                self.refuse(op, "it reads a gradient that was there before")
            array = by_type[type(v.tensor._data)].to_numpy(v.tensor._data)
            if v.kind == "constant":
                self._names[v] = self.constant(array, array.dtype)
            else:
                name = self._names[v] = self._state[v]
                self.initializers[name] = library().numpy_helper.from_array(array, name)
        if self._names[v] is None:
            self.refuse(op, "it uses an output that the ONNX operator before it does not have")
        return Wire(self._names[v], v.shape, v.dtype)

    def finish(self) -> list[Wire]:
        """Remove unused nodes, and name the outputs: those of the graph, and the updated state."""
        outputs, self.layer = self._interface("output", self.graph.outputs), ""
        new = [(self.unique(f"{self._state[v]}.new"), v.shape, v.dtype) for v in self._moved]
        outputs += [Wire(*w) for w in new]
        made = {n.output[0] for n in self.nodes if n.op_type != "Constant"}
        final: dict[str, str] = {}
        for v, wire in zip([*self.graph.outputs, *self._moved], outputs, strict=True):
            name = self._wire(v, Op()).name
            if name not in made or name in final:
                name = self.node("Identity", name)
            final[name] = wire.name
        needed, kept = set(final), list[Any]()
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                needed.update(node.input)
                kept.insert(0, node)
                for names in (node.input, node.output):
                    names[:] = [final.get(name, name) for name in names]
        self.nodes = kept
        self.initializers = {n: p for n, p in self.initializers.items() if n in needed}
        return outputs


class Tracer(tape.Tracer):
    """Tracer that writes every applied op. A tensor that none of them computed is a constant."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        # With the arrays, so that their ids stay unique.
        self._known: dict[int, tuple[Wire, Any]] = {}

    def know(self, t: Tensor, name: str) -> Tensor:
        self._known[id(t._data)] = Wire(name, t.shape, t.dtype), t._data
        return t

    def wire(self, t: Tensor) -> Wire:
        if id(t._data) not in self._known:
            self.know(t, self.writer.constant(t._data, t.dtype))
        return self._known[id(t._data)][0]

    def applied(self, op: Op, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
        if op is LITERAL:
            return
        made = self.writer.write(op, [None if t is None else self.wire(t) for t in inputs])
        for y, name in zip(outputs, made, strict=True):
            if name is not None:
                self.know(y, name)


# --- rules: functions of the writer, the op and its inputs ---


def same(kind: str, *attributes: str) -> Callable[..., str]:
    """A rule for an op that is a single operator, with attributes of the same names."""
    return lambda to, op, *xs: to.node(kind, *xs, **{a: getattr(op, a) for a in attributes})


def reduced(kind: str) -> Callable[..., str]:
    """A rule for reductions; sums of narrow integers and booleans are widened, as by NumPy."""

    def rule(to: Writer, op: Any, x: Wire) -> str:
        wide = np.zeros(1, x.dtype).sum().dtype if kind == "ReduceSum" else x.dtype
        y = x if x.dtype in (wide, np.float16) else to.cast(x, wide)
        if not op.axes:  # in ONNX these would be all
            return to.node("Identity", y)
        return to.node(kind, y, to.constant(op.axes), keepdims=int(op.keepdims))

    return rule


def compared(to: Writer, op: Any, a: Wire, b: Wire) -> str:
    if op.ufunc == "not_equal":
        return to.node("Not", to.node("Equal", a, b))
    return to.node(op.ufunc.title().replace("_", "Or"), a, b)


def arg_max(to: Writer, op: Any, x: Wire) -> str:
    flat = to.node("Reshape", x, to.constant([-1])) if op.axis is None else x
    return to.node(type(op).__name__, flat, axis=op.axis or 0, keepdims=0)


def one_hot(to: Writer, op: Any, labels: Wire) -> str:
    column = to.node("Reshape", to.cast(labels, np.int64), to.constant([*labels.shape, 1]))
    return to.cast(to.node("Equal", column, to.constant(np.arange(op.classes))), op.dtype)


def dropout_mask(to: Writer, op: Any, x: Wire) -> str:
    """The mask is a Dropout of ones."""
    ones = to.node("Expand", to.constant(1, x.dtype), to.constant(x.shape))
    return to.node("Dropout", ones, to.constant(op.p, np.float32), to.constant(True, bool))


def reshape(to: Writer, x: Any, shape: tuple[int, ...]) -> str:
    # Without allowzero a 0 would mean the size of x.
    return to.node("Reshape", x, to.constant(shape), **({"allowzero": 1} if 0 in shape else {}))


def index(to: Writer, op: Any, x: Wire, *arrays: Wire) -> str:
    """A Slice, then a Gather for an index array, or else a Reshape without the axes of ints."""
    if len(arrays) > 1 or (arrays and not all(p is ARRAY or isinstance(p, slice) for p in op.key)):
        to.refuse(op, "an index of arrays is written if there is one, between slices")
    parts = [slice(None) if part is ARRAY else part for part in op.key if part is not None]
    at = parts.index(...) if ... in parts else len(parts)
    parts[at : at + 1] = [slice(None)] * (len(x.shape) - len(parts) + (at < len(parts)))
    cuts = []
    for axis, (part, n) in enumerate(zip(parts, x.shape, strict=True)):
        part = part if isinstance(part, slice) else slice(part % n, part % n + 1)
        start, stop, step = part.indices(n)
        if (start, stop, step) != (0, n, 1):
            cuts.append((start, stop if stop >= 0 else -n - 1, axis, step))
    y: Any = to.node("Slice", x, *map(to.constant, zip(*cuts, strict=True))) if cuts else x
    if arrays:
        return to.node("Gather", y, arrays[0], axis=op.key.index(ARRAY))
    return reshape(to, y, np.broadcast_to(0, x.shape)[op.key].shape)


def product(to: Writer, op: Any, *operands: Wire) -> str:
    turned: list[Any] = [*operands]
    for i, x in enumerate(operands):
        if (op.ta, op.tb)[i]:
            *lead, a, b = range(len(x.shape))
            turned[i] = to.node("Transpose", x, perm=[*lead, b, a])
    return to.node("MatMul", *turned)


def window(op: Any) -> dict[str, Any]:
    (top, bottom), (left, right) = op.window.padding
    pads = [top, left, bottom, right]
    return {"kernel_shape": op.window.size, "strides": op.window.stride, "pads": pads}


def conv(to: Writer, op: Any, x: Wire, *weights: Any) -> str:
    """Transposed convolutions get ``output_padding`` from the size of the output."""
    w = op.window
    rest = {"dilations": w.dilation, "group": w.groups}
    if type(op).__name__ == "Conv2d":
        return to.node("Conv", x, *weights, **window(op), **rest)
    axes = zip(op.size, x.shape[2:], w.size, w.stride, w.padding, w.dilation, strict=True)
    lack = [size - ((n - 1) * s - sum(p) + (k - 1) * d + 1) for size, n, k, s, p, d in axes]
    return to.node("ConvTranspose", x, *weights, output_padding=lack, **window(op), **rest)


def frozen_batch_norm(to: Writer, op: Any, x: Wire, gamma: Any, beta: Any, *moments: Wire) -> Any:
    """One node for axis 1. Never one in training mode: ONNX Runtime 1.32 overwrites the initializers of its running
    statistics, so that a second run is wrong."""
    shape, dtype = moments[0].shape, moments[0].dtype
    if op.kept != (1,) or x.dtype != dtype:
        return to.trace(op.reference, (x, gamma, beta, *moments))
    gamma = gamma or to.constant(np.ones(shape), dtype)
    beta = beta or to.constant(np.zeros(shape), dtype)
    return to.node("BatchNormalization", x, gamma, beta, *moments, epsilon=op.eps)


def move_statistics(to: Writer, op: Any, *inputs: Wire) -> Any:
    def moved(mean: Tensor, var: Tensor, count: Tensor, new_mean: Tensor, new_var: Tensor) -> Any:
        n = (count + 1).astype(np.float64)  # 1 - momentum**n cancels
        weight = 1 / n if op.momentum is None else n * 0 + (1 - op.momentum)
        if op.debiased and op.momentum is not None:
            weight = weight / (1 - op.momentum**n)
        weight = weight.astype(mean.dtype)
        old, unbiased = 1 - weight, new_var * op.correction
        after = mean * old + new_mean * weight, var * old + unbiased * weight, count + 1
        if op.strict:  # where eager code raises, a file can only give NaN
            return after
        finite = (new_var - new_var).sum() == 0
        return tuple(where(finite, a, b) for a, b in zip(after, (mean, var, count), strict=True))

    return to.trace(moved, inputs)


# fmt: off
#: by the names of op classes
RULES: dict[str, Callable[..., Any]] = {
    **{n: same(n) for n in (
        "Abs", "Add", "Cos", "Erf", "Exp", "Log", "Relu", "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt",
        "Tanh", "Where")},
    "AddInto": same("Add"), "Subtract": same("Sub"), "Multiply": same("Mul"), "Divide": same("Div"),
    "Negative": same("Neg"), "Power": same("Pow"), "Maximum": same("Max"), "Minimum": same("Min"),
    "Alias": same("Identity"), "Copy": same("Identity"), "Concatenate": same("Concat", "axis"),
    "Softmax": same("Softmax", "axis"), "LogSoftmax": same("LogSoftmax", "axis"),
    "Sum": reduced("ReduceSum"), "Max": reduced("ReduceMax"), "Min": reduced("ReduceMin"),
    "ArgMax": arg_max, "ArgMin": arg_max, "Comparison": compared, "OneHot": one_hot, "Conv2d": conv, "InputGrad": conv,
    "MatMul": product, "DropoutMask": dropout_mask, "Index": index,
    "FrozenBatchNorm": frozen_batch_norm, "MoveStatistics": move_statistics,
    "CumSum": lambda to, op, x: to.node("CumSum", x, to.constant(op.axis)),
    "Assign": lambda to, op, old, new: to.node("Identity", new),
    "BroadcastTo": lambda to, op, x: to.node("Expand", x, to.constant(op.new)),
    "Cast": lambda to, op, x: to.cast(x, op.dtype),
    "Clip": lambda to, op, x: to.node(
        "Clip", x, *(b if b is None else to.constant(b, x.dtype) for b in (op.low, op.high))),
    "Linear": lambda to, op, *inputs: to.node("Gemm", *inputs, transB=1),
    "MaxPool2d": lambda to, op, x: (
        to.node("MaxPool", x, dilations=op.window.dilation, **window(op)), None),
    "Pad": lambda to, op, x: to.node(
        "Pad", x, to.constant(np.ravel(op.widths, "F")), to.constant(op.value, x.dtype)),
    "SumPool2d": lambda to, op, x: to.node(
        "Mul", to.node("AveragePool", x, count_include_pad=1, **window(op)),
        to.constant(math.prod(op.window.size), x.dtype)),
    "PowerScalar": lambda to, op, x: to.node("Pow", x, to.constant(op.exponent, x.dtype)),
    "Reshape": lambda to, op, x: reshape(to, x, op.new),
    "Transpose": lambda to, op, x: to.node("Transpose", x, perm=op.order),
}
# fmt: on


def write(graph: Any, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` to an ONNX file; see ``Graph.to_onnx``."""
    onnx = library()
    helper = onnx.helper
    if graph.gradients:
        raise ValueError(
            f"to_onnx: {graph.title} leaves gradients in its leaves, for which ONNX has no place; capture the forward "
            "alone, or a function that returns what minigrad.grad gives"
        )
    size = sum(v.nbytes for v in graph.values() if v.kind in ("state", "constant"))
    if size > MOST_BYTES:
        raise ValueError(f"to_onnx: {graph.title} has {size} bytes of weights, more than 2 GiB")
    to = Writer(graph)
    interface = [
        [helper.make_tensor_value_info(w.name, NUMBERS[w.dtype], w.shape) for w in wires]
        for wires in (to.inputs, to.finish())
    ]
    weights = [*to.initializers.values()]
    model = helper.make_model(
        helper.make_graph(to.nodes, graph.title, *interface, initializer=weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minigrad",
    )
    # A file does not tell parameters from buffers.
    named = {v.name for v in graph.state() if isinstance(v.tensor, Buffer)}
    buffers = [name for name in to.initializers if name in named]
    helper.set_model_props(model, {"minigrad.buffers": "\n".join(buffers)})
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"to_onnx: {graph.title} is no valid ONNX model: {error}") from error
    write_whole(Path(path), model.SerializeToString())
