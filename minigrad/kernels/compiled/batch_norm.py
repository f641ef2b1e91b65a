"""Batch normalization as loops, in two layouts.

``planes``: x of shape (n, channels, height width), as NCHW lies in memory. ``columns``: channels next to each other,
(rows, width), as NC and NHWC lie; column w belongs to channel w modulo the channels. Both are read twice, as they lie,
in chunks that threads take one at a time: a channel at a time, which reads from memory only once, but here and there,
took twice as long.

Down a column, at most ``RUN`` values are summed in the precision of x; the rest is summed in float64. Sums are of
deviations from a value near the mean: a large mean costs no digits, and a constant channel's variance is exactly 0.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .activations import NOTHING, activate, activate_grad
from .channels import finish_backward, finish_forward, frozen_scale
from .threads import Threaded, serial, summing

RUN = 256
#: values of a plane summed at once, in vector lanes: fewer than RUN in each
PIECE = 2048
#: rows of columns that an activation is applied to at once
ROWS = 8
#: values that say where a mean is, about
FIRST = 8

# --- parts of columns: blocks of rows (rows, width) ---


@serial
def _add_deviations(x, shift, s, q):
    """Add d = x - shift and d d, column by column."""
    for i in range(len(x)):
        row = x[i]
        for w in range(len(shift)):
            d = row[w] - shift[w]
            s[w] += d
            q[w] += d * d


@serial
def _before(activation, y, gy, own):
    """The gradient of what an activation made y of, in ``own``; gy itself where there is none."""
    if activation == NOTHING:
        return gy
    own = own[: len(gy)]
    activate_grad(activation, y, gy, own)
    return own


@serial
def _add_products(x, gy, center, s, p, q):
    """Add d = x - center, gy d and gy, column by column."""
    for i in range(len(x)):
        row, gradient = x[i], gy[i]
        for w in range(len(center)):
            d = row[w] - center[w]
            s[w] += d
            p[w] += gradient[w] * d
            q[w] += gradient[w]


@serial
def _gradient(x, gy, center, slope, shift, scale, gx):
    for i in range(len(x)):
        row, gradient, out = x[i], gy[i], gx[i]
        for w in range(len(center)):
            out[w] = (gradient[w] - (row[w] - center[w]) * slope[w] - shift[w]) * scale[w]


@serial
def _affine(x, center, scale, beta, y):
    for i in range(len(x)):
        row, out = x[i], y[i]
        for w in range(len(center)):
            out[w] = (row[w] - center[w]) * scale[w] + beta[w]


@serial
def _activated(x, center, scale, beta, activation, y):
    if activation == NOTHING:
        _affine(x, center, scale, beta, y)
        return
    own = np.empty((ROWS, x.shape[1]), x.dtype)
    for start in range(0, len(x), ROWS):
        block, out = x[start : start + ROWS], y[start : start + ROWS]
        made = own[: len(block)]
        _affine(block, center, scale, beta, made)
        activate(activation, made.reshape(-1), out.reshape(-1))


@serial
def _near_means(x, channels):
    """A value near the mean of each channel."""
    near, first = np.zeros(channels, x.dtype), x[0]
    repeats = min(len(first) // channels, FIRST)
    rows = min(-(-FIRST // repeats), len(x))
    for i in range(rows):
        row = x[i]
        for start in range(0, repeats * channels, channels):
            for c in range(channels):
                near[c] += row[start + c] - first[c]
    for c in range(channels):
        near[c] = first[c] + near[c] / (rows * repeats)
    return near


@serial
def _spread(values, width):
    """Numbers of channels along a row."""
    wide = np.empty(width, values.dtype)
    for start in range(0, width, len(values)):
        for c in range(len(values)):
            wide[start + c] = values[c]
    return wide


@serial
def _narrow(sums, into):
    """Add the sums of columns to those of their channels, and begin them again."""
    channels = len(into)
    for start in range(0, len(sums), channels):
        for c in range(channels):
            into[c] += sums[start + c]
            sums[start + c] = 0


@serial
def _deviations(x, shift, total, square):
    """Add the sums of d = x - shift and of d d to those of the channels, in float64."""
    s, q = np.zeros_like(shift), np.zeros_like(shift)
    for start in range(0, len(x), RUN):
        _add_deviations(x[start : start + RUN], shift, s, q)
        _narrow(s, total)
        _narrow(q, square)


@serial
def _products(x, y, gy, activation, center, total, product, gradient):
    """Add the sums of d = x - center, of gy d and of gy to those of the channels, in float64."""
    s, p, q = np.zeros_like(center), np.zeros_like(center), np.zeros_like(center)
    own = np.empty(ROWS * len(center), x.dtype)
    for start in range(0, len(x), RUN):
        for first in range(start, min(start + RUN, len(x)), ROWS):
            block = slice(first, first + ROWS)
            g = _before(activation, y[block].reshape(-1), gy[block].reshape(-1), own)
            _add_products(x[block], g.reshape(-1, len(center)), center, s, p, q)
        _narrow(s, total)
        _narrow(p, product)
        _narrow(q, gradient)


# --- planes ---


@serial
def _near_mean(x, c):
    """A value near the mean of a channel of planes."""
    first, total, count = x[0, c, 0], 0.0, 0
    for i in range(len(x)):
        run = x[i, c, : FIRST - count]
        for j in range(len(run)):
            total += run[j] - first
        count += len(run)
        if count == FIRST:
            break
    return x.dtype.type(first + total / count)


@serial
def _minus(x, shift, d):
    for j in range(len(x)):
        d[j] = x[j] - shift


@summing
def _sums(d):
    """Of d and d d."""
    s, q = d.dtype.type(0), d.dtype.type(0)
    for j in range(len(d)):
        s += d[j]
        q += d[j] * d[j]
    return s, q


@summing
def _sums_of_products(d, g):
    """Of d, g d and g."""
    s, p, q = d.dtype.type(0), d.dtype.type(0), d.dtype.type(0)
    for j in range(len(d)):
        s += d[j]
        p += g[j] * d[j]
        q += g[j]
    return s, p, q


@serial
def _affine_plane(x, center, scale, shift, activation, own, y):
    if activation == NOTHING:
        for j in range(len(x)):
            y[j] = (x[j] - center) * scale + shift
        return
    for start in range(0, len(x), PIECE):
        run, out = x[start : start + PIECE], y[start : start + PIECE]
        for j in range(len(run)):
            own[j] = (run[j] - center) * scale + shift
        activate(activation, own[: len(run)], out)


@Threaded
def planes_forward(x, chunks, gamma, beta, eps, dof, activation, y, mean, var, inv_std):
    n, channels, width = x.shape
    planes, size = n * channels, -(-n * channels // chunks)
    near = np.empty(channels, x.dtype)
    for c in range(channels):
        near[c] = _near_mean(x, c)
    totals, squares = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    for t in prange(chunks):
        d = np.empty(min(width, PIECE), x.dtype)
        for plane in range(t * size, min((t + 1) * size, planes)):
            i, c = plane // channels, plane % channels
            for start in range(0, width, PIECE):
                run = x[i, c, start : start + PIECE]
                _minus(run, near[c], d)
                s, q = _sums(d[: len(run)])
                totals[t, c] += s
                squares[t, c] += q
    a, b, m = np.empty_like(mean), np.empty_like(mean), n * width
    finish_forward(near, totals, squares, m, dof, eps, gamma, beta, mean, var, inv_std, a, b)
    for t in prange(chunks):
        own = np.empty(min(width, PIECE), x.dtype)
        for plane in range(t * size, min((t + 1) * size, planes)):
            i, c = plane // channels, plane % channels
            _affine_plane(x[i, c], near[c], a[c], b[c], activation, own, y[i, c])


@serial
def _gradient_plane(x, gy, center, slope, shift, scale, gx):
    for j in range(len(x)):
        gx[j] = (gy[j] - (x[j] - center) * slope - shift) * scale


@Threaded
def planes_backward(x, y, gy, activation, chunks, gamma, mean, inv_std, dof, gx, ggamma, gbeta):
    n, channels, width = x.shape
    planes, size = n * channels, -(-n * channels // chunks)
    totals, products = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    gradients = np.zeros((chunks, channels))
    for t in prange(chunks):
        d = np.empty(min(width, PIECE), x.dtype)
        own = np.empty_like(d)
        for plane in range(t * size, min((t + 1) * size, planes)):
            i, c = plane // channels, plane % channels
            for start in range(0, width, PIECE):
                run, out = x[i, c, start : start + PIECE], y[i, c, start : start + PIECE]
                g = _before(activation, out, gy[i, c, start : start + PIECE], own)
                _minus(run, mean[c], d)
                s, p, q = _sums_of_products(d[: len(run)], g)
                totals[t, c] += s
                products[t, c] += p
                gradients[t, c] += q
    a, b, e, m = np.empty_like(mean), np.empty_like(mean), np.empty_like(mean), n * width
    sums = totals, products, gradients
    finish_backward(*sums, m, dof, gamma, inv_std, ggamma, gbeta, a, b, e)
    for t in prange(chunks):
        own = np.empty(min(width, PIECE), x.dtype)
        for plane in range(t * size, min((t + 1) * size, planes)):
            i, c = plane // channels, plane % channels
            center, slope, shift, scale = mean[c], a[c], b[c], e[c]
            for start in range(0, width, PIECE):
                run, out = x[i, c, start : start + PIECE], gx[i, c, start : start + PIECE]
                made, g = y[i, c, start : start + PIECE], gy[i, c, start : start + PIECE]
                g = _before(activation, made, g, own)
                _gradient_plane(run, g, center, slope, shift, scale, out)


@Threaded
def planes_frozen(x, chunks, gamma, beta, mean, var, eps, activation, y):
    """y = (x - mean) gamma / sqrt(var + eps) + beta."""
    n, channels, width = x.shape
    scale = frozen_scale(gamma, var, eps)
    planes, size = n * channels, -(-n * channels // chunks)
    for t in prange(chunks):
        own = np.empty(min(width, PIECE), x.dtype)
        for plane in range(t * size, min((t + 1) * size, planes)):
            i, c = plane // channels, plane % channels
            _affine_plane(x[i, c], mean[c], scale[c], beta[c], activation, own, y[i, c])


# --- columns ---


@Threaded
def columns_forward(x, chunks, gamma, beta, eps, dof, activation, y, mean, var, inv_std):
    (rows, width), channels = x.shape, len(mean)
    size, near = -(-rows // chunks), _near_means(x, channels)
    center = _spread(near, width)
    totals, squares = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    for t in prange(chunks):
        own = slice(t * size, (t + 1) * size)
        _deviations(x[own], center, totals[t], squares[t])
    a, b, m = np.empty_like(mean), np.empty_like(mean), x.size / channels
    finish_forward(near, totals, squares, m, dof, eps, gamma, beta, mean, var, inv_std, a, b)
    scale, shift = _spread(a, width), _spread(b, width)
    for t in prange(chunks):
        own = slice(t * size, (t + 1) * size)
        _activated(x[own], center, scale, shift, activation, y[own])


@Threaded
def columns_backward(x, y, gy, activation, chunks, gamma, mean, inv_std, dof, gx, ggamma, gbeta):
    (rows, width), channels = x.shape, len(mean)
    size, center = -(-rows // chunks), _spread(mean, width)
    totals, products = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    gradients = np.zeros((chunks, channels))
    for t in prange(chunks):
        own = slice(t * size, (t + 1) * size)
        sums = totals[t], products[t], gradients[t]
        _products(x[own], y[own], gy[own], activation, center, *sums)
    a, b, e = np.empty_like(mean), np.empty_like(mean), np.empty_like(mean)
    m = x.size / channels
    finish_backward(totals, products, gradients, m, dof, gamma, inv_std, ggamma, gbeta, a, b, e)
    slope, shift, scale = _spread(a, width), _spread(b, width), _spread(e, width)
    for t in prange(chunks):
        made = np.empty(ROWS * width, x.dtype)
        for start in range(t * size, min((t + 1) * size, rows), ROWS):
            own = slice(start, min(start + ROWS, (t + 1) * size))
            g = _before(activation, y[own].reshape(-1), gy[own].reshape(-1), made)
            _gradient(x[own], g.reshape(-1, width), center, slope, shift, scale, gx[own])


@Threaded
def columns_frozen(x, chunks, gamma, beta, mean, var, eps, activation, y):
    """y = (x - mean) gamma / sqrt(var + eps) + beta."""
    rows, width = x.shape
    size, center = -(-rows // chunks), _spread(mean, width)
    wide_scale, wide_beta = _spread(frozen_scale(gamma, var, eps), width), _spread(beta, width)
    for t in prange(chunks):
        own = slice(t * size, (t + 1) * size)
        _activated(x[own], center, wide_scale, wide_beta, activation, y[own])


@Threaded
def column_sums(x, y):
    """The sum of each column, at most ``RUN`` values of it in the precision of x."""
    total, part = np.zeros(x.shape[1]), np.zeros(x.shape[1], x.dtype)
    for start in range(0, len(x), RUN):
        for i in range(start, min(start + RUN, len(x))):
            row = x[i]
            for w in range(len(part)):
                part[w] += row[w]
        _narrow(part, total)
    for w in range(len(y)):
        y[w] = total[w]
