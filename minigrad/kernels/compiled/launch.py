"""How kernels are compiled, launched, and shared between threads.

A kernel is compiled once for all numbers of threads. It cuts its work into parts by the shape of its arrays, and
``share`` computes the parts: on several threads if that is worth waking them, else one after the other. A part is
computed in the same way wherever it is, so results are the same to the last bit for any number of threads.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, event
from numba.extending import intrinsic

from ..threads import AVAILABLE, BUSY, ENOUGH, PAUSED, TEAM, WANTED
from .cache import FOLDER, Cache
from .inlining import Inner

#: "a b + c" may be one instruction. Nothing may be reassociated: a sum of x - shift would lose what the shift saved.
FASTMATH = {"contract", "nsz"}
#: how often a thread looks for new work before it sleeps, about 0.1 ms; OpenMP's own default is milliseconds, which
#: beside a busy process are lost in every kernel
SPINS = 20_000
#: ticks of the processor's clock that a launch takes at most where every thread has a core, and those for each number:
#: a thread that waits for its core does so for milliseconds
SLOW, SLOW_NUMBER = 2**21, 16
#: ticks, about 0.1 s, for which work is not shared when a thread had to wait
PAUSE = 2**28
_HAS_CLOCK = platform.machine().lower() in ("x86_64", "amd64")


def _load_openmp() -> str:
    """Load OpenMP, whose setting is read then, unless the environment or another library has decided; how it waits."""
    if given := {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return f"wait as {' and '.join(sorted(given))} says"
    with suppress(OSError), open("/proc/self/maps") as maps:
        if "libgomp" in maps.read():
            return "spin for long: another library loaded OpenMP before minigrad's first kernel"
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    try:
        import_module("numba.np.ufunc.omppool")
    except ImportError:
        return "wait as Numba's threading layer does"
    finally:
        del os.environ["GOMP_SPINCOUNT"]
    return "spin briefly"


#: the name by which compiled code finds TEAM
_TEAM = "minigrad_team"
binding.add_symbol(_TEAM, TEAM.ctypes.data)
#: how threads wait for work, in words
WAITING = _load_openmp()
TEAM[AVAILABLE] = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined,unused-ignore]
numba.get_num_threads()  # starts the threads, and registers the symbol that share calls


class _Notice(event.Listener):
    """Say once in a process that kernels are compiled; what is in Numba's cache makes no such event."""

    def on_start(self, compilation: Any) -> None:
        pass

    def on_end(self, compilation: Any) -> None:
        if compilation.data["dispatcher"].__module__.startswith(__package__):
            event.unregister("numba:compile", self)
            print(
                "minigrad: compiling its kernels, some seconds, once on this machine",
                file=sys.stderr,
            )


event.register("numba:compile", _Notice())


def _compiled(function: Callable[..., Any], fastmath: set[str] = FASTMATH, **options: Any) -> Any:
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    settings["no_cfunc_wrapper"] = True  # what C code would call, and would be compiled as well
    return numba.njit(fastmath=fastmath, **settings | options)(function)


#: settings of functions that have no wrapper for Python and no place in the cache: what calls them has their code
_INNER: Any = {"no_cpython_wrapper": True, "pipeline_class": Inner}


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that compiled functions call."""
    return _compiled(function, **_INNER)


def summing(function: Callable[..., Any]) -> Any:
    """Compile the same, where sums may be taken in the order that suits vector lanes."""
    return _compiled(function, FASTMATH | {"reassoc"}, **_INNER)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function for Python to call, and keep it on disk."""
    compiled = _compiled(function)
    if FOLDER:
        compiled._cache = Cache(function)
    return compiled


def entry(kernel: Any, *args: Any) -> Any:
    """The compiled function that the dispatcher chooses: to look at arguments takes as long as a small kernel."""
    return kernel.compile(tuple(map(numba.typeof, args)))


@intrinsic  # type: ignore[misc,unused-ignore]
def setting(typing, place):
    """The number at a place of TEAM."""

    def codegen(context, builder, signature, arguments):
        return builder.load(_setting(builder, *arguments))

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[misc,unused-ignore]
def share(typing, work, count, part, args):
    """``part(i, *args)`` for each i below ``count``, on several threads if there are ``work`` numbers to compute.

    The threads work for one caller at a time; others that come meanwhile compute all their parts themselves.
    """
    inner = part.get_call_type(typing, (types.int64, *args.types), {})

    def codegen(context, builder, signature, arguments):
        work, count, _, values = arguments
        function = _range(context, builder, part, inner, values.type)
        data = cgutils.alloca_once(builder, ir.LiteralStructType([values.type, _i8]))
        failed = cgutils.gep_inbounds(builder, data, 0, 1)
        builder.store(values, cgutils.gep_inbounds(builder, data, 0, 0))
        builder.store(_i8(0), failed)
        first = cgutils.alloca_once_value(builder, ir.Constant(_pointer, None))
        parts, step = (cgutils.alloca_once_value(builder, n) for n in (count, _i64(1)))
        given = first, parts, step, builder.bitcast(data, _pointer)
        threads, busy = _take_team(builder, work, count)
        with builder.if_else(builder.icmp_signed(">", threads, _i64(1))) as (together, alone):
            with together:
                start = cgutils.get_or_insert_function(
                    builder.module, _PARALLEL_FOR, "numba_parallel_for"
                )
                sizes = _i64(0), _i64(1), builder.trunc(threads, ir.IntType(32))
                began = _ticks(builder)
                builder.call(start, [builder.bitcast(function, _pointer), *given, *sizes])
                builder.store_atomic(_i64(0), busy, "release", 8)
                _pause_if_slow(builder, work, began)
            with alone:
                builder.call(function, given)
        with builder.if_then(cgutils.is_true(builder, builder.load(failed))):
            context.call_conv.return_user_exc(builder, MemoryError, ("a compiled kernel",))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, part, args), codegen


_i8, _i64 = ir.IntType(8), ir.IntType(64)
_pointer = _i8.as_pointer()
#: a function that a thread calls for its range: the first part as a pointer, how many, the step from one to the next
_RANGE = ir.FunctionType(
    ir.VoidType(), [_pointer.as_pointer(), _i64.as_pointer(), _i64.as_pointer(), _pointer]
)
#: Numba's function, ``parallel_for`` of its threading layers: a function and what it takes, axes, pointers, threads
_PARALLEL_FOR = ir.FunctionType(ir.VoidType(), [_pointer, *_RANGE.args, _i64, _i64, ir.IntType(32)])


def _setting(builder, place):
    """Where a number of TEAM is."""
    found = builder.module.globals.get(_TEAM) or ir.GlobalVariable(builder.module, _i64, _TEAM)
    return cgutils.gep_inbounds(builder, found, place)


def _take_team(builder, work, count):
    """How many threads to start, which are taken then if they are more than one, and where to give them back."""
    wanted, available, enough, busy = (
        _setting(builder, i) for i in (WANTED, AVAILABLE, ENOUGH, BUSY)
    )
    wanted, available, enough = map(builder.load, (wanted, available, enough))
    most = builder.select(builder.icmp_signed("<", wanted, available), wanted, available)
    worth = builder.and_(
        builder.icmp_signed(">=", work, enough), builder.icmp_signed(">", count, _i64(1))
    )
    threads = cgutils.alloca_once_value(builder, _i64(1))
    with (
        builder.if_then(builder.and_(worth, builder.icmp_signed(">", most, _i64(1)))),
        builder.if_then(builder.not_(_paused(builder))),
    ):
        swapped = builder.cmpxchg(busy, _i64(0), _i64(1), "acquire", "monotonic")
        taken = builder.extract_value(swapped, 1)
        builder.store(builder.select(taken, most, _i64(1)), threads)
    return builder.load(threads), busy


def _ticks(builder):
    """The processor's clock, some billions a second; always 0 where programs may not read it."""
    if not _HAS_CLOCK:
        return _i64(0)
    kind = ir.FunctionType(_i64, [])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, "llvm.readcyclecounter"), []
    )


def _pause_if_slow(builder, work, began):
    """Let the next ones work alone for a while if threads took so long that one had to wait for its core."""
    now = _ticks(builder)
    most = builder.add(builder.mul(work, _i64(SLOW_NUMBER)), _i64(SLOW))
    with builder.if_then(builder.icmp_signed(">", builder.sub(now, began), most)):
        until = _setting(builder, PAUSED)
        builder.store(builder.add(now, _i64(PAUSE)), until)


def _paused(builder):
    until = builder.load(_setting(builder, PAUSED))
    left = builder.sub(until, _ticks(builder))  # unsigned: a clock that was set back is no pause
    return builder.icmp_unsigned("<", builder.sub(left, _i64(1)), _i64(PAUSE))


def _range(context, builder, part, signature, values):
    """A function that computes a range of parts; the arguments are at ``data``, followed by whether one failed."""
    compiled = part.dispatcher.get_compile_result(signature)
    context.add_linking_libs([compiled.library])
    name = builder.module.get_unique_name(f"range_of{part.dispatcher.__name__}")
    function = ir.Function(builder.module, _RANGE, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    own = ir.IRBuilder(function.append_basic_block())
    first, count, _, data = function.args
    data = own.bitcast(data, ir.LiteralStructType([values, _i8]).as_pointer())
    args = own.load(cgutils.gep_inbounds(own, data, 0, 0))
    args = cgutils.unpack_tuple(own, args, len(signature.args) - 1)
    start = own.ptrtoint(own.load(first), _i64)
    callee = context.declare_function(builder.module, compiled.fndesc)
    with cgutils.for_range(own, own.load(count)) as loop:
        status, _ = context.call_conv.call_function(
            own,
            callee,
            signature.return_type,
            signature.args,
            [own.add(start, loop.index), *args],
        )
        with own.if_then(status.is_error):
            own.store(_i8(1), cgutils.gep_inbounds(own, data, 0, 1))
    own.ret_void()
    return function
