"""A launcher for machines without a GPU: kernels are compiled as C++ and run on the CPU, through ``shim.h``.

g++ compiles all instances of a kernel at its first launch; they are cached in a folder.
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
from sys import getrefcount

import numpy as np
from cuda import templates
from cuda.devices import Device, current
from cuda.tape import Tape

from minigrad.kernels.cuda import THREADS, NotRecorded, source

SHIM = Path(__file__).parent / "shim.h"
COMPILER = shutil.which("g++")
FLAGS = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-fno-gnu-unique"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
)
#: few, so that several blocks share small arrays too, and some blocks have nothing to do
MULTIPROCESSORS = 2


@cache
def folder():
    """The cache of compiled kernels."""
    found = Path(tempfile.gettempdir(), f"minigrad-emulated-{os.getuid()}")
    found.mkdir(exist_ok=True)
    return found


@cache
def version():
    return subprocess.run([COMPILER, "--version"], capture_output=True, check=True).stdout


def library(text):
    """A shared library of C++ code, compiled unless it is cached."""
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
    return ctypes.PyDLL(str(path))  # one call at a time: a library has one block's threads


def functions(text, instances):
    """Instances of kernels, for ``run``."""
    entries = [
        f'extern "C" const char* run{i}(const unsigned* grid, unsigned threads, void** arguments, int count, '
        f"int first, int step) {{ return launch(&{instance}, grid, threads, arguments, count, first, step); }}\n"
        for i, instance in enumerate(instances)
    ]
    compiled = library(text + "".join(entries))
    found = [compiled[f"run{i}"] for i in range(len(entries))]
    for function, instance in zip(found, instances, strict=True):
        function.__name__ = instance
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p] + [ctypes.c_int] * 3
    return found


def run(function, grid, args, order=(0, 1)):
    """Run all blocks of a grid; ``order`` as ``Emulator``'s."""
    values = [_value(a) for a in args]
    pointers = (ctypes.c_void_p * len(values))(*[v.ctypes.data for v in values])
    fault = function((ctypes.c_uint * 3)(*grid), THREADS, pointers, len(values), *order)
    if fault:
        raise RuntimeError(f"{function.__name__}: {fault.decode()}")


class Emulator:
    """Runs kernels on the CPU.

    Attributes
    ----------
    order : (int, int)
        Number of the first thread of a block, and the step to the next one, coprime to ``THREADS``.
    launched : list of (str, grid), or None
        Records instances and grids of the launches.
    """

    multiprocessors = MULTIPROCESSORS

    def __init__(self):
        self.order = 0, 1
        self.launched = None
        self._functions = {}

    @property
    def device(self):
        return current()

    def on(self, device):
        return Device(device)

    def __call__(self, kernel, parameters, grid, args):
        if kernel not in self._functions:
            every = templates.instances(kernel)
            names = [kernel.instance(p) for p in every]
            found = functions(source(kernel.file), names)
            self._functions[kernel] = dict(zip(every, found, strict=True))
        function = self._functions[kernel][parameters]
        grid = (*grid, 1, 1)[:3]
        if not all(
            0 < n <= limit for n, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=True)
        ):
            raise ValueError(f"{kernel.name}: no GPU has a grid of {grid}")
        if self.launched is not None:
            self.launched.append((kernel.instance(parameters), grid))
        if Tape.current is None:
            run(function, grid, args, self.order)
        else:
            Tape.current.steps.append(lambda: run(function, grid, args, self.order))

    def address(self, array):
        return array.hidden.ctypes.data

    def holders(self, array):
        memory = array.hidden if array.hidden.base is None else array.hidden.base
        return getrefcount(array) + getrefcount(memory)

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
    if not hidden.flags.c_contiguous:
        raise ValueError(f"a kernel takes arrays without gaps, got strides {hidden.strides}")
    return np.array(hidden.ctypes.data, np.int64)
