"""What kernels find wrong with values, which the host learns of without waiting for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..generic import refuse_label, refuse_statistics

#: as in common.cuh; the other is a batch that is not finite
BAD_LABEL = 1


class Faults:
    """What is wrong, with which value, and a limit or size: numbers that kernels write and the host reads.

    A kernel runs after the call that launched it has returned. What it finds is raised when somebody looks at values
    the next time, which waits for the device anyway, or when another kernel is launched that may find something. Until
    then optimizers move nothing on the device, just as if the error had come at once. ``launch`` is a ``Launcher``.
    """

    def __init__(self, xp: Any, launch: Any) -> None:
        self._xp, self._launch = xp, launch
        self._words, self._address = launch.shared(3)
        self._fine: dict[int, Any] = {}

    @property
    def fine(self) -> Any:
        """One number on the current device: 1, or 0 from when a kernel found something until it has been raised."""
        device = self._launch.device
        if device not in self._fine:
            self._fine[device] = self._xp.ones(1, np.int64)
        return self._fine[device]

    @property
    def pointers(self) -> tuple[int, Any]:
        """As kernels take them."""
        return self._address, self.fine

    def check(self) -> None:
        """Raise what was found, once.

        Raises
        ------
        ValueError
            For labels that are no classes, and statistics that are not finite.
        """
        what, which, limit = map(int, self._words)
        if not what:
            return
        self._words[0] = 0
        for device, fine in self._fine.items():
            with self._launch.on(device):
                fine.fill(1)
        if what == BAD_LABEL:
            refuse_label(str(which), limit)
        refuse_statistics(f"batch norm over {limit} channels: ")
