"""Elementwise chains as loops over blocks that stay in a core's first cache.

Each step of a chain is a loop of its own, from block to block, so that its results are those of the operation alone: in
one loop the product of a step and the sum of the next might become one instruction that rounds once.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..chains import CODES
from .elementwise import CHUNK, _relu, _relu_grad, _sigmoid, _sigmoid_grad
from .program import array
from .threads import Threaded, serial

NOTHING = 0
ADD, SUBTRACT, MULTIPLY, DIVIDE = (CODES[f] for f in ("add", "subtract", "multiply", "divide"))
NEGATIVE, RELU, SIGMOID = (CODES[f] for f in ("negative", "relu", "sigmoid"))
RELU_GRAD, SIGMOID_GRAD = CODES["relu_grad"], CODES["sigmoid_grad"]

#: numbers in a block
BLOCK = 1024
#: words before the addresses of the arrays
HEAD = 5
REAL = np.float32(0)


@serial
def _add(a, b, y):
    for i in range(len(y)):
        y[i] = a[i] + b[i]


@serial
def _subtract(a, b, y):
    for i in range(len(y)):
        y[i] = a[i] - b[i]


@serial
def _multiply(a, b, y):
    for i in range(len(y)):
        y[i] = a[i] * b[i]


@serial
def _divide(a, b, y):
    for i in range(len(y)):
        y[i] = a[i] / b[i]


@serial
def _negative(x, y):
    for i in range(len(y)):
        y[i] = -x[i]


@serial
def activate(code, x, y):
    if code == RELU:
        _relu(x, y)
    elif code == SIGMOID:
        _sigmoid(x, y)


@serial
def activate_grad(code, y, gy, gx):
    if code == RELU_GRAD:
        _relu_grad(y, gy, gx)
    elif code == SIGMOID_GRAD:
        _sigmoid_grad(y, gy, gx)


@serial
def step(code, a, b, y):
    """y from a, and from b where the operation takes two; y is neither of them."""
    if code == ADD:
        _add(a, b, y)
    elif code == SUBTRACT:
        _subtract(a, b, y)
    elif code == MULTIPLY:
        _multiply(a, b, y)
    elif code == DIVIDE:
        _divide(a, b, y)
    elif code == NEGATIVE:
        _negative(a, y)
    else:
        activate(code, a, y)
        activate_grad(code, a, b, y)


@serial
def _taken(words, i, scratch, begin, size):
    """The block of an array, or of what a step made."""
    if i < words[2] and not (words[4] >> i) & 1:
        return array(words[HEAD + i] + 4 * begin, (size,), REAL)
    return scratch[i, :size]


@serial
def _part(words, start, stop):
    arrays, steps = words[2], words[3]
    scratch = np.empty((arrays + steps, BLOCK), np.float32)
    for i in range(arrays):
        if (words[4] >> i) & 1:
            scratch[i, :] = array(words[HEAD + i], (1,), REAL)[0]
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        for j in range(steps):
            word = words[HEAD + arrays + j]
            a = _taken(words, (word >> 8) & 255, scratch, begin, size)
            b = _taken(words, word >> 16, scratch, begin, size)
            last = array(words[1] + 4 * begin, (size,), REAL)
            step(word & 255, a, b, last if j == steps - 1 else scratch[arrays + j, :size])


@Threaded
def chain(words):
    """``words`` are the numbers in the result, its address, how many arrays and steps there are, and then these.

    The fifth has a bit for each array that is one number only. Arrays are addresses; steps as in ``kernels.chains``.
    """
    n = words[0]
    for t in prange(-(-n // CHUNK)):
        _part(words, t * CHUNK, min((t + 1) * CHUNK, n))


@serial
def _add_into(a, b):
    for i in range(len(a)):
        a[i] += b[i]


@Threaded
def add_into(a, b):
    for t in prange(-(-len(a) // CHUNK)):
        own = slice(t * CHUNK, (t + 1) * CHUNK)
        _add_into(a[own], b[own])
