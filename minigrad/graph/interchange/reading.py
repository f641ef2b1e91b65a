"""Reading an ONNX file, which anybody may have made: every claim is checked before anything is done with it.

Nothing in a file is executed: operators are looked up by name among those of ``operators``, and their parameters in
ONNX's own schemas. No other file is opened, and no memory is taken for what the file only claims to hold. Whatever is
wrong is a ValueError that says what.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from inspect import signature
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .operators import OPERATORS, OUTPUTS
from .protobuf import DTYPES, MOST_BYTES, NUMBERS, OPSETS_READ, library

#: where a tensor's elements stand if they are not raw bytes, and their dtype there
FIELDS = {
    np.dtype(np.float32): ("float_data", np.float32),
    np.dtype(np.float64): ("double_data", np.float64),
    np.dtype(np.int64): ("int64_data", np.int64),
    np.dtype(np.uint32): ("uint64_data", np.uint64),
    np.dtype(np.uint64): ("uint64_data", np.uint64),
}
#: attributes that are 0 or 1
FLAGS = frozenset(
    ("allowzero", "ceil_mode", "count_include_pad", "keepdims", "noop_with_empty_axes", "saturate")
    + ("select_last_index", "spatial", "storage_order", "training_mode", "transA", "transB")
)
#: fields of an AttributeProto by the name of its type
KINDS = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "FLOATS": "floats", "INTS": "ints"}
#: what a Constant may hold, and its dtype
CONSTANTS = {
    "value": None,
    **dict.fromkeys(("value_float", "value_floats"), np.float32),
    **dict.fromkeys(("value_int", "value_ints"), np.int64),
}
#: as ONNX's schemas name them
TYPES = {f"tensor({name})": np.dtype(name) for name in map(str, NUMBERS)}
TYPES |= {"tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64)}


class Input(NamedTuple):
    """What the model takes; a size is None where any will do, and the shape where the file does not say."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else f"shape {self.shape}"
        return f"{self.name} of {shape} and dtype {self.dtype}"


class Parameter(NamedTuple):
    """What an input may be: its dtypes, one for all of the same ``type``; ``read`` on the host as Vector or Scalar."""

    type: str
    dtypes: frozenset[np.dtype]
    optional: bool
    read: str


class Operation(NamedTuple):
    """A node, checked: its operator, what it takes and makes, and the names that nobody needs after it."""

    name: str
    kind: str
    parameters: tuple[Parameter, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    takes_room: bool
    done: tuple[str, ...] = ()


class Plan(NamedTuple):
    """A file's content; ``constants`` are read on the host, ``arrays`` are the rest of its data."""

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]
    operations: tuple[Operation, ...]
    buffers: frozenset[str]


def plan(content: bytes) -> Plan:
    """What a file holds.

    Raises
    ------
    ValueError
        If it is anything else than a model that can be run here.
    """
    model = _model(content)
    graph, opset = model.graph, _opset(model)
    arrays: dict[str, np.ndarray] = {}
    for proto in graph.initializer:
        name = _new(proto.name, arrays, "initializer")
        arrays[name] = array_of(proto, f"initializer {name!r}")
    inputs: dict[str, Input] = {}
    for info in graph.input:
        if info.name not in arrays:  # before IR version 4 initializers were inputs too
            inputs[_new(info.name, inputs, "input")] = _input(info)
    constants: dict[str, np.ndarray] = {}
    operations = _operations(graph, opset, {*arrays, *inputs}, constants)
    outputs = tuple(info.name for info in graph.output)
    known = {*arrays, *inputs, *constants, *(name for o in operations for name in o.outputs)}
    for name in outputs:
        if not name or name not in known:
            _refuse(f"its output {name!r} is made by no node")
    if not outputs:
        _refuse("it has no outputs")
    for name in _only_on_host(operations, outputs).intersection(arrays):
        constants[name] = arrays.pop(name)
    listed = [str(p.value) for p in model.metadata_props if p.key == "minigrad.buffers"]
    norms = [o for o in operations if o.kind == "BatchNormalization"]
    return Plan(
        tuple(inputs.values()),
        outputs,
        arrays,
        constants,
        _with_ends(operations, outputs),
        frozenset(chain("\n".join(listed).split("\n"), *(o.inputs[3:] for o in norms))),
    )


def _model(content: bytes) -> Any:
    model = library().ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # a type of protobuf's own, which is no dependency of this package
        raise ValueError(f"it is no complete ONNX file: {error}") from error
    if not model.HasField("graph"):
        _refuse("it is no complete ONNX file: it has no graph")
    for what in ("functions", "training_info"):
        if getattr(model, what):
            _refuse(f"{what} of its own are not read")
    if model.graph.sparse_initializer:
        _refuse("sparse initializers are not read")
    return model


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
    if (
        len(shape) > 64
        or any(n < 0 for n in shape)
        or math.prod(max(n, 1) for n in shape) > MOST_BYTES
    ):
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


def _operations(
    graph: Any, opset: int, known: set[str], constants: dict[str, np.ndarray]
) -> list[Operation]:
    """The nodes in their order, each using only what is there already, so that there is no cycle."""
    operations = []
    for i, node in enumerate(graph.node):
        where = f"node {i} ({node.op_type}{f', {node.name!r}' if node.name else ''})"
        constant = node.op_type == "Constant"
        schema = _schema_of(node, opset, where)
        inputs, outputs = tuple(node.input), tuple(node.output)
        parameters = _inputs(node, schema, opset, known, where)
        taken = CONSTANTS if constant else signature(OPERATORS[node.op_type]).parameters
        attributes = _attributes(node, schema, taken, where)
        computed = OUTPUTS.get(node.op_type, 1)
        if node.op_type == "BatchNormalization" and not attributes.get("training_mode"):
            computed = 1
        if not any(outputs) or len(outputs) > computed:
            _refuse(f"{where}: {len(outputs)} outputs, of which {computed} are computed")
        for name in filter(None, outputs):
            known.add(_new(name, known, f"{where}: output"))
        if constant:
            if len(attributes) != 1:
                _refuse(f"{where}: expected one value, got {len(attributes)}")
            ((name, value),) = attributes.items()
            constants[outputs[0]] = np.asarray(value, CONSTANTS[name])
            continue
        attributes |= {"opset": opset} if "opset" in taken else {}
        operations.append(
            Operation(where, node.op_type, parameters, inputs, outputs, attributes, "room" in taken)
        )
    return operations


def _schema_of(node: Any, opset: int, where: str) -> Any:
    domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
    read = not domain and (node.op_type == "Constant" or node.op_type in OPERATORS)
    schema = _schema(node.op_type, opset) if read else None
    if schema is None:
        _refuse(f"{where}: the operator {domain}{node.op_type} is not read in version {opset}")
    return schema


def _inputs(
    node: Any, schema: Any, opset: int, known: set[str], where: str
) -> tuple[Parameter, ...]:
    """What the inputs may be, if there are as many as there must be, and all are known."""
    least, most = schema.min_input, schema.max_input
    if not least <= len(node.input) <= most:
        _refuse(f"{where}: expected {least} to {most} inputs, got {len(node.input)}")
    parameters = _parameters(node.op_type, opset, len(node.input))
    for i, (name, parameter) in enumerate(zip(node.input, parameters, strict=True)):
        if name and name not in known:
            _refuse(f"{where}: its input {name!r} is not known before it")
        if not name and not parameter.optional:
            _refuse(f"{where}: input {i} is left out")
    return parameters


@cache
def _schema(kind: str, opset: int) -> Any:
    """ONNX's schema; None if this version does not have the operator."""
    defs = library().defs
    try:
        return defs.get_schema(kind, opset, "")
    except defs.SchemaError:
        return None


@lru_cache(maxsize=1024)
def _parameters(kind: str, opset: int, inputs: int) -> tuple[Parameter, ...]:
    """What each input may be; the last of a schema stands for all that follow."""
    optional = library().defs.OpSchema.FormalParameterOption.Optional
    formal = _schema(kind, opset).inputs
    own = list(signature(OPERATORS[kind]).parameters.values()) if inputs else []
    found = []
    for i in range(inputs):
        p = formal[min(i, len(formal) - 1)]
        read = str(own[i].annotation).removesuffix(" | None") if i < len(own) else ""
        dtypes = frozenset(TYPES[t] for t in p.types if t in TYPES)
        found.append(Parameter(p.type_str, dtypes, p.option == optional, read))
    return tuple(found)


def _attributes(node: Any, schema: Any, taken: Any, where: str) -> dict[str, Any]:
    """The attributes, and the defaults of those that are ``taken`` and that the node does not have."""
    attributes: dict[str, Any] = {}
    for proto in node.attribute:
        name = _new(proto.name, attributes, f"{where}: attribute")
        if name not in schema.attributes or name not in taken:
            _refuse(f"{where}: the attribute {name!r} is not read")
        attributes[name] = _value(proto, schema.attributes[name].type.name, where)
    for name, formal in schema.attributes.items():
        if name not in attributes:
            if formal.required:
                _refuse(f"{where}: the attribute {name!r} is missing")
            if formal.default_value.type and name in taken:
                attributes[name] = _value(formal.default_value, formal.type.name, where)
    return attributes


def _value(proto: Any, kind: str, where: str) -> Any:
    """The value of an attribute."""
    name = proto.name
    if proto.type != getattr(library().AttributeProto, kind) or proto.ref_attr_name:
        _refuse(f"{where}: expected the attribute {name!r} to be of type {kind.lower()}")
    value = getattr(proto, KINDS[kind])
    if kind == "TENSOR":
        return array_of(value, f"{where}: attribute {name!r}")
    if kind == "STRING":
        return value.decode("utf-8")
    if name in FLAGS and value not in (0, 1):
        _refuse(f"{where}: expected {name} 0 or 1, got {value}")
    if name == "to":
        if value not in DTYPES:
            _refuse(f"{where}: a dtype (number {value}) that is not read")
        return DTYPES[value]
    return tuple(value) if kind in ("INTS", "FLOATS") else value


def _only_on_host(operations: list[Operation], outputs: tuple[str, ...]) -> set[str]:
    """The names whose values all who use them read on the host."""
    used: dict[bool, set[str]] = {True: set(), False: set(outputs)}
    for o in operations:
        for name, parameter in zip(o.inputs, o.parameters, strict=True):
            used[parameter.read in ("Vector", "Scalar")].add(name)
    return used[True] - used[False]


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
