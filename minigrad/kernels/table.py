"""Rows of a program as the table that is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layouts import address
from .places import Place, Row, Storage


class Table:
    """A program that can be run again and again; rows as in ``compiled.program``.

    ``loose`` numbers the storages that have another array in each run.

    Attributes
    ----------
    numbers : array, shape (rows, 8)
        Arguments that are not whole; to be changed by whoever wants others.
    threads : int
        How many it needs: in a forked process there are no others.
    """

    def __init__(self, rows: list[Row], loose: Mapping[Storage, int]) -> None:
        from .compiled import instructions, instructions_norm, program, threads

        self._run, self._threads, self.threads = program.run, threads, 1
        words = np.zeros((len(rows), program.WORDS), np.int64)
        self.numbers = np.zeros((len(rows), program.NUMBERS))
        fittings = []
        for i, row in enumerate(rows):
            count = threads.threads_for(row.work)
            name = row.name if count == 1 else f"{row.name}_threaded"
            room = instructions if hasattr(instructions, name) else instructions_norm
            words[i, 0] = getattr(room, name).address
            self.threads = max(self.threads, count)
            self.numbers[i, : len(row.numbers)] = row.numbers
            for j, argument in enumerate(row.arguments, program.FIRST):
                if not isinstance(argument, Place):
                    words[i, j] = argument
                elif argument.storage in loose:
                    where = i * program.WORDS + j
                    fittings.append((where, loose[argument.storage], argument.offset))
                else:
                    assert argument.storage.array is not None
                    words[i, j] = address(argument.storage.array) + argument.offset
        fitted = np.array(fittings, np.int64).reshape(-1, 3)
        self._loose = sorted({number for _, number, _ in fittings})
        self._bases = np.zeros(len(loose), np.int64)
        parts = address(words), address(self.numbers), len(rows), address(fitted), len(fitted)
        self._table = np.array(parts, np.int64)
        self._alive = rows, words, fitted  # whose addresses are known
        self._at = address(self._table), address(self._bases)

    def run(self, arrays: list[Any], start: int = 0) -> int:
        """Run it from row ``start`` on; the row that stopped, for Python to go on, or -1 at the end."""
        for number in self._loose:
            self._bases[number] = id(arrays[number])
        stopped: int
        if self.threads == 1:
            stopped = self._run(*self._at, start)
            return stopped
        self._threads.enter(self.threads, wait=True)
        try:
            stopped = self._run(*self._at, start)
            return stopped
        finally:
            self._threads.leave()
