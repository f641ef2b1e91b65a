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
from .operators import OPERATORS
from .protobuf import MOST_BYTES
from .reading import Operation, Plan, plan
from .schema import schema

#: on the host if it depends on no Tensor
Known = Union[Tensor, np.ndarray, None]


class OnnxModel(Module):
    """The computation of an ONNX file; see ``from_onnx``."""

    def __init__(self, content: Plan) -> None:
        self._plan = content
        self._fixed: dict[str, np.ndarray] = {}
        self._state_of_file: dict[str, Tensor] = {}
        for name, array in content.arrays.items():
            if array.dtype.kind != "f":
                self._fixed[name] = array
            else:
                kind = Buffer if name in content.buffers else Parameter
                self._state_of_file[name] = kind(array)

    def registered(self) -> Iterator[tuple[str, Any]]:
        yield from vars(self).items()
        yield from self._state_of_file.items()

    def forward(self, *inputs: Tensor) -> Any:
        """The outputs of the file, a tuple if there are several.

        Raises
        ------
        ValueError, TypeError
            For other inputs than the file asks for; ValueError, naming the node, for what its operators can't do.
        """
        self._require_fitting(inputs)
        known: dict[str, Known] = {"": None, **self._fixed, **self._state_of_file}
        known |= {i.name: t for i, t in zip(self._plan.inputs, inputs, strict=True)}
        backend = next((t.backend for t in known.values() if isinstance(t, Tensor)), None)
        for operation in self._plan.operations:
            try:
                made = _run(operation, [known[name] for name in operation.inputs])
            except (ValueError, TypeError, IndexError, OverflowError) as error:
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


def _run(operation: Operation, values: list[Known]) -> tuple[Known, ...]:
    """What an operator makes of its inputs; on the host if all of them are there."""
    function = OPERATORS[operation.kind]
    static = schema(function).static
    for i in static & set(range(len(values))):
        value = values[i]
        values[i] = value.numpy() if isinstance(value, Tensor) else value
    tensors = [t for t in values if isinstance(t, Tensor)]
    if tensors:
        backend = tensors[0].backend
        values = [v if i in static else _lifted(v, backend) for i, v in enumerate(values)]
        made = function(*values, **operation.attributes)
        return made if isinstance(made, tuple) else (made,)
    with unheard(), no_grad():
        values = [v if i in static else _lifted(v, "numpy") for i, v in enumerate(values)]
        made = function(*values, **operation.attributes)
        made = made if isinstance(made, tuple) else (made,)
        return tuple([m.numpy() if isinstance(m, Tensor) else m for m in made])


def _lifted(value: Known, backend: str | None) -> Any:
    """``value`` as a Tensor, a constant of the program if it was none."""
    return written_out(tensor(value, backend=backend)) if isinstance(value, np.ndarray) else value


def from_onnx(source: str | os.PathLike[str] | bytes) -> OnnxModel:
    """A module from an ONNX file, made here or elsewhere.

    Its floating initializers are parameters under their names in the file, except for running statistics, which are
    buffers; so it can be trained, captured, saved, and moved between backends like any other module. Batch norms are
    what the file says, whatever ``train()`` and ``eval()``: files are written for inference as a rule, with frozen
    statistics.

    Parameters
    ----------
    source : path or bytes
        A file, or its content. What it holds is not trusted: nothing in it is executed, and all of it is checked.

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
        For what is no complete ONNX file, or one with anything that is not read, naming it: operators of other domains
        or unknown ones, versions other than 7 to 28, control flow, weights in other files, dtypes that NumPy does not
        have.

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
        return OnnxModel(plan(content))
    except ValueError as error:
        raise ValueError(f"from_onnx: {title}: {error}") from error
