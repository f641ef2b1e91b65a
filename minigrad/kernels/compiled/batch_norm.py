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

from .channels import finish_backward, finish_forward, frozen_scale
from .launch import inner, kernel, share, summing

RUN = 256
#: values of a plane summed at once, in vector lanes: fewer than RUN in each
PIECE = 2048
#: values that say where a mean is, about
FIRST = 8

# --- parts of columns: blocks of rows (rows, width) ---


@inner
def _add_deviations(x, shift, s, q):
    """Add d = x - shift and d d, column by column."""
    for i in range(len(x)):
        row = x[i]
        for w in range(len(shift)):
            d = row[w] - shift[w]
            s[w] += d
            q[w] += d * d


@inner
def _add_products(x, gy, center, s, p, q):
    """Add d = x - center, gy d and gy, column by column."""
    for i in range(len(x)):
        row, gradient = x[i], gy[i]
        for w in range(len(center)):
            d = row[w] - center[w]
            s[w] += d
            p[w] += gradient[w] * d
            q[w] += gradient[w]


@inner
def _gradient(t, x, gy, size, center, slope, shift, scale, gx):
    own = slice(t * size, (t + 1) * size)
    x, gy, gx = x[own], gy[own], gx[own]
    for i in range(len(x)):
        row, gradient, out = x[i], gy[i], gx[i]
        for w in range(len(center)):
            out[w] = (gradient[w] - (row[w] - center[w]) * slope[w] - shift[w]) * scale[w]


@inner
def _affine(t, x, size, center, scale, beta, y):
    own = slice(t * size, (t + 1) * size)
    x, y = x[own], y[own]
    for i in range(len(x)):
        row, out = x[i], y[i]
        for w in range(len(center)):
            out[w] = (row[w] - center[w]) * scale[w] + beta[w]


@inner
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


@inner
def _spread(values, width):
    """Numbers of channels along a row."""
    wide = np.empty(width, values.dtype)
    for start in range(0, width, len(values)):
        for c in range(len(values)):
            wide[start + c] = values[c]
    return wide


@inner
def _narrow(sums, into):
    """Add the sums of columns to those of their channels, and begin them again."""
    channels = len(into)
    for start in range(0, len(sums), channels):
        for c in range(channels):
            into[c] += sums[start + c]
            sums[start + c] = 0


@inner
def _deviations(t, x, size, shift, totals, squares):
    """The sums of d = x - shift and of d d of each channel, in float64."""
    s, q = np.zeros(len(shift), x.dtype), np.zeros(len(shift), x.dtype)
    last = min((t + 1) * size, len(x))
    for start in range(t * size, last, RUN):
        _add_deviations(x[start : min(start + RUN, last)], shift, s, q)
        _narrow(s, totals[t])
        _narrow(q, squares[t])


@inner
def _products(t, x, gy, size, center, totals, products, gradients):
    """The sums of d = x - center, of gy d and of gy of each channel, in float64."""
    s, p = np.zeros(len(center), x.dtype), np.zeros(len(center), x.dtype)
    q = np.zeros(len(center), x.dtype)
    last = min((t + 1) * size, len(x))
    for start in range(t * size, last, RUN):
        own = slice(start, min(start + RUN, last))
        _add_products(x[own], gy[own], center, s, p, q)
        _narrow(s, totals[t])
        _narrow(p, products[t])
        _narrow(q, gradients[t])


# --- planes ---


@inner
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


@inner
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


@inner
def _plane_deviations(t, x, size, near, totals, squares):
    n, channels, width = x.shape
    d = np.empty(min(width, PIECE), x.dtype)
    for plane in range(t * size, min((t + 1) * size, n * channels)):
        i, c = plane // channels, plane % channels
        for start in range(0, width, PIECE):
            run = x[i, c, start : start + PIECE]
            _minus(run, near[c], d)
            s, q = _sums(d[: len(run)])
            totals[t, c] += s
            squares[t, c] += q


@inner
def _affine_planes(t, x, size, center, scale, shift, y):
    n, channels, _ = x.shape
    for plane in range(t * size, min((t + 1) * size, n * channels)):
        i, c = plane // channels, plane % channels
        source, target = x[i, c], y[i, c]
        near, a, b = center[c], scale[c], shift[c]
        for j in range(len(source)):
            target[j] = (source[j] - near) * a + b


@inner
def _plane_products(t, x, gy, size, mean, totals, products, gradients):
    n, channels, width = x.shape
    d = np.empty(min(width, PIECE), x.dtype)
    for plane in range(t * size, min((t + 1) * size, n * channels)):
        i, c = plane // channels, plane % channels
        for start in range(0, width, PIECE):
            run, g = x[i, c, start : start + PIECE], gy[i, c, start : start + PIECE]
            _minus(run, mean[c], d)
            s, p, q = _sums_of_products(d[: len(run)], g)
            totals[t, c] += s
            products[t, c] += p
            gradients[t, c] += q


@inner
def _plane_gradients(t, x, gy, size, mean, slope, shift, scale, gx):
    n, channels, _ = x.shape
    for plane in range(t * size, min((t + 1) * size, n * channels)):
        i, c = plane // channels, plane % channels
        source, gradient, target = x[i, c], gy[i, c], gx[i, c]
        center, a, b, e = mean[c], slope[c], shift[c], scale[c]
        for j in range(len(source)):
            target[j] = (gradient[j] - (source[j] - center) * a - b) * e


@kernel
def planes_forward(x, chunks, gamma, beta, eps, dof, y, mean, var, inv_std):
    n, channels, width = x.shape
    size, near = -(-n * channels // chunks), np.empty(channels, x.dtype)
    for c in range(channels):
        near[c] = _near_mean(x, c)
    totals, squares = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    share(x.size, chunks, _plane_deviations, (x, size, near, totals, squares))
    a, b, m = np.empty(channels, x.dtype), np.empty(channels, x.dtype), n * width
    finish_forward(near, totals, squares, m, dof, eps, gamma, beta, mean, var, inv_std, a, b)
    share(x.size, chunks, _affine_planes, (x, size, near, a, b, y))


@kernel
def planes_backward(x, gy, chunks, gamma, mean, inv_std, dof, gx, ggamma, gbeta):
    n, channels, width = x.shape
    size, totals = -(-n * channels // chunks), np.zeros((chunks, channels))
    products, gradients = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    sums = totals, products, gradients
    share(x.size, chunks, _plane_products, (x, gy, size, mean, *sums))
    a, b = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    e, m = np.empty(channels, x.dtype), n * width
    finish_backward(*sums, m, dof, gamma, inv_std, ggamma, gbeta, a, b, e)
    share(x.size, chunks, _plane_gradients, (x, gy, size, mean, a, b, e, gx))


@kernel
def planes_frozen(x, chunks, gamma, beta, mean, var, eps, y):
    """y = (x - mean) gamma / sqrt(var + eps) + beta."""
    scale, size = frozen_scale(gamma, var, eps), -(-x.shape[0] * x.shape[1] // chunks)
    share(x.size, chunks, _affine_planes, (x, size, mean, scale, beta, y))


# --- columns ---


@kernel
def columns_forward(x, chunks, gamma, beta, eps, dof, y, mean, var, inv_std):
    (rows, width), channels = x.shape, len(mean)
    size, near = -(-rows // chunks), _near_means(x, channels)
    center = _spread(near, width)
    totals, squares = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    share(x.size, chunks, _deviations, (x, size, center, totals, squares))
    a, b, m = np.empty(channels, x.dtype), np.empty(channels, x.dtype), x.size / channels
    finish_forward(near, totals, squares, m, dof, eps, gamma, beta, mean, var, inv_std, a, b)
    scale, shift = _spread(a, width), _spread(b, width)
    share(x.size, chunks, _affine, (x, size, center, scale, shift, y))


@kernel
def columns_backward(x, gy, chunks, gamma, mean, inv_std, dof, gx, ggamma, gbeta):
    (rows, width), channels = x.shape, len(mean)
    size, center = -(-rows // chunks), _spread(mean, width)
    totals, products = np.zeros((chunks, channels)), np.zeros((chunks, channels))
    gradients = np.zeros((chunks, channels))
    sums = totals, products, gradients
    share(x.size, chunks, _products, (x, gy, size, center, *sums))
    a, b = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    e = np.empty(channels, x.dtype)
    finish_backward(*sums, x.size / channels, dof, gamma, inv_std, ggamma, gbeta, a, b, e)
    slope, shift, scale = _spread(a, width), _spread(b, width), _spread(e, width)
    share(x.size, chunks, _gradient, (x, gy, size, center, slope, shift, scale, gx))


@kernel
def columns_frozen(x, chunks, gamma, beta, mean, var, eps, y):
    """y = (x - mean) gamma / sqrt(var + eps) + beta."""
    rows, width = x.shape
    scale, shift = _spread(frozen_scale(gamma, var, eps), width), _spread(beta, width)
    given = x, -(-rows // chunks), _spread(mean, width), scale, shift, y
    share(x.size, chunks, _affine, given)


@kernel
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
