"""A model that came from an ONNX file: a module that applies the file's operators, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

import numpy as np

from ...messages import not_a_tensor
from ...nn.module import Buffer, Module, Parameter
from ...tape import no_grad, unheard
from ...tensor import Tensor, tensor, written_out
from ..guards import CaptureError
from .operators import OPERATORS
from .protobuf import MOST_BYTES
from .reading import Operation, Plan, plan
from .room import Room

#: elements of shapes, axes and widths: NumPy's arrays have at most 64 axes
LONGEST = 128
#: on the host if it depends on no Tensor
Known = Union[Tensor, np.ndarray, None]


class OnnxModel(Module):
    """The computation of an ONNX file; see ``from_onnx``."""

    def __init__(self, content: Plan, max_bytes: int) -> None:
        self._plan, self._max_bytes = content, max_bytes
        self._fixed = dict(content.constants)
        self._state_of_file: dict[str, Tensor] = {}
        for name, array in content.arrays.items():
            if array.dtype.kind != "f":
                self._fixed[name] = array
            else:
                kind = Buffer if name in content.buffers else Parameter
                self._state_of_file[name] = kind(array)
        self._bytes = sum(a.nbytes for a in (*content.arrays.values(), *content.constants.values()))

    def registered(self) -> Iterator[tuple[str, Any]]:
        yield from self._state_of_file.items()

    def forward(self, *inputs: Tensor) -> Any:
        """The outputs of the file, a tuple if there are several.

        Raises
        ------
        ValueError, TypeError
            For other inputs than the file asks for; ValueError, naming the node, for what its operators can't do, or
            what would take more than ``max_bytes``.
        CaptureError
            When captured, if shapes, axes or bounds depend on values of the inputs, instead of their shapes.
        """
        self._require_fitting(inputs)
        known: dict[str, Known] = {"": None, **self._fixed, **self._state_of_file}
        known |= {i.name: t for i, t in zip(self._plan.inputs, inputs, strict=True)}
        backend = next((t.backend for t in known.values() if isinstance(t, Tensor)), None)
        room = Room(self._max_bytes, self._bytes + sum(t._data.nbytes for t in inputs))
        for operation in self._plan.operations:
            try:
                made = _run(operation, [known[name] for name in operation.inputs], room)
            except CaptureError:
                raise
            except Exception as error:
                raise ValueError(f"{self.title()}: {operation.name}: {error}") from error
            known.update(zip(operation.outputs, made, strict=False))
            known[""] = None
            for name in operation.done:
                known.pop(name, None)
        outputs = tuple([_lifted(known[name], backend) for name in self._plan.outputs])
        return outputs if len(outputs) > 1 else outputs[0]

    def _require_fitting(self, inputs: tuple[Any, ...]) -> None:
        expected = self._plan.inputs
        if len(inputs) != len(expected):
            names = ", ".join(i.name for i in expected) or "none"
            raise TypeError(
                f"{self.title()}: expected {len(expected)} inputs ({names}), got {len(inputs)}"
            )
        for i, t in zip(expected, inputs, strict=True):
            if not isinstance(t, Tensor):
                raise TypeError(f"{self.title()}, argument {i.name}: {not_a_tensor(t)}")
            fits = i.shape is None or (
                len(i.shape) == t.ndim
                and all(n in (None, m) for n, m in zip(i.shape, t.shape, strict=True))
            )
            if not fits or t.dtype != i.dtype:
                raise ValueError(
                    f"{self.title()}: expected {i}, got shape {t.shape} and dtype {t.dtype}"
                )

    def extra_repr(self) -> str:
        names = ", ".join(i.name for i in self._plan.inputs)
        return f"{names} -> {', '.join(self._plan.outputs)}"


def _run(operation: Operation, values: list[Known], room: Room) -> tuple[Known, ...]:
    """What an operator makes of its inputs; on the host if all of them are there."""
    room.next_node()
    _require_types(operation, values)
    backend = next((t.backend for t in values if isinstance(t, Tensor)), None)
    taken = [
        _read(v, p.read) if p.read in ("Vector", "Scalar") else _lifted(v, backend or "numpy")
        for v, p in zip(values, operation.parameters, strict=True)
    ]
    function, settings = OPERATORS[operation.kind], operation.attributes
    if operation.takes_room:
        settings = settings | {"room": room}
    else:
        for t in taken:
            if isinstance(t, Tensor):
                room(t.shape, t.dtype)
    if backend:
        made = function(*taken, **settings)
        return made if isinstance(made, tuple) else (made,)
    with unheard(), no_grad():
        made = function(*taken, **settings)
        made = made if isinstance(made, tuple) else (made,)
        return tuple([m.numpy() if isinstance(m, Tensor) else m for m in made])


def _require_types(operation: Operation, values: list[Known]) -> None:
    """Raise ValueError unless the dtypes are what ONNX has for this version of the operator."""
    bound: dict[str, np.dtype] = {}
    for i, (p, v) in enumerate(zip(operation.parameters, values, strict=True)):
        if v is not None and (
            v.dtype not in p.dtypes or bound.setdefault(p.type, v.dtype) != v.dtype
        ):
            expected = bound[p.type] if p.type in bound else ", ".join(sorted(map(str, p.dtypes)))
            raise ValueError(f"expected input {i} of dtype {expected}, got {v.dtype}")


def _read(value: Known, kind: str) -> Any:
    """A number, or a short vector of integers, on the host."""
    if value is None:
        return None
    fits = value.size == 1 if kind == "Scalar" else value.ndim == 1 and value.size <= LONGEST
    if not fits:
        raise ValueError(f"expected a {kind.lower()}, got an array of shape {value.shape}")
    array = value.numpy() if isinstance(value, Tensor) else value
    return array.item() if kind == "Scalar" else tuple(array.tolist())


def _lifted(value: Known, backend: str | None) -> Any:
    """``value`` as a Tensor, a constant of the program if it was none."""
    return written_out(tensor(value, backend=backend)) if isinstance(value, np.ndarray) else value


def from_onnx(source: str | os.PathLike[str] | bytes, *, max_bytes: int = 2**30) -> OnnxModel:
    """A module from an ONNX file, made here or elsewhere: an MLP, a convolutional network, a classifier.

    Its floating initializers are parameters under their names in the file, except for running statistics, which are
    buffers; so it can be trained, captured, saved, and moved between backends like any other module. Batch norms are
    what the file says, whatever ``train()`` and ``eval()``: files are written for inference as a rule, with frozen
    statistics.

    Parameters
    ----------
    source : path or bytes
        A file, or its content. What it holds is not trusted: nothing in it is executed, and all of it is checked.
    max_bytes : int
        What one node may allocate, 1 GiB by default, and what all of them may in a run beyond a multiple of the
        inputs and weights. It is checked before; a product or a convolution counts by its multiplications too.

    Returns
    -------
    OnnxModel
        To be called with the inputs of the file, in order. Sizes that stand in the file are fixed.

    Raises
    ------
    ImportError
        If onnx is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        For what is no complete ONNX file, or one with anything that is not read, naming it: other operators than those
        that ``to_onnx`` writes and Elu, Flatten, Gelu, GlobalAveragePool, GroupNormalization, InstanceNormalization,
        LayerNormalization, LeakyRelu, ReduceMean, Shape, Softplus and Squeeze; versions other than 7 to 28; weights in
        other files; dtypes that NumPy does not have.

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
    if isinstance(source, bytes):
        content, title = source, "these bytes"
    else:
        path = Path(source)
        title = str(path)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"from_onnx: {title}: a file of more than 2 GiB is no ONNX file")
        content = path.read_bytes()
    try:
        return OnnxModel(plan(content), max_bytes)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"from_onnx: {title}: {error}") from error
