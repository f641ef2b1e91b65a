"""Programs: kernels that are called one after the other without Python in between.

A program is a table with a row for each kernel. ``words`` holds, in 64-bit integers, the kernel's address, whether it
has stopped the program, for how many threads its work is enough, and its arguments: addresses of arrays, sizes,
switches; ``numbers`` its arguments that are not whole. An instruction is a kernel that reads its row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from .threads import serial

#: columns of a row: whole arguments begin at the fourth
WORDS, NUMBERS = 32, 8
STOPPED, THREADS, FIRST = 1, 2, 3

# Instructions may run in threads, whose runtime a cached one would not find by itself.
numba.get_num_threads()

_row = types.void(types.int64, types.int64, types.int64)


def instruction(function: Callable[[Any, Any, Any], None]) -> Any:
    """A kernel ``function(words, numbers, together)``, of addresses of its row and whether threads may help.

    Its ``address`` is what a program calls.
    """
    options: Any = {"nopython": True, "cache": True, "error_model": "numpy"}
    return cfunc(_row, **options)(function)


@intrinsic  # type: ignore[misc,unused-ignore]
def _pointer(typing, address, like):
    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[0], kind)

    return types.CPointer(like)(types.int64, like), codegen


@intrinsic  # type: ignore[misc,unused-ignore]
def _call(typing, function, words, numbers, together):
    def codegen(context, builder, signature, arguments):
        function, *rest = arguments
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 3)
        builder.call(builder.inttoptr(function, kind.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@serial
def array(address, shape, like):
    """The C-contiguous array there."""
    return carray(_pointer(address, like), shape)


@serial
def run(words, numbers, where, bases, offsets, start, together):
    """Run rows from ``start`` on; the one that stopped, or -1.

    Before, word ``where[i]`` of the table becomes the address ``offsets[i, 1]`` bytes into array ``offsets[i, 0]``,
    which begin at ``bases``.
    """
    flat = words.reshape(-1)
    for i in range(len(where)):
        flat[where[i]] = bases[offsets[i, 0]] + offsets[i, 1]
    first, second = np.int64(words.ctypes.data), np.int64(numbers.ctypes.data)
    for i in range(start, len(words)):
        _call(words[i, 0], first + 8 * WORDS * i, second + 8 * NUMBERS * i, together)
        if words[i, STOPPED]:
            words[i, STOPPED] = 0
            return i
    return -1
