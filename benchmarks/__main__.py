"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import environment, harness
from .agreement import Disagreement
from .plots import plot
from .processes import processes
from .workloads import WORKLOADS

EPILOG = """\
Before timing, all peers must compute the same numbers; if they do not, the run stops. Then they take turns, block of
steps by block of steps, each in a process of its own; each line gives the median over the rounds with the smallest and
largest in brackets. A ratio is taken within each round. Compare ratios, not times: those belong to the machine and the
day.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="minigrad and its peers on the same work, side by side in one run.",
        epilog=EPILOG
        + "\nworkloads:\n"
        + "\n".join(f"  {w.name}: {w.about}" for w in WORKLOADS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workloads",
        type=_names(WORKLOADS),
        default=[name for name in WORKLOADS if not name.startswith("scaling")],
        metavar="NAME,...",
        help="which to run; the first part of a name stands for all that begin with it (default: all but scaling)",
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
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    runs = (
        [run(options)] if options.threads is None else [rerun(options, n) for n in options.threads]
    )
    if options.json is not None:
        options.json.write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf-8")
    if options.plot is not None:
        for file in plot(runs[0]["workloads"], options.plot):
            print(f"drawn: {file}")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All workloads, in this environment."""
    surroundings = environment.describe()
    print(*environment.lines(surroundings), sep="\n", flush=True)
    results = []
    for name in options.workloads:
        try:
            with processes() as start:
                result = harness.run(WORKLOADS[name], options.peers, options.rounds, start)
            results.append(result)
        except Disagreement as error:
            sys.exit(f"{name}: {error}; not timed")
        print("", *lines(results[-1]), sep="\n", flush=True)
    return {"environment": surroundings, "workloads": results}


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
