"""CUDA kernels: templates in ``.cu`` files, and beside each a Python file that knows how to launch them.

A kernel is compiled when it is first needed, for the types that it is needed for. The sources are plain CUDA C++ with
no header but their own, so that NVRTC compiles them without a toolkit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..generic import Kernels
from .faults import Faults

#: threads of a block, as in common.cuh
THREADS = 256
#: no contraction of products and sums but where the sources say fma; a warning is an error in the tests
OPTIONS = ("-std=c++17", "-fmad=false")
#: what the sources call the types
TYPES = {"float32": "float", "float64": "double", "float16": "Half", "bfloat16": "BFloat16"}
#: bytes of one access
WIDTH = 16
#: blocks per multiprocessor that keep memory busy
BUSY = 8

Parameter = str | int


@dataclass(frozen=True)
class Kernel:
    """A kernel template, and the file here that it is in."""

    file: str
    name: str

    def instance(self, parameters: tuple[Parameter, ...]) -> str:
        """What C++ calls the kernel for these template parameters."""
        return f"{self.name}<{', '.join(map(str, parameters))}>"


class NotRecorded(Exception):
    """What was to be recorded cannot be."""


class Launcher(Protocol):
    """Who runs kernels: CuPy, or whoever stands in for it."""

    @property
    def multiprocessors(self) -> int:
        """Of the device."""

    @property
    def device(self) -> int:
        """The number of the current device."""

    def on(self, device: int) -> AbstractContextManager[Any]:
        """A context in which a device is the current one."""

    def __call__(
        self,
        kernel: Kernel,
        parameters: tuple[Parameter, ...],
        grid: tuple[int, ...],
        args: tuple[Any, ...],
    ) -> None:
        """Run a grid of blocks of ``THREADS`` threads.

        Whole numbers are ``Index``, floats ``double``, arrays pointers to their first element (0 is none), and NumPy
        arrays with one element of a structured dtype structs.
        """

    def address(self, array: Any) -> int:
        """Of an array's first element."""

    def holders(self, array: Any) -> int:
        """A count that is higher for each who holds an array or other arrays of its memory."""

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """What ``work`` returns, and a function that does again on the device what it did; now nothing is done.

        Raises
        ------
        NotRecorded
            If it waits for the device, or asks it for values.
        """

    def shared(self, words: int) -> tuple[np.ndarray, int]:
        """Whole numbers, all 0, in memory that the host and kernels see; and where that is for kernels."""


@cache
def source(file: str) -> str:
    """A source file here, with those that it includes in place of their ``#include`` lines."""
    text = (Path(__file__).parent / file).read_text()
    lines = [
        source(line.split('"')[1]) if line.startswith('#include "') else line
        for line in text.splitlines()
    ]
    return "\n".join(lines) + "\n"


def wide(dtype: np.dtype) -> np.dtype:
    """What values of a dtype are computed in."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def lying(strides: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array in the order in which they lie in memory."""
    return tuple(sorted(range(len(strides)), key=lambda i: (-abs(strides[i]), i)))


def put_back(array: Any, order: tuple[int, ...]) -> Any:
    """An array whose axes are in this order as they were before; no view, where nothing moves: it would own nothing."""
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return array if back == order == tuple(range(len(order))) else array.transpose(back)


class LaunchedKernels(Kernels):
    """What the kernel sets here share: each is a part of ``CupyKernels``."""

    launch: Launcher
    faults: Faults

    def given(self, array: Any) -> Any:
        """An array as a kernel takes it, without gaps; for None the pointer that is none."""
        if array is None:
            return 0
        # NumPy's function would add an axis where there is none.
        return array if array.flags.c_contiguous else self.xp.ascontiguousarray(array)

    def vector(self, count: int, *arrays: Any) -> int:
        """How many numbers can be read at once of arrays that are runs of ``count``: 16 bytes of them, or one."""
        most = WIDTH // arrays[0].itemsize
        aligned = all(self.launch.address(a) % WIDTH == 0 for a in arrays)
        return most if count % most == 0 and aligned else 1

    def blocks(self, accesses: int, share: int = 1) -> int:
        """Enough blocks for so many accesses, and for a ``share`` of them to keep the device busy."""
        return min(-(-accesses // THREADS), -(-self.launch.multiprocessors * BUSY // share))

    def each(
        self, kernel: Kernel, parameters: tuple[Parameter, ...], n: int, vector: int, *args: Any
    ) -> None:
        """Launch a kernel that goes through n numbers, ``vector`` at a time."""
        if n:
            self.launch(kernel, parameters, (self.blocks(-(-n // vector)),), args)
