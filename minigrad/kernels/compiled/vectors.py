"""Loops written in vector registers, for Numba functions to call: what its own loops cannot say.

LLVM makes vectors of most loops by itself. A matrix product is the exception: it is fast when a tile of the result
stays in registers while its factors stream by, so here registers are named. Arrays come in as addresses, places in
them as numbers (not bytes) from there.
"""

from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .launch import inner

_features = binding.get_host_cpu_features()
_AVX, _AVX512 = _features.get("avx", False), _features.get("avx512f", False)

#: bytes in a vector register, and how many registers there are
WIDTH = 64 if _AVX512 else 32 if _AVX else 16
REGISTERS = 16 if _features.get("sse2", False) and not _AVX512 else 32
_i32, _i64 = ir.IntType(32), ir.IntType(64)


def whole(n: int) -> ir.Constant:
    return ir.Constant(_i64, n)


@inner
def address(x):
    return np.int64(x.ctypes.data)  # unsigned beside signed numbers would become floating


class Vectors:
    """Instructions on vectors of numbers like ``number``, appended where ``builder`` stands."""

    def __init__(self, context, builder, number) -> None:
        self.builder = builder
        self.number = context.get_value_type(number)
        self.size = number.bitwidth // 8
        self.lanes = WIDTH // self.size
        self.type = ir.VectorType(self.number, self.lanes)

    def place(self, address, offset):
        """The address ``offset`` numbers, an int or a value, further on."""
        value = whole(offset) if isinstance(offset, int) else offset
        return self.builder.add(address, self.builder.mul(value, whole(self.size)))

    def clamped(self, index: int, count):
        """``index``, or the last of ``count`` where that is less: what does not count is the last again."""
        last = self.builder.sub(count, whole(1))
        smaller = self.builder.icmp_signed("<", whole(index), last)
        return self.builder.select(smaller, whole(index), last)

    def load(self, address):
        return self.builder.load(self._pointer(address, self.type), align=self.size)

    def store(self, vector, address) -> None:
        self.builder.store(vector, self._pointer(address, self.type), align=self.size)

    def prefetch(self, address) -> None:
        """Fetch the line there into the first cache, to be written."""
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _i32, _i32, _i32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        place = self._pointer(address, ir.IntType(8))
        self.builder.call(function, [place, *(ir.Constant(_i32, n) for n in (1, 3, 1))])

    def broadcast(self, address):
        """The number there in all lanes."""
        number = self.builder.load(self._pointer(address, self.number), align=self.size)
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.Constant(_i32, 0))
        return self._shuffle(first, nothing, [0] * self.lanes)

    def multiply_add(self, a, b, c):
        """a b + c, one instruction where there is one."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])

    def transpose(self, rows: list) -> list:
        """As many vectors as there are lanes, transposed: blocks of 1, 2, 4... lanes change places between pairs."""
        step = 1
        while step < self.lanes:
            lanes = range(self.lanes)
            low = [j if not j & step else j - step + self.lanes for j in lanes]
            high = [j + step if not j & step else j + self.lanes for j in lanes]
            rows = [
                self._shuffle(rows[i], rows[i + step], low)
                if not i & step
                else self._shuffle(rows[i - step], rows[i], high)
                for i in lanes
            ]
            step *= 2
        return rows

    def loop(self, count, step: int, values: list, body) -> list:
        """``values = body(k, values)`` for k = 0, step... while it is less than ``count``, at least once."""
        builder, before = self.builder, self.builder.block
        inside, behind = (builder.append_basic_block(name) for name in ("inside", "behind"))
        builder.branch(inside)
        builder.position_at_end(inside)
        first = [whole(0), *values]
        carried = [builder.phi(value.type) for value in first]
        last = [builder.add(carried[0], whole(step)), *body(carried[0], carried[1:])]
        for phi, old, new in zip(carried, first, last, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, inside)
        builder.cbranch(builder.icmp_signed("<", last[0], count), inside, behind)
        builder.position_at_end(behind)
        return last[1:]

    def load_if(self, condition, addresses: list) -> list:
        """What stands at the addresses if the condition holds, else zeros."""
        builder = self.builder
        with builder.if_else(condition) as (there, otherwise):
            with there:
                found, at_found = [self.load(a) for a in addresses], builder.block
            with otherwise:
                at_zeros = builder.block
        chosen = [builder.phi(self.type) for _ in addresses]
        for phi, value in zip(chosen, found, strict=True):
            phi.add_incoming(value, at_found)
            phi.add_incoming(ir.Constant(self.type, [0.0] * self.lanes), at_zeros)
        return chosen

    def _pointer(self, address, kind):
        return self.builder.inttoptr(address, kind.as_pointer())

    def _shuffle(self, a, b, lanes: list[int]):
        return self.builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(_i32, len(lanes)), lanes)
        )


@intrinsic  # type: ignore[misc,unused-ignore]
def transpose_square(typing, source, source_wide, target, target_wide, like):
    """As many rows as a vector has lanes, and as many columns, from rows ``wide`` numbers apart to others."""

    def codegen(context, builder, signature, arguments):
        source, source_wide, target, target_wide, _ = arguments
        v = Vectors(context, builder, like)

        def rows(address, wide):
            return [v.place(address, builder.mul(whole(i), wide)) for i in range(v.lanes)]

        found = v.transpose([v.load(row) for row in rows(source, source_wide)])
        for value, row in zip(found, rows(target, target_wide), strict=True):
            v.store(value, row)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, like), codegen
