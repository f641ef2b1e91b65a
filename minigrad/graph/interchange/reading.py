"""Reading an ONNX file, which anybody may have made: every claim is checked before anything is done with it.

Nothing in a file is executed: operators are looked up by name among those of ``operators``. No other file is opened,
and no memory is taken for what the file only claims to hold. Whatever is wrong is a ValueError that says what.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .operators import OPERATORS, OUTPUTS
from .protobuf import DTYPES, MOST_BYTES, OPSETS_READ, library
from .schema import schema

#: where a tensor's elements stand if they are not raw bytes, and their dtype there
FIELDS = {
    np.dtype(np.float32): ("float_data", np.float32),
    np.dtype(np.float64): ("double_data", np.float64),
    np.dtype(np.int64): ("int64_data", np.int64),
    np.dtype(np.uint32): ("uint64_data", np.uint64),
    np.dtype(np.uint64): ("uint64_data", np.uint64),
}
#: onnx.AttributeProto.AttributeType and field of what an operator's annotation asks for
ATTRIBUTES = {
    "float": (1, "f"),
    "int": (2, "i"),
    "Dtype": (2, "i"),
    "str": (3, "s"),
    "Array": (4, "t"),
    "Floats": (6, "floats"),
    "Ints": (7, "ints"),
}


class Input(NamedTuple):
    """What the model takes; a size is None where any will do, and the shape where the file does not say."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else f"shape {self.shape}"
        return f"{self.name} of {shape} and dtype {self.dtype}"


class Operation(NamedTuple):
    """A node, checked: its operator, what it takes and makes, and the names that nobody needs after it."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    done: tuple[str, ...] = ()


class Plan(NamedTuple):
    """A file's content."""

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    operations: tuple[Operation, ...]
    buffers: frozenset[str]


def plan(content: bytes) -> Plan:
    """What a file holds.

    Raises
    ------
    ValueError
        If it is anything else than a model that can be run here.
    """
    model = library().ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # a type of protobuf's own, which is no dependency of this package
        raise ValueError(f"it is no complete ONNX file: {error}") from error
    if not model.HasField("graph"):
        _refuse("it is no complete ONNX file: it has no graph")
    opset = _opset(model)
    for what in ("functions", "training_info"):
        if getattr(model, what):
            _refuse(f"{what} of its own are not read")
    graph = model.graph
    if graph.sparse_initializer:
        _refuse("sparse initializers are not read")
    arrays: dict[str, np.ndarray] = {}
    for proto in graph.initializer:
        name = _new(proto.name, arrays, "initializer")
        arrays[name] = array_of(proto, f"initializer {name!r}")
    inputs: dict[str, Input] = {}
    for info in graph.input:
        if info.name not in arrays:  # before IR version 4 initializers were inputs too
            inputs[_new(info.name, inputs, "input")] = _input(info)
    operations = _operations(graph, opset, {*arrays, *inputs})
    outputs = tuple(info.name for info in graph.output)
    known = {*arrays, *inputs, *(name for o in operations for name in o.outputs)}
    for name in outputs:
        if not name or name not in known:
            _refuse(f"its output {name!r} is made by no node")
    if not outputs:
        _refuse("it has no outputs")
    listed = [str(p.value) for p in model.metadata_props if p.key == "minigrad.buffers"]
    return Plan(
        tuple(inputs.values()),
        outputs,
        arrays,
        _with_ends(operations, outputs),
        frozenset([*"\n".join(listed).split("\n"), *_statistics(operations)]),
    )


def _opset(model: Any) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        _refuse(f"it names {len(versions)} versions of the standard operators, expected one")
    if versions[0] not in OPSETS_READ:
        _refuse(
            f"its operators are of version {versions[0]}, expected {OPSETS_READ[0]} to {OPSETS_READ[-1]}; convert "
            "it with onnx.version_converter"
        )
    return int(versions[0])


def _input(info: Any) -> Input:
    if not info.type.HasField("tensor_type"):
        _refuse(f"its input {info.name!r} is no tensor")
    kind = info.type.tensor_type
    if kind.elem_type not in DTYPES:
        _refuse(f"its input {info.name!r} has a dtype (number {kind.elem_type}) that is not read")
    shape = None
    if kind.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
        if any(n is not None and n < 0 for n in shape):
            _refuse(f"its input {info.name!r} has a negative size in {shape}")
    return Input(info.name, DTYPES[kind.elem_type], shape)


def array_of(proto: Any, what: str) -> np.ndarray:
    """The array of a TensorProto, whose elements stand in the file itself, as many as its shape says."""
    if proto.data_location or proto.external_data:
        _refuse(f"{what} lies in another file, which is not opened; write the model as one file")
    if proto.HasField("segment"):
        _refuse(f"{what} is a segment of a tensor")
    if proto.data_type not in DTYPES:
        _refuse(f"{what} has a dtype (number {proto.data_type}) that is not read")
    dtype, shape = DTYPES[proto.data_type], tuple(proto.dims)
    if any(n < 0 for n in shape) or math.prod(max(n, 1) for n in shape) > MOST_BYTES:
        _refuse(f"{what} has an impossible shape {shape}")
    if proto.HasField("raw_data"):
        raw = np.frombuffer(proto.raw_data, np.uint8)
        found = len(raw) / dtype.itemsize
    else:
        field, there = FIELDS.get(dtype, ("int32_data", np.int32))
        values = np.array(getattr(proto, field), there)
        found = len(values)
    if found != math.prod(shape):
        _refuse(f"{what} has {found:g} elements, expected those of shape {shape}")
    if proto.HasField("raw_data"):
        if dtype.kind == "b":
            return (raw != 0).reshape(shape)
        return raw.view(dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    if dtype == np.float16:  # its bits, as numbers
        return values.astype(np.uint16).view(dtype).reshape(shape)
    return values.astype(dtype).reshape(shape)


def _operations(graph: Any, opset: int, known: set[str]) -> list[Operation]:
    """The nodes in their order, each using only what is there already, so that there is no cycle."""
    operations = []
    for i, node in enumerate(graph.node):
        where = f"node {i} ({node.op_type}{f', {node.name!r}' if node.name else ''})"
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            domain = f"{node.domain}." if node.domain else ""
            _refuse(f"{where}: the operator {domain}{node.op_type} is not read")
        expected = schema(OPERATORS[node.op_type])
        inputs, outputs = tuple(node.input), tuple(node.output)
        given = sum(1 for name in inputs[: expected.least] if name)
        if given < expected.least or (expected.most is not None and len(inputs) > expected.most):
            most = "more" if expected.most is None else expected.most
            _refuse(f"{where}: expected {expected.least} to {most} inputs, got {len(inputs)}")
        if expected.most is None and not all(inputs):
            _refuse(f"{where}: an input is left out")
        for name in inputs:
            if name and name not in known:
                _refuse(f"{where}: its input {name!r} is not known before it")
        most_outputs = OUTPUTS.get(node.op_type, 1)
        if not any(outputs) or (most_outputs is not None and len(outputs) > most_outputs):
            _refuse(
                f"{where}: {len(outputs)} outputs, of which {most_outputs or 'any number'} are read"
            )
        attributes = _attributes(node, expected.attributes, where)
        missing = [name for name in expected.required if name not in attributes]
        if missing:
            _refuse(f"{where}: the attribute {missing[0]!r} is missing")
        filled_in = {"opset": opset, "made": len(outputs)}
        attributes |= {name: filled_in[name] for name in expected.filled_in}
        for name in filter(None, outputs):
            known.add(_new(name, known, f"{where}: output"))
        operations.append(Operation(where, node.op_type, inputs, outputs, attributes))
    return operations


def _attributes(node: Any, expected: dict[str, str], where: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for proto in node.attribute:
        name = _new(proto.name, attributes, f"{where}: attribute")
        if name not in expected:
            _refuse(f"{where}: the attribute {name!r} is not read")
        kind = expected[name]
        number, field = ATTRIBUTES[kind]
        if proto.type != number or proto.ref_attr_name:
            _refuse(f"{where}: expected the attribute {name!r} to be of type {kind}")
        value = getattr(proto, field)
        if kind == "Array":
            value = array_of(value, f"{where}: attribute {name!r}")
        elif kind == "Dtype":
            if value not in DTYPES:
                _refuse(f"{where}: a dtype (number {value}) that is not read")
            value = DTYPES[value]
        elif kind == "str":
            value = value.decode("utf-8")
        elif kind in ("Ints", "Floats"):
            value = tuple(value)
        attributes[name] = value
    return attributes


def _statistics(operations: list[Operation]) -> list[str]:
    """The names of running statistics: not to be trained."""
    return [n for o in operations if o.kind == "BatchNormalization" for n in o.inputs[3:5]]


def _with_ends(operations: list[Operation], outputs: tuple[str, ...]) -> tuple[Operation, ...]:
    """The operations, each with the names that it is the last to use or make."""
    seen, ended = set(outputs), []
    for operation in reversed(operations):
        done = {*operation.inputs, *operation.outputs} - seen - {""}
        seen |= done
        ended.append(operation._replace(done=tuple(sorted(done))))
    return tuple(reversed(ended))


def _new(name: Any, taken: Any, what: str) -> str:
    if not isinstance(name, str):  # protobuf's answer to what is not UTF-8
        _refuse(f"{what} has a name that is no text: {name!r}")
    if not name or name in taken:
        _refuse(f"{what} {name!r} has no name of its own")
    return name


def _refuse(problem: str) -> NoReturn:
    raise ValueError(problem)
