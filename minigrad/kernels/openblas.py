"""The OpenBLAS in NumPy's wheels: where its products are, and how many threads it may use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np


class Library(NamedTuple):
    """Addresses of the products in float32 and float64, threads, and the family of processors it took this one for."""

    sgemm: int
    dgemm: int
    set_threads: Callable[[int], None]
    get_threads: Callable[[], int]
    family: str


class OneThread:
    """While it is entered, by however many Python threads, the library uses one thread; then as many as before."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        self.lock, self.inside, self.before = Lock(), 0, self.library.get_threads()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = self.library.get_threads()
                self.library.set_threads(1)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.library.set_threads(self.before)


@cache
def library() -> Library | None:
    """What NumPy brought along, if it is OpenBLAS with integers of 64 bits."""
    package = Path(np.__file__).parent
    folders = package.parent / "numpy.libs", package / ".dylibs"
    for path in (found for folder in folders for found in folder.glob("*openblas64_*")):
        try:
            return _open(ctypes.CDLL(str(path)))
        except (AttributeError, OSError):
            continue
    return None


def _open(blas: ctypes.CDLL) -> Library:
    single, double = (
        ctypes.cast(function, ctypes.c_void_p).value or 0
        for function in (blas.scipy_cblas_sgemm64_, blas.scipy_cblas_dgemm64_)
    )
    set_threads = blas.scipy_openblas_set_num_threads64_
    set_threads.argtypes, set_threads.restype = [ctypes.c_int], None
    get_threads = blas.scipy_openblas_get_num_threads64_
    get_threads.argtypes, get_threads.restype = [], ctypes.c_int
    family = blas.scipy_openblas_get_corename64_
    family.restype = ctypes.c_char_p
    return Library(single, double, set_threads, get_threads, family().decode())
