"""One function, compiled for one thread and for several, and the choice between the two."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from threading import Lock, local
from types import FunctionType
from typing import Any

import numba
import numpy as np

from ..threads import forked, get_num_threads
from ..watched import current

#: "a b + c" may be one instruction. Nothing may be reassociated: a sum of x - shift would lose what the shift saved.
FASTMATH = {"contract", "nsz"}
#: numbers below which waking the other threads takes longer than they save
ENOUGH = 2**15

#: how often a thread looks for new work before it sleeps, about 0.1 ms; OpenMP's own default is milliseconds, which
#: beside a busy process are lost in every kernel
SPINS = 20_000


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


#: how threads wait for work, in words
WAITING = _load_openmp()
#: threads there are in all
MOST: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined,unused-ignore]


class _Told(local):
    """How many threads Numba was last told to use by this Python thread: to tell it takes as long as a small kernel."""

    count = 0


_told = _Told()
_region = Lock()


def _after_fork() -> None:
    """Who had the threads may not be there to give them back."""
    global _region
    _region = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _compiled(function: Callable, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "cache": True,
        "nogil": True,
        "error_model": "numpy",
        "fastmath": FASTMATH,
    }
    return numba.njit(**settings | options)(function)


def serial(function: Callable) -> Any:
    """Compiled for one thread; other Python threads run meanwhile."""
    return _compiled(function)


def summing(function: Callable) -> Any:
    """The same, where sums may be taken in the order that suits vector lanes."""
    return _compiled(function, fastmath=FASTMATH | {"reassoc"})


def threads_for(work: int) -> int:
    """How many threads are worth waking for ``work`` numbers."""
    return min(get_num_threads(), MOST) if work >= ENOUGH else 1


class Threaded:
    """A function whose ``prange`` loops are shared between threads if there is enough to do.

    The others work for one Python thread at a time: who comes meanwhile goes alone. The loops cut the work by its
    shape, not by who does it, so the results are the same to the last bit.
    """

    def __init__(self, function: Any) -> None:
        self.serial = _compiled(function)
        # Under another name: Numba's files are named by that of the function.
        name = f"{function.__name__}_threaded"
        twin = FunctionType(function.__code__, function.__globals__, name)
        twin.__qualname__, twin.__module__ = name, function.__module__
        self.parallel = _compiled(twin, parallel=True)

    def __call__(self, work: int, *args: Any, refuse: Callable[..., Any] | None = None) -> Any:
        """Run it for ``work`` numbers; where it returns False, ``refuse`` raises."""
        recording = current.get()
        if recording is not None:
            args = self._noted(recording, work, args, refuse)
        count = threads_for(work)
        if count == 1 or not enter(count):
            done = self.serial(*args)
        else:
            try:
                done = self.parallel(*args)
            finally:
                leave()
        if refuse is not None and not done:
            refuse(*args)
        return done

    def _noted(self, recording: Any, work: int, args: Any, refuse: Any) -> Any:
        """The arguments, plain, of a start that is noted."""
        if refuse is not None or work >= ENOUGH:
            again = self if refuse is None else partial(self, refuse=refuse)
            return recording.note(again, (work, *args))[1:]
        plain = [a.view(np.ndarray) if isinstance(a, np.ndarray) else a for a in args]
        # What Numba's dispatcher would choose; to look at arguments takes as long as a small kernel.
        return recording.note(self.serial.compile(tuple(map(numba.typeof, plain))), args)


def enter(count: int, wait: bool = False) -> bool:
    """Get the other threads to work for this one, ``count`` in all; False if another has them, unless told to wait."""
    if forked() or not _region.acquire(blocking=wait):
        return False
    if _told.count != count:
        numba.set_num_threads(count)
        _told.count = count
    return True


def leave() -> None:
    _region.release()
