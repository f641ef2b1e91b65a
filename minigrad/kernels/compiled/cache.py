"""Where compiled kernels are kept on disk, and when they are valid.

Numba keeps a function beside its source, where uninstalling a package leaves it, and looks for changes in that file
only, while a kernel has the code of other files inlined. Here all kernels are in the user's cache folder, in a
subfolder whose name is a digest of all sources and versions that they are compiled from.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)

from .claims import claim, release

#: versions that are kept, those used last: the sources of several checkouts and environments
KEPT = 8


def root() -> Path | None:
    """``NUMBA_CACHE_DIR``, or minigrad's folder where the platform keeps caches; None for a user without a home."""
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined,unused-ignore]
        return Path(numba.config.CACHE_DIR, "minigrad")  # type: ignore[attr-defined,unused-ignore]
    home = {"win32": "~/AppData/Local", "darwin": "~/Library/Caches"}.get(sys.platform, "~/.cache")
    chosen = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if not os.path.isabs(chosen):
        chosen = os.path.expanduser(home)
    return Path(chosen, "minigrad") if os.path.isabs(chosen) else None


def digest() -> str:
    """A digest of what kernels are compiled from: the files here, the constants of ``threads``, the compilers."""
    here = Path(__file__).parent
    content = sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in [*sorted(here.glob("*.py")), here.parent / "threads.py"]:
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()[:16]


def folder() -> Path | None:
    """The folder of these sources; None where nothing can be kept: there is no home, or the sources are no files."""
    with suppress(OSError):
        top = root()
        return top and top / digest()
    return None


FOLDER = folder()


def clean(used: Path) -> None:
    """Note that a version's folder is used, and remove those that were not used for longest, but for a few."""
    with suppress(OSError):
        os.utime(used)
        found = sorted(used.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in found[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


class _Locator(_CacheLocator):  # type: ignore[misc,unused-ignore]
    def __init__(self, function: Any, file: str) -> None:
        self._line, self._py_file = function.__code__.co_firstlineno, file

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Locator:
        return cls(function, file)

    def get_cache_path(self) -> str:
        return str(FOLDER)

    def get_source_stamp(self) -> str:
        return Path(self.get_cache_path()).name

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Found(CompileResultCacheImpl):  # type: ignore[misc,unused-ignore]
    _locator_classes = [_Locator]  # noqa: RUF012


class Cache(FunctionCache):  # type: ignore[misc,unused-ignore]
    """Numba's cache of a function, with files of its own for each signature; what is missing is claimed.

    What cannot be read is compiled again, and what cannot be written is compiled in each process.
    """

    _impl_class = _Found

    def load_overload(self, signature: Any, target: Any) -> Any:
        target.refresh()
        found = self._load(signature, target)
        if found is None:
            claim(self._choose(signature, target.codegen()))
            found = self._load(signature, target)  # which another process has compiled meanwhile
            if found is not None:
                release()
        return found

    def _load(self, signature: Any, target: Any) -> Any:
        self._choose(signature, target.codegen())
        with suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            return super().load_overload(signature, target)

    def save_overload(self, signature: Any, compiled: Any) -> None:
        index = self._choose(signature, compiled.codegen)
        with suppress(OSError):
            index.unlink(missing_ok=True)  # which could not be read
            super().save_overload(signature, compiled)
        release()

    def _choose(self, signature: Any, codegen: Any) -> Path:
        """Choose the files for a signature and a processor; the path of their index."""
        key = sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:16]
        name = f"{self._impl.filename_base}.{key}"
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = IndexDataCacheFile(self._cache_path, name, stamp)
        return Path(self._cache_path, f"{name}.nbi")


if FOLDER:
    clean(FOLDER)
