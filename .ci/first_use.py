"""What the first use of compiled kernels costs: python .ci/first_use.py

In a process with an empty cache, then in one that finds what that compiled: seconds until the third training step of
the MLP and of the CNN of the benchmarks, and what jit adds. Times are reported; that no step after the third, and no
replay, compiles or loads anything is checked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from time import perf_counter

STEPS = 3


def measure(name: str) -> None:
    """Print seconds of the first eager steps and of the first jitted ones, beyond importing Numba."""
    import numba  # noqa: F401
    from numba.core import event

    from benchmarks.workloads import WORKLOADS

    compiled = 0

    class Count(event.Listener):
        def on_start(self, event: object) -> None:
            nonlocal compiled
            compiled += 1

        def on_end(self, event: object) -> None:
            pass

    event.register("numba:compile", Count())
    seconds, counts = [], []
    for work in (WORKLOADS[name], WORKLOADS[f"{name}-captured"]):
        peer = work.makers["minigrad"](work.build())
        before, start = compiled, perf_counter()
        peer.repeat(STEPS)
        seconds.append(perf_counter() - start)
        counts.append(compiled - before)
        first = compiled
        peer.repeat(STEPS)
        if compiled > first:
            sys.exit(f"{work.name}: step {STEPS + 1} or a later one compiled something")
    if counts[1]:
        sys.exit(f"{name}: jit compiled {counts[1]} functions after the eager steps")
    print(
        f"{name:4} {seconds[0]:6.1f} s for {STEPS} eager steps, {seconds[1]:5.2f} s for jitted ones"
    )


def main() -> None:
    if sys.argv[1:]:
        measure(sys.argv[1])
        return
    for name in ("mlp", "cnn"):
        with tempfile.TemporaryDirectory() as folder:
            for what in ("compiling", "compiled before"):
                print(f"{what}:", flush=True)
                environment = os.environ | {"NUMBA_CACHE_DIR": folder}
                subprocess.run([sys.executable, __file__, name], env=environment, check=True)


if __name__ == "__main__":
    main()
