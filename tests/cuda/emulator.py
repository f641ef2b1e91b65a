"""A launcher for machines without a GPU: kernels compiled as C++ and run on the CPU, through ``shim.h``.

Each instance of a kernel is compiled by g++ when it is first launched, and kept in a folder for later runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from cuda.tape import Tape

from minigrad.kernels.cuda import THREADS, NotRecorded, source

SHIM = Path(__file__).parent / "shim.h"
COMPILER = shutil.which("g++")
FLAGS = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
)
#: few, so that small arrays too are shared by several blocks, and blocks are often left with nothing
MULTIPROCESSORS = 2


@cache
def folder():
    """Where compiled kernels are kept."""
    found = Path(tempfile.gettempdir(), f"minigrad-emulated-{os.getuid()}")
    found.mkdir(exist_ok=True)
    return found


@cache
def version():
    return subprocess.run([COMPILER, "--version"], capture_output=True, check=True).stdout


def library(text):
    """A shared library of C++ code, compiled unless it was before."""
    key = b"\0".join([text.encode(), SHIM.read_bytes(), version(), " ".join(FLAGS).encode()])
    path = folder() / f"{hashlib.sha256(key).hexdigest()[:32]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder()) as work:
            code, made = Path(work, "kernel.cpp"), Path(work, "kernel.so")
            code.write_text(text)
            done = subprocess.run(
                [COMPILER, *FLAGS, "-include", SHIM, code, "-o", made],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"{done.stderr}\n{text}")
            made.rename(path)
    return ctypes.CDLL(str(path))


class Emulator:
    """Runs kernels on the CPU.

    Attributes
    ----------
    order : (int, int)
        The first thread of a block that runs, and how many further on the next one is: prime to ``THREADS``.
    launched : list of (str, grid), or None
        Where to note what is run.
    """

    multiprocessors = MULTIPROCESSORS

    def __init__(self):
        self.order = 0, 1
        self.launched = None
        self._functions = {}
        self._turn = Lock()  # there is one device

    @property
    def device(self):
        from strict import current  # whose backend is made of this

        return current()

    def __call__(self, kernel, parameters, grid, args):
        function = self._functions.get((kernel, parameters))
        if function is None:
            function = self._functions[kernel, parameters] = self._compiled(kernel, parameters)
        grid = (*grid, 1, 1)[:3]
        if not all(
            0 < n <= limit for n, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=True)
        ):
            raise ValueError(f"{kernel.name}: no GPU has a grid of {grid}")
        if self.launched is not None:
            self.launched.append((kernel.instance(parameters), grid))
        if Tape.current is not None:
            Tape.current.steps.append(lambda: self._run(kernel, parameters, function, grid, args))
        else:
            self._run(kernel, parameters, function, grid, args)

    def _run(self, kernel, parameters, function, grid, args):
        values = [_value(a) for a in args]
        pointers = (ctypes.c_void_p * len(values))(*[v.ctypes.data for v in values])
        with self._turn:
            fault = function(
                (ctypes.c_uint * 3)(*grid), THREADS, pointers, len(values), *self.order
            )
        if fault:
            raise RuntimeError(f"{kernel.instance(parameters)}: {fault.decode()}")

    def address(self, array):
        _require_dense(array.hidden)
        return array.hidden.ctypes.data

    def record(self, work):
        try:
            with Tape() as tape:
                result = work()
        except ValueError:
            raise
        except Exception as error:
            raise NotRecorded(str(error)) from error
        return result, tape.replay

    def shared(self, words):
        numbers = np.zeros(words, np.int64)
        return numbers, numbers.ctypes.data

    def _compiled(self, kernel, parameters):
        entry = (
            'extern "C" const char* run(const unsigned* grid, unsigned threads, void** arguments, int count, '
            f"int first, int step) {{ return launch(&{kernel.instance(parameters)}, grid, threads, arguments, "
            "count, first, step); }\n"
        )
        function = library(source(kernel.file) + entry).run
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p] + [ctypes.c_int] * 3
        return function


def _value(argument):
    """An argument as a NumPy array that holds it, as CuPy would pass it."""
    if isinstance(argument, np.ndarray) and argument.dtype.fields and argument.size == 1:
        return argument
    if isinstance(argument, (bool, int)):
        return np.array(argument, np.int64)
    if isinstance(argument, float):
        return np.array(argument, np.float64)
    if isinstance(argument, np.generic):
        return np.array(argument)
    hidden = argument.hidden
    _require_dense(hidden)
    return np.array(hidden.ctypes.data, np.int64)


def _require_dense(array):
    if not array.flags.c_contiguous:
        raise ValueError(f"a kernel takes arrays without gaps, got strides {array.strides}")
