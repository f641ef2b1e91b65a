"""Rows of a program as the table that is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .places import Place, Row, Storage


class Table:
    """A program that can be run again and again; rows as in ``compiled.program``.

    ``loose`` numbers the storages that have another array in each run.
    """

    def __init__(self, rows: list[Row], loose: Mapping[Storage, int]) -> None:
        from .compiled import instructions, program, threads

        self._run, self._threads = program.run, threads
        self.words = np.zeros((len(rows), program.WORDS), np.int64)
        self.numbers = np.zeros((len(rows), program.NUMBERS))
        where, offsets = [], []
        for i, row in enumerate(rows):
            self.words[i, 0] = getattr(instructions, row.name).address
            self.words[i, program.THREADS] = threads.threads_for(row.work)
            self.numbers[i, : len(row.numbers)] = row.numbers
            for j, argument in enumerate(row.arguments, program.FIRST):
                if not isinstance(argument, Place):
                    self.words[i, j] = argument
                elif argument.storage in loose:
                    where.append(i * program.WORDS + j)
                    offsets.append((loose[argument.storage], argument.offset))
                else:
                    assert argument.storage.array is not None
                    self.words[i, j] = address(argument.storage.array) + argument.offset
        self._rows = rows  # they keep the memory
        self._where = np.array(where, np.int64)
        self._offsets = np.array(offsets, np.int64).reshape(-1, 2)
        self._needed = sorted({number for number, _ in offsets})
        self._bases = np.zeros(len(loose), np.int64)
        self._together = int(self.words[:, program.THREADS].max())

    def run(self, arrays: list[Any], start: int = 0) -> int:
        """Run it from row ``start`` on; the row that stopped, for Python to go on, or -1 at the end."""
        bases = self._bases
        for number in self._needed:
            bases[number] = arrays[number].__array_interface__["data"][0]
        together = self._together > 1 and self._threads.enter(self._together)
        try:
            stopped: int = self._run(
                self.words, self.numbers, self._where, bases, self._offsets, start, together
            )
            return stopped
        finally:
            if together:
                self._threads.leave()


def address(array: np.ndarray) -> int:
    first: int = array.__array_interface__["data"][0]
    return first
