"""Import: an ONNX file as a module.

Files are not trusted: nothing in them is executed, no other file is opened, the onnx package checks their structure,
and nodes claim their memory before they compute.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..creation import constant
from ..graph import CaptureError
from ..messages import not_a_tensor
from ..nn.module import Buffer, Module, Parameter
from ..tape import no_grad, untraced
from ..tensor import Tensor
from . import DTYPES, MOST_BYTES, library
from .operators import IGNORED, OPERATORS, SCALARS, VECTORS, Budget, budget, claim

#: before 13 softmax had other axes; later versions may change what an operator means
VERSIONS = range(13, 29)


class Input(NamedTuple):
    """An input of the file; a size is None if it may be any, and the shape if the file does not give it."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None

    def fits(self, t: Tensor) -> bool:
        shape = t.shape if self.shape is None else self.shape
        fits = [n in (None, m) for n, m in zip(shape, t.shape, strict=False)]
        return len(shape) == t.ndim and all(fits) and t.dtype == self.dtype


class Node(NamedTuple):
    """A node; ``formal`` has each input's name, type variable and dtypes in ONNX's schema."""

    title: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    formal: tuple[tuple[str, str, frozenset[np.dtype]], ...]

    def run(self, values: list[Any]) -> Any:
        """Compute the output: a Tensor, or an array on the host if no input is a Tensor."""
        budget.get().next_node()
        types: dict[str, np.dtype] = {}
        backend = next((v.backend for v in values if isinstance(v, Tensor)), None)
        arguments = []
        for i, (v, (name, kind, allowed)) in enumerate(zip(values, self.formal, strict=True)):
            if v is not None and (
                v.dtype not in allowed or types.setdefault(kind, v.dtype) != v.dtype
            ):
                expected = types.get(kind) or ", ".join(sorted(map(str, allowed)))
                raise ValueError(f"expected input {i} of dtype {expected}, got {v.dtype}")
            arguments.append(None if v is None else self._argument(v, name, backend))
        if backend:
            return OPERATORS[self.kind](*arguments, **self.attributes)
        with untraced(), no_grad():
            made = OPERATORS[self.kind](*arguments, **self.attributes)
            return made.numpy() if isinstance(made, Tensor) else made

    def _argument(self, value: Any, name: str, backend: str | None) -> Any:
        """Convert to what operators take: a tuple of integers, a number, or a Tensor, whose memory is claimed."""
        if name not in VECTORS | SCALARS:
            claim(
                [max(n, 1) for n in value.shape], value.dtype
            )  # results may be larger than an empty input
            return value if isinstance(value, Tensor) else constant(value, backend=backend)
        if value.size > 64 or (value.size != 1 if name in SCALARS else value.ndim != 1):
            raise ValueError(f"expected a number or vector as {name}, got shape {value.shape}")
        array = value.numpy() if isinstance(value, Tensor) else value
        return array.item() if name in SCALARS else tuple(array.tolist())


class OnnxModel(Module):
    """The computation of an ONNX file; see ``from_onnx``."""

    def __init__(self, model: Any, max_bytes: int) -> None:
        graph = model.graph
        arrays = {p.name: _array(p) for p in graph.initializer}
        self._max_bytes, self._bytes = max_bytes, sum(a.nbytes for a in arrays.values())
        # Before IR version 4 initializers were inputs too.
        self._inputs = [_input(info) for info in graph.input if info.name not in arrays]
        self._outputs = [info.name for info in graph.output]
        self._nodes = _nodes(model)
        self._uses = Counter([*self._outputs, *(name for n in self._nodes for name in n.inputs)])
        norms = [n for n in self._nodes if n.kind == "BatchNormalization"]
        buffers = {name for n in norms for name in n.inputs[3:]}
        props = {p.key: p.value for p in model.metadata_props}
        buffers.update(props.get("minigrad.buffers", "").split("\n"))
        formal = [(v, f) for n in self._nodes for v, f in zip(n.inputs, n.formal, strict=True)]
        numbers = {v for v, (name, *_) in formal if name in SCALARS}
        self._constants, self._tensors = dict[str, Any](), dict[str, Tensor]()
        for name, array in arrays.items():
            if array.dtype.kind == "f" and name not in numbers:
                self._tensors[name] = (Buffer if name in buffers else Parameter)(array)
            else:
                self._constants[name] = array

    def registered(self) -> Iterator[tuple[str, Any]]:
        yield from self._tensors.items()

    def forward(self, *inputs: Tensor) -> Any:
        """Compute the outputs of the file, a tuple if there are several.

        Raises
        ------
        ValueError, TypeError
            For inputs that don't fit; ValueError, naming the node, if an operator fails or would take more than
            ``max_bytes``.
        CaptureError
            When captured, if shapes, axes or bounds depend on values of the inputs.
        """
        self._require_fitting(inputs)
        known: dict[str, Any] = {"": None, **self._constants, **self._tensors}
        known |= {i.name: t for i, t in zip(self._inputs, inputs, strict=True)}
        backend = next((t.backend for t in known.values() if isinstance(t, Tensor)), None)
        left = self._uses.copy()
        data = self._bytes + sum(t.size * t.dtype.itemsize for t in inputs)
        token = budget.set(Budget(self._max_bytes, data))
        try:
            for node in self._nodes:
                try:
                    known[node.output] = node.run([known[name] for name in node.inputs])
                except CaptureError:
                    raise
                except Exception as error:
                    raise ValueError(f"{self.title()}: {node.title}: {error}") from error
                left.subtract(node.inputs)
                for name in {*node.inputs, node.output} - {""}:
                    if not left[name]:
                        del known[name]
        finally:
            budget.reset(token)
        made = [known[name] for name in self._outputs]
        made = [y if isinstance(y, Tensor) else constant(y, backend=backend) for y in made]
        return tuple(made) if len(made) > 1 else made[0]

    def _require_fitting(self, inputs: tuple[Any, ...]) -> None:
        if len(inputs) != len(self._inputs):
            names = ", ".join(i.name for i in self._inputs) or "none"
            expected = f"{len(self._inputs)} inputs ({names})"
            raise TypeError(f"{self.title()}: expected {expected}, got {len(inputs)}")
        for i, t in zip(self._inputs, inputs, strict=True):
            if not isinstance(t, Tensor):
                raise TypeError(f"{self.title()}, argument {i.name}: {not_a_tensor(t)}")
            if not i.fits(t):
                raise ValueError(
                    f"{self.title()}: expected {i.name} of shape {i.shape} and dtype {i.dtype}, "
                    f"got shape {t.shape} and dtype {t.dtype}"
                )

    def extra_repr(self) -> str:
        return f"{', '.join(i.name for i in self._inputs)} -> {', '.join(self._outputs)}"


def _input(info: Any) -> Input:
    kind = info.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    if kind.elem_type not in DTYPES or any(n is not None and n < 0 for n in shape):
        raise ValueError(f"its input {info.name!r} is no tensor of a shape and dtype that are read")
    return Input(info.name, DTYPES[kind.elem_type], shape if kind.HasField("shape") else None)


def _array(proto: Any) -> np.ndarray:
    """The array of a TensorProto that holds as many elements as its shape requires."""
    what = f"the tensor {proto.name!r}"
    if proto.data_location or proto.external_data:
        raise ValueError(f"{what} is in another file, which is not opened; write the model as one")
    if proto.data_type not in DTYPES:
        raise ValueError(f"{what} has a dtype (number {proto.data_type}) that is not read")
    if min(proto.dims, default=0) < 0 or prod(max(n, 1) for n in proto.dims) > MOST_BYTES:
        raise ValueError(f"{what} has an impossible shape {(*proto.dims,)}")
    array = library().numpy_helper.to_array(proto)
    return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array


def _value(attribute: Any) -> Any:
    onnx = library()
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return tuple(value) if isinstance(value, list) else value


def _nodes(model: Any) -> list[Node]:
    """The nodes in order; ValueError for invalid and unsupported ones."""
    onnx, graph = library(), model.graph
    if model.functions or model.training_info or graph.sparse_initializer or not graph.output:
        raise ValueError("it has no outputs, or functions, training_info or sparse initializers")
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in VERSIONS:
        raise ValueError(
            f"its operators are of versions {versions}, expected one from {VERSIONS[0]} to {VERSIONS[-1]}; convert it "
            "with onnx.version_converter"
        )
    used = {*(v.name for v in graph.output), *(v for n in graph.node for v in n.input)} - {""}
    read = []
    for i, node in enumerate(graph.node):
        title = f"node {i} ({node.op_type}{f', {node.name!r}' if node.name else ''})"
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise ValueError(
                f"{title}: the operator {node.domain or 'ai.onnx'}.{node.op_type} is not read"
            )
        if unread := used.intersection(node.output[1:]):
            raise ValueError(f"{title}: only the first output is computed, not {sorted(unread)}")
        read.append((title, node, {a.name: _value(a) for a in node.attribute}))
    for info in (*graph.input, *graph.output):
        info.type.tensor_type.shape.SetInParent()  # files without it are common
    onnx.checker.check_model(model)
    return [_node(*arguments, versions[0]) for arguments in read if arguments[1].output[0]]


def _node(title: str, node: Any, attributes: dict[str, Any], version: int) -> Node:
    """A node that is valid by ONNX's schema; ValueError for unsupported attributes."""
    schema = library().defs.get_schema(node.op_type, version, "")
    for name in [*attributes]:
        default = schema.attributes[name].default_value
        if name in IGNORED or (default.type and attributes[name] == _value(default)):
            del attributes[name]
    try:
        signature(OPERATORS[node.op_type]).bind(*node.input, **attributes)
    except TypeError as error:
        raise ValueError(f"{title}: it is not read: {error}") from error
    formal = [schema.inputs[min(i, len(schema.inputs) - 1)] for i in range(len(node.input))]
    types = [
        (f.name, f.type_str, frozenset(d for d in DTYPES.values() if _type(d) in f.types))
        for f in formal
    ]
    return Node(title, node.op_type, tuple(node.input), node.output[0], attributes, tuple(types))


def _type(dtype: np.dtype) -> str:
    """The name of a dtype in ONNX's schemas."""
    return f"tensor({ {'float32': 'float', 'float64': 'double'}.get(str(dtype), dtype) })"


def from_onnx(source: str | os.PathLike[str] | bytes, *, max_bytes: int = 2**30) -> OnnxModel:
    """Read an ONNX file as a module: an MLP, a convolutional network, a classifier.

    Its floating initializers are parameters under their names in the file, except for running statistics, which are
    buffers; so it can be trained, captured, saved, and moved between backends like any other module. Batch norms use
    the file's statistics, whatever ``train()`` and ``eval()``.

    Parameters
    ----------
    source : path or bytes
        A file, or its content. It may be hostile: nothing in it is executed, and all of it is checked.
    max_bytes : int
        What one node may take for its inputs and outputs, 1 GiB by default, and what all of them may in a run beyond
        a multiple of the inputs and weights. It is checked before; products and convolutions count by their
        multiplications too.

    Returns
    -------
    OnnxModel
        To be called with the inputs of the file, in order. Sizes that the file gives are fixed.

    Raises
    ------
    ImportError
        If onnx is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        For files that are damaged or have unsupported parts, naming them: operators that are not in
        ``minigrad.onnx.operators``, versions other than 13 to 28, weights in other files, dtypes that NumPy lacks.

    Examples
    --------
    >>> import minigrad as mg, tempfile
    >>> layer, x = mg.nn.Linear(3, 2), mg.ones((4, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.capture(layer, x).to_onnx(f"{folder}/linear.onnx")
    ...     model = mg.from_onnx(f"{folder}/linear.onnx")
    >>> sorted(model.state_dict())
    ['bias', 'weight']
    >>> bool((model(x) == layer(x)).min())
    True
    """
    onnx = library()
    title, content = "these bytes", source
    if not isinstance(source, bytes):
        title = os.fspath(source)
        if os.path.getsize(source) > MOST_BYTES:
            raise ValueError(f"from_onnx: {title}: a file of more than 2 GiB is no ONNX file")
        content = Path(source).read_bytes()
    try:
        return OnnxModel(onnx.load_model_from_string(content), max_bytes)
    except Exception as error:
        raise ValueError(f"from_onnx: {title}: {error}") from error
