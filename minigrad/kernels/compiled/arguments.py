"""How instructions read their rows."""

from __future__ import annotations

import numpy as np

from .program import FIRST, NUMBERS, WORDS, array
from .threads import serial

REAL, WHOLE, DOUBLE = np.float32(0), np.int64(0), 0.0


@serial
def read(words, numbers):
    """A row, its arguments that are whole, and those that are not."""
    row = array(words, (WORDS,), WHOLE)
    return row, row[FIRST:], array(numbers, (NUMBERS,), DOUBLE)


@serial
def vector(address, n):
    return array(address, (n,), REAL)


@serial
def matrix(address, rows, columns):
    return array(address, (rows, columns), REAL)
