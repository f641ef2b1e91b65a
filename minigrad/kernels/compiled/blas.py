"""NumPy's own BLAS, called from the threads that run the other loops.

Two sets of threads on the same cores, BLAS's and ours, wait for each other in loops and take each other's time: a step
took ten times as long. So the product is cut into parts, and each of our threads calls BLAS, which is told to run on
one thread meanwhile. With another BLAS than the OpenBLAS of NumPy's wheels, NumPy multiplies.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from .. import pool
from ..openblas import OneThread, library
from ..threads import get_num_threads
from .threads import ENOUGH, MOST, Threaded

#: multiplications below which NumPy's call is the fastest: the library has no use for threads there
FEW = 2**14


@intrinsic  # type: ignore[misc,unused-ignore]
def _gemm(typing, address, ta, tb, m, n, k, a, lda, b, ldb, c, ldc, like):
    """``cblas_gemm`` at ``address``, row-major, c = a b; a, b, c are addresses of numbers ``like`` this one."""
    integer, flag = types.int64, types.int32
    takes = types.intp, flag, flag, *9 * (integer,), like

    def codegen(context, builder, signature, args):
        address, ta, tb, m, n, k, a, lda, b, ldb, c, ldc, _ = args
        i32, i64 = ir.IntType(32), ir.IntType(64)
        number = context.get_value_type(like)
        arguments = [i32, i32, i32, i64, i64, i64, number, i64, i64, i64, i64, number, i64, i64]
        function = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), arguments).as_pointer())
        one, zero = ir.Constant(number, 1.0), ir.Constant(number, 0.0)
        row_major = ir.Constant(i32, 101)
        builder.call(function, [row_major, ta, tb, m, n, k, one, a, lda, b, ldb, zero, c, ldc])
        return context.get_dummy_value()

    return types.void(*takes), codegen


@Threaded
def _product(address, a, ta, b, tb, parts, c):
    """c = a b, either transposed; the longer side of c is cut into parts."""
    m, n = c.shape
    k = a.shape[0] if ta else a.shape[1]
    lda, ldb = a.shape[1], b.shape[1]
    flag_a, flag_b = np.int32(112 if ta else 111), np.int32(112 if tb else 111)
    by_rows = m >= n
    size = -(-max(m, n) // parts)
    size = -(-size // 16) * 16
    for t in prange(parts):
        start = t * size
        count = min(size, max(m, n) - start)
        if count > 0:
            if by_rows:
                own_a = a[:, start:] if ta else a[start:]
                _gemm(
                    address, flag_a, flag_b, count, n, k,
                    own_a.ctypes.data, lda, b.ctypes.data, ldb, c[start:].ctypes.data, n, c[0, 0],
                )  # fmt: skip
            else:
                own_b = b[start:] if tb else b[:, start:]
                _gemm(
                    address, flag_a, flag_b, m, count, k,
                    a.ctypes.data, lda, own_b.ctypes.data, ldb, c[:, start:].ctypes.data, n, c[0, 0],
                )  # fmt: skip


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """a @ b for matrices, either of which may lie transposed in memory; into ``out``, which is C-contiguous."""
    (m, k), n = a.shape, b.shape[1]
    found = library()
    if found is None or m * n * k < FEW or a.dtype != b.dtype or a.dtype.char not in "fd":
        return np.matmul(a, b, out=out)
    if out is None:
        out = pool.empty((m, n), a.dtype)
    (a, ta), (b, tb) = _as_it_lies(a), _as_it_lies(b)
    address = found.sgemm if a.dtype.char == "f" else found.dgemm
    # a multiplication takes a fraction of what a number takes elsewhere
    work = m * n * k // 64
    parts = min(get_num_threads(), MOST) if work >= ENOUGH else 1
    with one_thread():
        _product(work, address, a, ta, b, tb, parts, out)
    return out


@cache
def one_thread() -> OneThread:
    found = library()
    assert found is not None
    return OneThread(found)


def _as_it_lies(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """The matrix or its transpose, whichever is C-contiguous, and whether it is the transpose."""
    if x.flags.carray:
        return x, False
    if x.T.flags.carray:
        return x.T, True
    return x.copy(order="C"), False
