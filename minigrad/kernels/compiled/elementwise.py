"""Activations and the loss as loops.

The exponential is a polynomial that runs in vector lanes: ``x = n log 2 + r`` with n whole and |r| <= log(2) / 2, and
exp(r) from its Taylor series to the seventh power, at most 2 units in the last place off over all of float32. log 2
comes in two parts, the first of few digits, so that n times it is exact (Cody & Waite 1980): no reassociation here.
"""

from __future__ import annotations

import math

import numpy as np

from .launch import inner, kernel, share

#: numbers a thread takes at a time
CHUNK = 2**14

_f = np.float32
LOG2_E, LOG2_HIGH, LOG2_LOW = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
LEAST, MOST = _f(-104), _f(89)  # beyond, a float32 is 0 or infinite
ONE, HALF = _f(1), _f(0.5)
C2, C3, C4, C5, C6, C7 = _f(1 / 2), _f(1 / 6), _f(1 / 24), _f(1 / 120), _f(1 / 720), _f(1 / 5040)
BIAS, SHIFT, TWO = np.int32(127), np.int32(23), np.int32(1)


@inner
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


@inner
def chunks(size):
    """How many parts of ``CHUNK`` numbers there are."""
    return -(-size // CHUNK)


@inner
def _sigmoid(t, x, y):
    own = slice(t * CHUNK, (t + 1) * CHUNK)
    x, y = x[own], y[own]
    for i in range(len(x)):
        e = exp(-abs(x[i]))
        y[i] = (e if x[i] < 0 else ONE) / (ONE + e)


@inner
def _sigmoid_grad(t, y, gy, gx):
    own = slice(t * CHUNK, (t + 1) * CHUNK)
    y, gy, gx = y[own], gy[own], gx[own]
    for i in range(len(y)):
        gx[i] = (y[i] - y[i] * y[i]) * gy[i]


@inner
def _relu(t, x, y):
    own = slice(t * CHUNK, (t + 1) * CHUNK)
    x, y = x[own], y[own]
    for i in range(len(x)):
        # not "x if x > 0": a NaN goes on
        y[i] = max(x[i], x.dtype.type(0)) if x[i] == x[i] else x[i]


@inner
def _relu_grad(t, x, gy, gx):
    own = slice(t * CHUNK, (t + 1) * CHUNK)
    x, gy, gx = x[own], gy[own], gx[own]
    for i in range(len(x)):
        gx[i] = gy[i] * x.dtype.type(not x[i] <= 0)


@kernel
def sigmoid(x, y):
    share(x.size, chunks(x.size), _sigmoid, (x, y))


@kernel
def sigmoid_grad(y, gy, gx):
    share(y.size, chunks(y.size), _sigmoid_grad, (y, gy, gx))


@kernel
def relu(x, y):
    share(x.size, chunks(x.size), _relu, (x, y))


@kernel
def relu_grad(x, gy, gx):
    share(x.size, chunks(x.size), _relu_grad, (x, gy, gx))


@inner
def _cross_entropy(i, logits, labels, losses, probabilities):
    row, p, label = logits[i], probabilities[i], labels[i]
    if not 0 <= label < len(row):
        losses[i] = np.nan
        return
    top = row[0]
    for k in range(len(row)):
        # not "row[k] > top": a NaN goes on
        top = top if row[k] <= top else row[k]
    for k in range(len(row)):
        p[k] = exp(row[k] - top)
    total = ONE - ONE
    for k in range(len(row)):
        total += p[k]
    for k in range(len(row)):
        p[k] /= total
    losses[i] = math.log(total) - (row[label] - top)


@kernel
def softmax_cross_entropy(logits, labels, weight, losses, probabilities, loss):
    """The loss of each example, and their sum times ``weight``; whether all labels are among the classes."""
    examples = logits, labels, losses, probabilities
    share(logits.size, len(logits), _cross_entropy, examples)
    total, good = 0.0, True
    for i in range(len(logits)):
        total += losses[i]
        good = good and 0 <= labels[i] < logits.shape[1]
    loss[()] = total * weight
    return good


@kernel
def softmax_cross_entropy_grad(probabilities, labels, gy, weight, g):
    """(p - onehot) gy weight; gy for each example, or one for all."""
    for i in range(len(labels)):
        scale, row, out = gy[i if len(gy) > 1 else 0] * weight, probabilities[i], g[i]
        for k in range(len(row)):
            out[k] = row[k] * scale
        if 0 <= labels[i] < len(row):
            out[labels[i]] -= scale
