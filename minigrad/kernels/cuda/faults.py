"""What kernels find wrong with values, which the host learns of without waiting for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..generic import refuse_label, refuse_statistics

if TYPE_CHECKING:
    from . import Launcher

#: as in loss.cu and updates.cu
BAD_LABEL, NOT_FINITE = 1, 2


class Faults:
    """What is wrong, with which value, and a limit or size: numbers that kernels write and the host reads.

    A kernel runs after the call that launched it has returned. What it finds is raised when somebody looks at values
    the next time, which waits for the device anyway, or when another kernel is launched that may find something. What
    was wrong has moved nothing until then: its gradient is 0, and running statistics stay.
    """

    def __init__(self, launch: Launcher) -> None:
        self._words, self.address = launch.shared(3)

    def check(self) -> None:
        """Raise what was found, once.

        Raises
        ------
        ValueError
            For labels that are no classes, and statistics that are not finite.
        """
        what, which, limit = map(int, self._words)
        self._words[0] = 0
        if what == BAD_LABEL:
            refuse_label(str(which), limit)
        if what == NOT_FINITE:
            refuse_statistics(f"batch norm over {limit} channels: ")
