"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from minigrad.command import command

from . import device, environment, harness, report
from .agreement import OURS, Disagreement
from .plots import plot
from .processes import processes
from .workloads import WORKLOADS
from .workloads.gpu import GPU

#: by the backend of the run
KNOWN = {"numpy": WORKLOADS, "cupy": GPU}

EPILOG = """\
Before timing, all peers must compute the same numbers; if they do not, the run stops. Then they take turns, block of
steps by block of steps, each in a process of its own; each line gives the median over the rounds with the smallest and
largest in brackets. A ratio is taken within each round. Compare ratios, not times: those belong to the machine and the
day.

With --backend cupy all this happens on a GPU, beside PyTorch on the same one, in one process: times lie between events
of the device, TF32 is off, and each ratio that is to be reached is said to be met or missed. It needs CuPy, NumPy and
PyTorch, and writes benchmarks/results/<date>_<device>.json, unless --json names another file.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="minigrad and its peers on the same work, side by side in one run.",
        epilog=EPILOG
        + "\nworkloads:\n"
        + "\n".join(f"  {w.name}: {w.about}" for w in WORKLOADS.values())
        + "\n\nworkloads on a GPU:\n"
        + "\n".join(f"  {w.name}: {w.about}" for w in GPU.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--backend",
        choices=KNOWN,
        default="numpy",
        help="where all arrays are: on the CPU, or on a GPU (default: %(default)s)",
    )
    parser.add_argument(
        "--workloads",
        metavar="NAME,...",
        help="which to run; the first part of a name stands for all that begin with it (default: all but "
        "busy and scaling)",
    )
    parser.add_argument(
        "--peers",
        type=_names(harness.OPTIONAL),
        default=list(harness.OPTIONAL),
        metavar="NAME,...",
        help=f"whom to compare with, of {list(harness.OPTIONAL)} (default: all; '' for nobody)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=15,
        metavar="N",
        help="how often the peers take turns (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=lambda text: [_positive(n) for n in text.split(",")],
        metavar="N,...",
        help="run once for each thread count, in a process of its own with "
        f"{', '.join(environment.THREAD_VARIABLES)} set to it (default: the environment as it is)",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="DIR",
        help="draw the ratios, and of the workloads scaling how times grow, into this folder (ratios.png, scaling.png)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here as well")
    options = parser.parse_args(arguments)
    if options.backend == "cupy" and options.threads is not None:
        parser.error("argument --threads: not with --backend cupy")
    known = KNOWN[options.backend]
    try:
        options.workloads = (
            [name for name in known if not name.startswith(("busy", "scaling"))]
            if options.workloads is None
            else _names(known)(options.workloads)
        )
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --workloads: {error}")
    return options


@command
def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.backend == "cupy":
        runs = [on_gpu(options)]
    elif options.threads is None:
        runs = [run(options, processes, environment.describe())]
    else:
        runs = [rerun(options, n) for n in options.threads]
    write(options, runs)
    if options.plot is not None:
        for file in plot(runs[0]["workloads"], options.plot):
            print(f"drawn: {file}")
    if failed := [
        f"{name}: {reason}" for found in runs for name, reason in found["failed"].items()
    ]:
        sys.exit("\n".join(failed))


def write(options: argparse.Namespace, runs: list[dict[str, Any]]) -> None:
    """All figures, if they are wanted as a file."""
    if options.json is not None:
        options.json.write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf-8")


def on_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """All workloads on the GPU that is here."""
    try:
        gpu = device.find()
    except (ImportError, RuntimeError) as error:
        print("python -m benchmarks:", *str(error).split(), file=sys.stderr)
        sys.exit(2)
    if options.json is None:
        options.json = report.path(gpu.name)
    print(*(f"{name:<12}{fact}" for name, fact in gpu.facts.items()), sep="\n")
    result = run(options, gpu.peers, environment.describe() | gpu.facts)
    print("", *report.table(result["workloads"]), "", f"written: {options.json}", sep="\n")
    return result


def run(
    options: argparse.Namespace,
    peers: Callable[[], AbstractContextManager[harness.Start]],
    surroundings: dict[str, Any],
) -> dict[str, Any]:
    """All workloads, with peers that are started so."""
    known = KNOWN[options.backend]
    print(*environment.lines(surroundings), sep="\n", flush=True)
    results: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    found = {"environment": surroundings, "workloads": results, "failed": failed}
    for name in options.workloads:
        try:
            with peers() as start:
                result = harness.run(known[name], options.peers, options.rounds, start)
            if options.backend == "cupy":
                result["targets"] = list(report.judged(known[name], result))
        except Exception as error:
            if not isinstance(error, Disagreement):
                traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {harness.first_line(error)}"
            print("", f"{name}: {failed[name]}; not timed", sep="\n", flush=True)
            continue
        results.append(result)
        write(options, [found])  # a run that is stopped has measured what it has measured
        print("", *lines(result), sep="\n", flush=True)
    return found


def rerun(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """The same in a process with ``threads`` threads: libraries read their variables once, when they load."""
    print(f"--- {threads} thread{'s' * (threads > 1)} ---", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run.json")
        command = [sys.executable, "-m", __package__ or "benchmarks", "--json", str(file)]
        command += ["--workloads", ",".join(options.workloads), "--peers", ",".join(options.peers)]
        command += ["--rounds", str(options.rounds)]
        variables = dict.fromkeys(environment.THREAD_VARIABLES, str(threads))
        if code := subprocess.run(command, env={**os.environ, **variables}).returncode:
            sys.exit(code)
        (only,) = json.loads(file.read_text(encoding="utf-8"))["runs"]
    print(flush=True)
    return only


def lines(result: dict[str, Any]) -> list[str]:
    """A workload's result to read."""
    out = [f"{result['name']}: {result['about']}"]
    for name, reason in result["left_out"].items():
        out.append(f"  {name} is {reason}, so there is no comparison with it")
    for name, difference in result["largest_difference"].items():
        out.append(
            f"  same numbers as {name} over {result['checked_steps']} steps: largest relative difference "
            f"{difference:.0e} (tolerance {result['tolerance']:.0e})"
        )
    in_seconds = result["unit"] == "seconds per step"
    unit, factor = ("us per step", 1e6) if in_seconds else ("MiB at the peak", 2**-20)
    rows = [(name, unit, value, factor) for name, value in result["measured"].items()]
    rows += [(f["name"], f["unit"], f["value"], 1) for f in result["figures"]]
    for name, unit, value, factor in rows:
        low, middle, high = (factor * value[key] for key in ("min", "median", "max"))
        out.append(f"  {name:<28} {middle:8.4g}  [{low:.4g} .. {high:.4g}] {unit}".rstrip())
    out += [f"  {OURS} / {report.verdict(target)}" for target in result.get("targets", ())]
    rounds = f"{result['rounds']} rounds of " if in_seconds else "once, after "
    out.append(f"  ({rounds}{result['steps_per_round']} steps)")
    return out


def _names(known: Any) -> Any:
    def names(text: str) -> list[str]:
        chosen = []
        for asked in filter(None, text.split(",")):
            found = [name for name in known if name == asked or name.startswith(f"{asked}-")]
            if not found:
                raise argparse.ArgumentTypeError(
                    f"unknown {asked!r}, expected some of {list(known)}"
                )
            chosen += found
        return chosen

    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
