"""Programs: kernels that are called one after the other without Python in between.

A program is a table with a row for each kernel. ``words`` holds, in 64-bit integers, the kernel's address, whether it
has stopped the program, and its arguments: addresses of arrays, sizes, switches; ``numbers`` its arguments that are not
whole. An instruction is a kernel that reads its row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from .threads import serial

#: columns of a row: whole arguments begin at the third
WORDS, NUMBERS = 32, 8
STOPPED, FIRST = 1, 2
#: bytes of an object before its own fields; an array's first is the address of its data (NumPy's C API: PyArrayObject),
#: which Python takes longer to tell than many a kernel runs
HEADER = object.__basicsize__

# Instructions may run in threads, whose runtime a cached one would not find by itself.
numba.get_num_threads()

OPTIONS: Any = {"nopython": True, "cache": True, "error_model": "numpy"}
_row = types.void(types.int64, types.int64)


class instruction:
    """A kernel ``function(words, numbers)``, of addresses of its row.

    It is compiled when its ``address``, which a program calls, is first asked for.
    """

    def __init__(self, function: Callable[[Any, Any], None]) -> None:
        self.function = function

    @cached_property
    def _compiled(self) -> Any:
        return cfunc(_row, **OPTIONS)(self.function)

    @property
    def address(self) -> int:
        found: int = self._compiled.address
        return found


@intrinsic  # type: ignore[misc,unused-ignore]
def _pointer(typing, address, like):
    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[0], kind)

    return types.CPointer(like)(types.int64, like), codegen


@intrinsic  # type: ignore[misc,unused-ignore]
def _call(typing, function, words, numbers):
    def codegen(context, builder, signature, arguments):
        function, *rest = arguments
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 2)
        builder.call(builder.inttoptr(function, kind.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen


@serial
def array(address, shape, like):
    """The C-contiguous array there."""
    return carray(_pointer(address, like), shape)


def _run(table, bases, start):
    """Run rows from ``start`` on; the one that stopped, or -1.

    ``table`` is the address of five numbers: those of the words and the numbers, how many rows there are, the address
    of fittings and how many those are. A fitting is three numbers: a word of the table, and that it becomes an address
    so many bytes into the so many-th of the arrays whose objects' addresses stand at ``bases``.
    """
    words, numbers, rows, fittings, count = array(table, (5,), np.int64(0))
    flat, fitted = (
        array(words, (rows * WORDS,), np.int64(0)),
        array(fittings, (count, 3), np.int64(0)),
    )
    origin = array(bases, (1,), np.int64(0))
    for i in range(count):
        data = array(origin[fitted[i, 1]] + HEADER, (1,), np.int64(0))[0]
        flat[fitted[i, 0]] = data + fitted[i, 2]
    for i in range(start, rows):
        row = i * WORDS
        _call(flat[row], words + 8 * row, numbers + 8 * NUMBERS * i)
        if flat[row + STOPPED]:
            flat[row + STOPPED] = 0
            return i
    return -1


#: called through ctypes, which takes a fifth of the time that Numba needs to look at arrays
run = cfunc(types.int64(types.int64, types.int64, types.int64), **OPTIONS)(_run).ctypes
