"""What batch norm computes once for each channel, between its two walks over the values.

Loops over few arrays: of more LLVM does not find out that they do not overlap, and makes no vectors.
"""

from __future__ import annotations

import math

import numpy as np

from .launch import inner


@inner
def _merged(parts):
    """The sums over all chunks, channel by channel, in the first row."""
    sums = parts[0]
    for t in range(1, len(parts)):
        part = parts[t]
        for c in range(len(sums)):
            sums[c] += part[c]
    return sums


@inner
def finish_forward(
    near, totals, squares, m, dof, eps, gamma, beta, mean, var, inv_std, scale, shift
):
    """Statistics from the sums of chunks; y = (x - near) scale + shift, of which x - near is exact."""
    total, square = _merged(totals), _merged(squares)
    for c in range(len(mean)):
        offset = total[c] / m
        mean[c] = near[c] + offset
        var[c] = max(square[c] - offset * total[c], 0.0) / dof
    for c in range(len(mean)):
        inv_std[c] = 1 / math.sqrt(var[c] + eps)
        scale[c] = inv_std[c] * gamma[c]
    for c in range(len(mean)):
        shift[c] = beta[c] - total[c] / m * scale[c]


@inner
def finish_backward(
    totals, products, gradients, m, dof, gamma, inv_std, ggamma, gbeta, slope, shift, scale
):
    """Gradients from the sums of chunks; gx = (gy - slope (x - mean) - shift) scale."""
    total, product, gradient = _merged(totals), _merged(products), _merged(gradients)
    for c in range(len(gbeta)):
        gbeta[c] = gradient[c]
    for c in range(len(ggamma)):
        offset = total[c] / m  # the mean was rounded
        ggamma[c] = (product[c] - offset * gradient[c]) * inv_std[c]
    for c in range(len(slope)):
        slope[c] = ggamma[c] * inv_std[c] / dof
        scale[c] = inv_std[c] * gamma[c]
    for c in range(len(shift)):
        shift[c] = gradient[c] / m - total[c] / m * (ggamma[c] * inv_std[c] / dof)


@inner
def frozen_scale(gamma, var, eps):
    """gamma / sqrt(var + eps)."""
    scale, one = np.empty(len(var), var.dtype), var.dtype.type(1)
    for c in range(len(var)):
        scale[c] = (one / np.sqrt(var[c] + var.dtype.type(eps))) * gamma[c]
    return scale
