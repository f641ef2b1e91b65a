"""The captured training steps of ``mlp`` and ``cnn`` beside processes that spin: what a busy neighbour costs.

Threads that wait for each other in loops lose whole time slices to whoever has their core, and a step may take a
hundred times as long, now and then: so each step is timed.
"""

from __future__ import annotations

from dataclasses import replace

from ..harness import Workload
from .captured import CAPTURED

#: steps timed in a round
STEPS = {"mlp-captured": 2_000, "cnn-captured": 200}


def workload(of: Workload, neighbours: int) -> Workload:
    return replace(
        of,
        name=f"busy-{neighbours}-{of.name.removesuffix('-captured')}",
        about=f"{of.about}, beside {neighbours} process{'es' * (neighbours > 1)} that spin",
        block=STEPS[of.name],
        neighbours=neighbours,
    )


BUSY = tuple(workload(of, n) for of in CAPTURED if of.name in STEPS for n in (1, 2))
