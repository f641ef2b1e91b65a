"""Checkpoints: named arrays in a safetensors file (no pickle), written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_whole
from .messages import kind_of
from .tensor import Tensor


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write named arrays to a safetensors file.

    The file appears under its name only when it is complete: it is written under another and renamed.

    Parameters
    ----------
    path : path
    state : mapping of names to NumPy arrays or Tensors
        What ``Module.state_dict`` and ``Optimizer.state_dict`` give, or both merged under names of your own.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError
        If a name is no string, or a value neither a NumPy array of numbers nor a Tensor.
    ValueError
        For the name ``__metadata__``, which is the format's own.
    OSError
        If the file cannot be written. Whatever is raised, one that was there is as it was.

    Examples
    --------
    >>> import minigrad as mg, tempfile
    >>> layer = mg.nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.save(f"{folder}/layer.safetensors", layer.state_dict())
    ...     found = layer.load_state_dict(mg.load(f"{folder}/layer.safetensors"))
    """
    library = _safetensors()
    if not isinstance(path, (str, os.PathLike)) or not isinstance(state, Mapping):
        raise TypeError(_swapped(path, state))
    arrays = {}
    for name, value in state.items():
        array = value.numpy() if isinstance(value, Tensor) else value
        if not isinstance(name, str):
            raise TypeError(f"save: expected names to be strings, got {name!r}")
        if name == "__metadata__":
            raise ValueError("save: safetensors keeps the name '__metadata__' to itself")
        if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.kind not in "biuf":
            got = getattr(array, "dtype", None) if isinstance(array, np.ndarray) else kind_of(value)
            raise TypeError(
                f"save: expected {name!r} to be a Tensor or a NumPy array of numbers, got {got}"
            )
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    write_whole(Path(path), library.save(arrays))


def _swapped(path: Any, state: Any) -> str:
    """What to say of arguments of ``save`` that are not a path and a mapping."""
    says = f"save: expected save(path, state), got {kind_of(path)} and {kind_of(state)}"
    if isinstance(state, (str, os.PathLike)):
        says += "; the path comes first"
    if any(hasattr(value, "state_dict") for value in (path, state)):
        says += "; of a model or optimizer save its .state_dict()"
    return says


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or a damaged one.
    """
    library = _safetensors()
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"load: expected a path, got {kind_of(path)}")
    path = Path(path)
    content = path.read_bytes()
    try:
        return library.load(content)
    except Exception as error:  # safetensors raises one type of its own for all that can be wrong
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            'checkpoints need safetensors: install it with pip install "minigrad[checkpoints]"'
        ) from error
    return safetensors.numpy
