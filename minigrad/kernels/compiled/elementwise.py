"""Activations and the loss as loops.

The exponential is a polynomial that runs in vector lanes: ``x = n log 2 + r`` with n whole and |r| <= log(2) / 2, and
exp(r) from its Taylor series to the seventh power, at most 2 units in the last place off over all of float32. log 2
comes in two parts, the first of few digits, so that n times it is exact (Cody & Waite 1980): no reassociation here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .threads import Threaded, serial

#: numbers a thread takes at a time
CHUNK = 2**14

_f = np.float32
LOG2_E, LOG2_HIGH, LOG2_LOW = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
LEAST, MOST = _f(-104), _f(89)  # beyond, a float32 is 0 or infinite
ONE, HALF = _f(1), _f(0.5)
C2, C3, C4, C5, C6, C7 = _f(1 / 2), _f(1 / 6), _f(1 / 24), _f(1 / 120), _f(1 / 720), _f(1 / 5040)
BIAS, SHIFT, TWO = np.int32(127), np.int32(23), np.int32(1)


@serial
def exp(x):
    """exp(x) of a float32; NaN stays NaN."""
    x = LEAST if x < LEAST else x
    x = MOST if x > MOST else x
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LOG2_HIGH - n * LOG2_LOW
    p = ((((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2) * r + ONE) * r + ONE
    # 2^n as two factors with exponents of their own: it may be subnormal or infinite.
    whole = np.int32(n)
    half = whole >> TWO
    low = np.int32((half + BIAS) << SHIFT).view(np.float32)
    high = np.int32((whole - half + BIAS) << SHIFT).view(np.float32)
    return p * low * high


@serial
def _sigmoid(x, y):
    for i in range(len(x)):
        e = exp(-abs(x[i]))
        y[i] = (e if x[i] < 0 else ONE) / (ONE + e)


@serial
def _sigmoid_grad(y, gy, gx):
    for i in range(len(y)):
        gx[i] = (y[i] - y[i] * y[i]) * gy[i]


@Threaded
def sigmoid(x, y):
    for t in prange(-(-len(x) // CHUNK)):
        own = slice(t * CHUNK, (t + 1) * CHUNK)
        _sigmoid(x[own], y[own])


@Threaded
def sigmoid_grad(y, gy, gx):
    for t in prange(-(-len(y) // CHUNK)):
        own = slice(t * CHUNK, (t + 1) * CHUNK)
        _sigmoid_grad(y[own], gy[own], gx[own])


@serial
def _relu(x, y):
    for i in range(len(x)):
        # not "x if x > 0": a NaN goes on
        y[i] = max(x[i], x.dtype.type(0)) if x[i] == x[i] else x[i]


@serial
def _relu_grad(x, gy, gx):
    for i in range(len(x)):
        gx[i] = gy[i] * x.dtype.type(not x[i] <= 0)


@Threaded
def relu(x, y):
    for t in prange(-(-len(x) // CHUNK)):
        own = slice(t * CHUNK, (t + 1) * CHUNK)
        _relu(x[own], y[own])


@Threaded
def relu_grad(x, gy, gx):
    for t in prange(-(-len(x) // CHUNK)):
        own = slice(t * CHUNK, (t + 1) * CHUNK)
        _relu_grad(x[own], gy[own], gx[own])


@serial
def _exp_shifted(x, shift, y):
    """y = exp(x - shift), and the sum."""
    total = ONE - ONE
    for i in range(len(x)):
        y[i] = exp(x[i] - shift)
    for i in range(len(x)):
        total += y[i]
    return total


@Threaded
def softmax_cross_entropy(logits, labels, weight, losses, probabilities, loss):
    """The loss of each example, and their sum times ``weight``; whether all labels are among the classes."""
    classes = logits.shape[1]
    for i in prange(len(logits)):
        row, p, label = logits[i], probabilities[i], labels[i]
        if not 0 <= label < classes:
            losses[i] = np.nan
            continue
        top = row[0]
        for k in range(classes):
            # not "row[k] > top": a NaN goes on
            top = top if row[k] <= top else row[k]
        total = _exp_shifted(row, top, p)
        for k in range(classes):
            p[k] /= total
        losses[i] = math.log(total) - (row[label] - top)
    total, good = 0.0, True
    for i in range(len(logits)):
        total += losses[i]
        good = good and 0 <= labels[i] < classes
    loss[()] = total * weight
    return good


@Threaded
def softmax_cross_entropy_grad(probabilities, labels, gy, weight, g):
    """(p - onehot) gy weight; gy for each example, or one for all."""
    for i in range(len(labels)):
        scale, row, out = gy[i if len(gy) > 1 else 0] * weight, probabilities[i], g[i]
        for k in range(len(row)):
            out[k] = row[k] * scale
        if 0 <= labels[i] < len(row):
            out[labels[i]] -= scale
