"""How workloads are timed, once ``agreement`` has shown that the peers compute the same numbers: in turns.

Absolute times belong to one machine on one day, so what counts is the ratio of two peers in one run. They alternate
block by block, each going first in turn, so that a change of clock frequency or a busy neighbour meets both. Each has a
process of its own, as its users would have: threads and memory of one library are no matter of another's. Before each
block there is a pause, for the threads of a BLAS spin on a core for a tenth of a second after its last call, at the
expense of whoever comes next; then some steps that do not count. A block is many steps timed as a whole: what a step
leaves behind (garbage, say) is part of its price. Each round gives one time per peer and one ratio; the medians over
the rounds are reported with the smallest and the largest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from shutil import which
from statistics import mean, median, quantiles
from time import sleep
from typing import Any, NamedTuple

from .agreement import OURS, Peer, agree

#: whom to compare with where it is installed, and the package's name
OPTIONAL = {
    "torch": "torch",
    "torch.compile": "torch",
    "torch.cuda.graph": "torch",
    "torch-channels-last": "torch",
    "jax": "jax",
    "tensorflow": "tensorflow",
    "onnxruntime": "onnxruntime",
}
#: seconds until the threads of the peer before have gone to sleep (OpenBLAS: 0.104 s measured)
PAUSE = 0.15

Times = dict[str, list[float]]
Start = Callable[[str, str], Any]


class Spread(NamedTuple):
    """A median over rounds and the extremes."""

    median: float
    min: float
    max: float


class Figure(NamedTuple):
    """A number that a workload derives from the times of its peers."""

    name: str
    unit: str
    value: Spread


@dataclass(frozen=True)
class Workload:
    """One comparison: ``makers`` turn what ``build`` returns into peers, ours first.

    Every number of the first ``check_steps`` steps must lie within ``tolerance`` of ours, relative to the largest in
    its array. ``block`` steps are timed together; or, with ``memory``, the memory that they take is measured; or, with
    ``neighbours``, each is timed, alone and beside that many processes that spin.
    ``targets`` are what our time over that of a peer may be at most; ``pause`` are seconds before each block,
    ``PAUSE`` where it is None.
    """

    name: str
    about: str
    build: Callable[[], Any]
    makers: Mapping[str, Callable[[Any], Peer]]
    check_steps: int
    tolerance: float
    block: int
    figures: Callable[[Times], Iterable[Figure]] = field(default=lambda times: ())
    memory: bool = False
    neighbours: int = 0
    targets: Mapping[str, float] = field(default_factory=dict)
    pause: float | None = None


def run(
    workload: Workload, peers: Iterable[str], rounds: int, start: Start | None = None
) -> dict[str, Any]:
    """Check and time ``workload``: everything that is reported, ready for JSON.

    ``start`` makes a peer of a workload and a name; in this process, if it is left out.

    Raises
    ------
    Disagreement
        If a peer's numbers are not ours; nothing is timed then.
    """
    asked = set(peers)
    wanted = [name for name in workload.makers if package(name) is None or name in asked]
    missing = {name: reason for name in wanted if (reason := lacking(name))}
    present = [name for name in wanted if name not in missing]
    start = start or here(workload)
    made = {}
    for name in present:
        try:
            made[name] = start(workload.name, name)
        except Exception as error:
            if package(name) is None:
                raise
            missing[name] = f"not working here ({type(error).__name__}: {first_line(error)})"
    differences = agree(made, workload.check_steps, workload.tolerance)
    slowdowns: list[Figure] = []
    if workload.neighbours:
        times, slowdowns = beside(made, workload.block, rounds, workload.neighbours)
    elif workload.memory:
        times = peaks(made, workload.block)
    else:
        times = measure(made, workload.block, rounds, workload.pause)
    ratios = {
        name: [ours / theirs for ours, theirs in zip(times[OURS], times[name], strict=True)]
        for name in times
        if name != OURS
    }
    figures = [Figure(f"{OURS} / {name}", "", spread(values)) for name, values in ratios.items()]
    figures += [*slowdowns, *workload.figures(times)]
    return {
        "name": workload.name,
        "about": workload.about,
        "left_out": missing,
        "checked_steps": workload.check_steps,
        "tolerance": workload.tolerance,
        "largest_difference": differences,
        "steps_per_round": workload.block,
        "rounds": rounds,
        "unit": "bytes at the peak" if workload.memory else "seconds per step",
        "measured": {name: spread(values)._asdict() for name, values in times.items()},
        "figures": [{**f._asdict(), "value": f.value._asdict()} for f in figures],
    }


def here(workload: Workload) -> Start:
    """Make peers in this process; those of a workload get the same inputs."""
    inputs = workload.build()
    return lambda _, name: workload.makers[name](inputs)


def first_line(error: Exception) -> str:
    """What an error says first."""
    return next(filter(None, map(str.strip, str(error).splitlines())), "no message")


def package(name: str) -> str | None:
    """What has to be installed for an optional peer; None for the others."""
    return OPTIONAL.get(name)


def lacking(name: str) -> str | None:
    """What an optional peer needs and does not find, in words."""
    needed = package(name)
    if needed is not None and find_spec(needed) is None:
        return "not installed"
    if name == "torch.compile" and not any(map(which, ("c++", "g++", "clang++", "cl"))):
        return "not possible without a C++ compiler"
    return None


def peaks(peers: Mapping[str, Any], steps: int) -> Times:
    """Bytes of memory at the peak of some steps, beyond what there was when the peer was made."""
    return {name: [peer.peak(steps)] for name, peer in peers.items()}


def measure(peers: Mapping[str, Any], block: int, rounds: int, pause: float | None = None) -> Times:
    """Seconds per step, one value per round, after one round that does not count."""
    names = list(peers)
    times: Times = {name: [] for name in names}
    for turn in range(-1, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sleep(PAUSE if pause is None else pause)
            seconds = peers[name].seconds(block)
            if turn >= 0:
                times[name].append(seconds)
    return times


def beside(
    peers: Mapping[str, Any], steps: int, rounds: int, neighbours: int
) -> tuple[Times, list[Figure]]:
    """Seconds per step beside processes that spin, and how much longer that is than alone: in all, and of p99."""
    names = list(peers)
    times: Times = {name: [] for name in names}
    slowdowns: Times = {}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sleep(PAUSE)
            alone = peers[name].each(steps)
            with spinning(neighbours):
                crowded = peers[name].each(steps)
            times[name].append(mean(crowded))
            for what, of in (("", mean), (", p99", _tail)):
                found = slowdowns.setdefault(f"{name}: beside {neighbours} over alone{what}", [])
                found.append(of(crowded) / of(alone))
    return times, [Figure(name, "", spread(values)) for name, values in slowdowns.items()]


def _tail(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[-1] if len(seconds) > 1 else seconds[0]


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Processes that keep a core busy each, until the block ends."""
    code = "print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return Spread(median(ordered), ordered[0], ordered[-1])
