"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can be neither removed nor renamed
    fcntl = None  # type: ignore[assignment]

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a name of its own, then rename it to ``path``, in place of one that is there.

    Whatever is raised, and whoever writes the same file at the same time, ``path`` is complete: as it was or as it is
    to be. It keeps its mode; where it is a symbolic link, the file that this leads to is written. A device or a pipe is
    written to as it is. What writers that were killed have left in the folder is removed.
    """
    try:
        _write_whole(path, content)
    except OSError as error:
        if error.errno is None:
            raise
        # A full disk names no file, other errors the temporary one.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_whole(path: Path, content: bytes) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    _remove_abandoned(path.parent)
    part, file = _open_part(path)
    try:
        with file:
            if mode is not None:
                os.chmod(part, stat.S_IMODE(mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(part, path)
        if fcntl is None:
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _open_part(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside ``path``, locked for as long as its writer lives."""
    while True:
        part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        file = open(part, "xb")  # noqa: SIM115
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks, where nothing is removed either
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:  # removed by another before it was locked
                file.close()
                continue
        return part, file


def _remove_abandoned(folder: Path) -> None:
    """Remove the files of ``_open_part`` that no living writer has locked."""
    with suppress(OSError):
        for entry in [e for e in os.scandir(folder) if _PART.fullmatch(e.name)]:
            with suppress(OSError):
                if fcntl is None:
                    os.unlink(entry.path)
                    continue
                with open(entry.path, "r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)
