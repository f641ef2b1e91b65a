"""Checkpoints: named arrays in a safetensors file (no pickle), and atomic writing of files."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, where open files can't be removed
    fcntl = None  # type: ignore[assignment]

from .messages import explained, kind_of
from .tensor import Tensor


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write named NumPy arrays or Tensors to a safetensors file, with ``write_whole``.

    ``state`` is what ``Module.state_dict`` and ``Optimizer.state_dict`` return, or both merged under names of your own.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError, ValueError
        If a name is no string or ``__metadata__``, which is the format's own; if a value holds no numbers.
    OSError
        If the file cannot be written. Whatever is raised, one that existed is unchanged.

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
        says = f"save: expected save(path, state), got {kind_of(path)} and {kind_of(state)}"
        if isinstance(state, (str, os.PathLike)):
            says += "; the path comes first"
        if hasattr(path, "state_dict") or hasattr(state, "state_dict"):
            says += "; of a model or optimizer save its .state_dict()"
        raise TypeError(says)
    arrays = {}
    for name, value in state.items():
        array = value.numpy() if isinstance(value, Tensor) else value
        if not isinstance(name, str):
            raise TypeError(f"save: expected names to be strings, got {name!r}")
        if name == "__metadata__":
            raise ValueError("save: safetensors keeps the name '__metadata__' to itself")
        if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.kind not in "biuf":
            got = array.dtype if isinstance(array, np.ndarray) else kind_of(value)
            got = f"{got}; name its arrays one by one" if isinstance(value, Mapping) else got
            raise TypeError(
                f"save: expected {name!r} to be a Tensor or a NumPy array of numbers, got {got}"
            )
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    write_whole(Path(path), library.save(arrays))


@explained
def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file; ValueError names one that is damaged."""
    library = _safetensors()
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"load: expected a path, got {kind_of(path)}")
    content = Path(path).read_bytes()
    try:
        return library.load(content)
    except Exception as error:  # safetensors raises one type of its own for all that can be wrong
        raise ValueError(f"{Path(path)} is not a complete safetensors file: {error}") from error


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "checkpoints need safetensors: install it with pip install safetensors"
        ) from error
    return safetensors.numpy


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: a temporary file in the same folder is renamed to ``path``.

    On exceptions and with concurrent writers, ``path`` is complete: the old or the new content. Its mode is kept;
    symbolic links are followed; devices and pipes are written to directly. Temporary files of killed writers are
    removed.
    """
    try:
        mode = None
        with suppress(FileNotFoundError):
            mode = os.stat(path).st_mode
        if mode is not None and not stat.S_ISREG(mode):
            path.write_bytes(content)
            return
        target = Path(os.path.realpath(path))
        for left in target.parent.glob(f".*.{'[0-9a-f]' * 8}.part"):
            with suppress(OSError), open(left, "r+b") as abandoned:
                _lock(abandoned, wait=False)
                left.unlink()
        part, file = _new_part(target)
        try:
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                if mode is not None:
                    part.chmod(stat.S_IMODE(mode))
                if fcntl is not None:
                    os.replace(part, target)
            if fcntl is None:  # Windows renames no open file
                os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        # A full disk names no file, other errors the temporary one.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _new_part(target: Path) -> tuple[Path, BinaryIO]:
    """A temporary file in the folder of ``target``, locked while its writer lives."""
    while True:
        part = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
        file = open(part, "xb")  # noqa: SIM115
        with suppress(OSError):  # a file system without locks, where nothing is removed either
            _lock(file, wait=True)
        if fcntl is None or os.fstat(file.fileno()).st_nlink:
            return part, file
        file.close()  # another writer has removed it before it was locked


def _lock(file: BinaryIO, wait: bool) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
