"""Before anything is timed: do the peers compute the same numbers?

Two programs that differ in an epsilon, a mean over the wrong axis or a statistic that was never updated may differ in
speed for that reason alone. So every number that a workload shows (losses, all gradients, running statistics) is
compared after each of the first steps; a peer that computes something else stops the run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

OURS = "minigrad"
#: what moves the same memory and computes nothing
FLOOR = "floor"

Arrays = dict[str, np.ndarray]
#: does some work, and says how many seconds that took
Clock = Callable[[Callable[[], None]], float]


def wall(work: Callable[[], None]) -> float:
    """The processor's clock: work is done when it returns."""
    start = perf_counter()
    work()
    return perf_counter() - start


class Disagreement(AssertionError):
    """Two peers computed different numbers: their times say nothing."""


class Peer(NamedTuple):
    """One contestant: ``step`` does the work, ``numbers`` shows what the last step computed."""

    step: Callable[[], Any]
    numbers: Callable[[], Arrays]
    #: bytes that the process held before it was made
    before: int = 0
    #: what its times are taken by
    clock: Clock = wall
    #: steps in which it captures or compiles, to be taken before it is compared
    warmup: int = 0

    def peak(self, steps: int) -> float:
        """Bytes of memory that the process holds at most in some steps, beyond those before it was made.

        Two steps do not count: whoever captures or compiles has done it then.
        """
        self.repeat(2)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
        self.repeat(steps)
        # In a process that had given memory back since, the steps may fit into what it held.
        return max(_memory("VmHWM") - self.before, PAGE)

    def seconds(self, steps: int) -> float:
        """Per step, after a fifth as many steps that do not count."""
        gc.collect()
        self.repeat(steps // 5)
        return self.clock(lambda: self.repeat(steps)) / steps

    def each(self, steps: int) -> list[float]:
        """Seconds of each step, after a tenth as many that do not count."""
        gc.collect()
        self.repeat(steps // 10)
        return [self.clock(self.step) for _ in range(steps)]

    def repeat(self, steps: int) -> None:
        for _ in range(steps):
            self.step()


#: bytes of a page of memory, the smallest peak that is reported
PAGE = 4096


def resident() -> int:
    """Bytes of memory that this process holds."""
    return _memory("VmRSS")


def _memory(kind: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(kind))
    return 1024 * int(kilobytes)


def agree(peers: Mapping[str, Any], steps: int, tolerance: float) -> dict[str, float]:
    """Take ``steps`` steps with every peer, comparing all numbers of each step with ours.

    Returns
    -------
    dict
        For each other peer the largest difference seen, relative to the largest number of its array.

    Raises
    ------
    Disagreement
        If a difference exceeds ``tolerance``, or the numbers differ in name or shape.
    """
    others = [name for name in peers if name not in (OURS, FLOOR)]
    largest = dict.fromkeys(others, 0.0)
    for step in range(steps):
        for peer in peers.values():
            peer.step()
        ours = peers[OURS].numbers()
        for name in others:
            theirs = peers[name].numbers()
            if {k: a.shape for k, a in ours.items()} != {k: a.shape for k, a in theirs.items()}:
                raise Disagreement(f"{name} and {OURS} show different numbers")
            for key, a in ours.items():
                scale = max(float(np.abs(a).max()), np.finfo(a.dtype).tiny)
                difference = float(np.abs(a - theirs[key]).max()) / scale
                if not difference <= tolerance:
                    raise Disagreement(
                        f"{name} and {OURS} disagree in {key} at step {step}: "
                        f"relative difference {difference:.1e}, tolerance {tolerance:.0e}"
                    )
                largest[name] = max(largest[name], difference)
    return largest
