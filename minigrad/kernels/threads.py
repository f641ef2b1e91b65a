"""How many threads the CPU kernels use."""

from __future__ import annotations

import os

import numpy as np


def _default() -> int:
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list is for nested regions
    if wanted.strip().isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


#: where in TEAM: the threads that may be used; those there are, known when the first kernel is loaded; the numbers
#: from which work is shared, since waking threads takes as long as computing some thousands; 1 while they work;
#: and until when they do not because one had to wait for its core
WANTED, AVAILABLE, ENOUGH, BUSY, PAUSED = range(5)
#: what compiled kernels read
TEAM = np.array([_default(), 1, 2**15, 0, 0], np.int64)


def set_num_threads(n: int) -> None:
    """Let the compiled CPU kernels use at most ``n`` threads, the calling one included, in this process.

    The default is ``OMP_NUM_THREADS`` where that is set, else as many as there are cores for this process. Results are
    the same to the last bit for any number: work is cut by its shape, and what is summed is summed in one order.
    NumPy's own functions, and with ``MINIGRAD_KERNELS=numpy`` all kernels, use one thread and those of NumPy's BLAS.

    Raises
    ------
    ValueError
        If n is no positive integer.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: expected a positive integer, got {n!r}")
    TEAM[WANTED] = min(n, np.iinfo(np.int64).max)


def get_num_threads() -> int:
    """How many threads the compiled CPU kernels use at most; see ``set_num_threads``."""
    return int(TEAM[WANTED])


def _after_fork() -> None:
    # The threads are the parent's, and refuse to start anew in a child: they count as busy for good.
    TEAM[BUSY] = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
