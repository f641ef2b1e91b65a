"""The OpenBLAS in NumPy's wheels: where its products are, and how many threads it may use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Library(NamedTuple):
    """Addresses of the products in float32 and float64, threads, and the family of processors it took this one for."""

    sgemm: int
    dgemm: int
    set_threads: Callable[[int], None]
    get_threads: Callable[[], int]
    family: str


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
