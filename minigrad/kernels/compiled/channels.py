"""What batch norm computes once for each channel, between its two walks over the values."""

from __future__ import annotations

import math

import numpy as np

from .launch import inner


@inner
def finish_forward(
    near, totals, squares, m, dof, eps, gamma, beta, mean, var, inv_std, scale, shift
):
    """Statistics from the sums of chunks; y = (x - near) scale + shift, of which x - near is exact."""
    for c in range(len(mean)):
        total = square = 0.0
        for t in range(len(totals)):
            total += totals[t, c]
            square += squares[t, c]
        offset = total / m
        mean[c] = near[c] + offset
        var[c] = max(square - offset * total, 0.0) / dof
        inv_std[c] = 1 / math.sqrt(var[c] + eps)
        scale[c] = inv_std[c] * gamma[c]
        shift[c] = beta[c] - offset * scale[c]


@inner
def finish_backward(
    totals, products, gradients, m, dof, gamma, inv_std, ggamma, gbeta, slope, shift, scale
):
    """Gradients from the sums of chunks; gx = (gy - slope (x - mean) - shift) scale."""
    for c in range(len(ggamma)):
        total = product = gradient = 0.0
        for t in range(len(totals)):
            total += totals[t, c]
            product += products[t, c]
            gradient += gradients[t, c]
        offset = total / m  # the mean was rounded
        gbeta[c] = gradient
        ggamma[c] = (product - offset * gradient) * inv_std[c]
        a = ggamma[c] * inv_std[c] / dof
        slope[c] = a
        shift[c] = gradient / m - offset * a
        scale[c] = inv_std[c] * gamma[c]


@inner
def frozen_scale(gamma, var, eps):
    """gamma / sqrt(var + eps)."""
    scale, one = np.empty_like(var), var.dtype.type(1)
    for c in range(len(var)):
        scale[c] = (one / np.sqrt(var[c] + var.dtype.type(eps))) * gamma[c]
    return scale
