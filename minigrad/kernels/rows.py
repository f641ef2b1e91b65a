"""Batch norm over channels that lie next to each other in memory, with NumPy, in blocks that stay in cache.

Values (m, channels), whatever their shape is, are looked at as fewer and longer rows, several times the channels:
NumPy's loops run along rows, and the sums over them are products with a vector of ones (BLAS). A block of rows is read
into cache once for all that is done with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from . import pool

#: numbers in a block: 256 KiB of float32, a fraction of a core's second cache
BLOCK = 2**16
#: numbers in a row, about
LONG = 1024
#: fewer values than this are not worth blocks
MANY = 2**16
#: values of a channel that say where its mean is
NEAR = 32


class Rows:
    """An array of whole channels as long rows, if its memory allows it."""

    def __init__(self, x: np.ndarray, channels: int, repeats: int) -> None:
        self.rows = x.reshape(-1, repeats * channels)
        self.channels, self.repeats = channels, repeats
        self.step = max(BLOCK // self.rows.shape[1], 1)

    def __iter__(self) -> Iterator[slice]:
        return (slice(i, i + self.step) for i in range(0, len(self.rows), self.step))

    def like(self, x: np.ndarray) -> np.ndarray:
        """Another array of the same channels, as rows."""
        return x.reshape(self.rows.shape)

    def scratch(self) -> np.ndarray:
        return pool.empty((min(self.step, len(self.rows)), self.rows.shape[1]), self.rows.dtype)

    def spread(self, channels: np.ndarray) -> np.ndarray:
        """Per-channel numbers along a row."""
        return np.tile(channels, self.repeats)

    def narrow(self, sums: np.ndarray) -> np.ndarray:
        """Sums along a row as per-channel ones."""
        return sums.reshape(self.repeats, self.channels).sum(0)


def channels_last(x: np.ndarray, kept: tuple[int, ...]) -> np.ndarray | None:
    """x as (..., channels), without a copy; None if they do not lie so, or x is small."""
    if len(kept) != 1 or x.size < MANY or x.dtype.itemsize == 2:
        return None
    last = np.moveaxis(x, kept[0], -1)
    return last if last.flags.c_contiguous else None


def rows_of(x: np.ndarray) -> Rows:
    """(..., channels) as rows."""
    channels = x.shape[-1]
    most = 2 ** max(int(math.log2(max(LONG // channels, 1))), 0)
    return Rows(x, channels, math.gcd(x.size // channels, most))


@lru_cache(maxsize=64)
def ones(n: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(n, dtype)


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of x (..., channels): a value near the mean, the mean minus that, the sum of the squared deviations.

    Sums are of deviations from that value, so a large mean costs no digits.
    """
    view = rows_of(x)
    near = _near(x.reshape(-1, view.channels)[:NEAR])
    shift, scratch = view.spread(near), view.scratch()
    total, squares = np.zeros((2, len(shift)), x.dtype)
    for block in view:
        values = view.rows[block]
        one = ones(len(values), x.dtype)
        d = np.subtract(values, shift, out=scratch[: len(values)])
        total += one.dot(d)
        squares += one.dot(np.multiply(d, d, out=d))
    total, m2 = view.narrow(total), view.narrow(squares)
    rest = total / (x.size // view.channels)
    m2 -= rest * total
    return near, rest, np.maximum(m2, 0, out=m2)


def _near(head: np.ndarray) -> np.ndarray:
    """The mean of some values, and the value itself where all are the same."""
    first: np.ndarray = head[0]
    return first + (head - first).mean(axis=0, dtype=first.dtype)


def affine(
    x: np.ndarray, center: np.ndarray, scale: np.ndarray, shift: np.ndarray | None
) -> np.ndarray:
    """(x - center) scale + shift."""
    view = rows_of(x)
    y = pool.empty_like(x)
    rows = view.like(y)
    centers, scales = view.spread(center), view.spread(scale)
    shifts = None if shift is None else view.spread(shift)
    for block in view:
        d = np.subtract(view.rows[block], centers, out=rows[block])
        d *= scales
        if shifts is not None:
            d += shifts
    return y


def gradients(
    x: np.ndarray,
    gy: np.ndarray,
    mean: np.ndarray,
    inv_std: np.ndarray,
    scale: np.ndarray,
    ddof: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gx, ggamma and gbeta of batch norm over x (..., channels); see ``Kernels.batch_norm_grad``."""
    view = rows_of(x)
    m, gys = x.size // view.channels, view.like(gy)
    center, scratch, product = view.spread(mean), view.scratch(), view.scratch()
    offsets, betas, gammas = np.zeros((3, len(center)), x.dtype)
    for block in view:
        g = gys[block]
        d = np.subtract(view.rows[block], center, out=scratch[: len(g)])
        one = ones(len(g), x.dtype)
        offsets += one.dot(d)
        betas += one.dot(g)
        gammas += one.dot(np.multiply(g, d, out=product[: len(g)]))
    offset, gbeta = view.narrow(offsets) / m, view.narrow(betas)
    ggamma = (view.narrow(gammas) - offset * gbeta) * inv_std
    slope = ggamma * inv_std / (m - ddof)
    # gx = scale (gy - gbeta / m - slope (d - offset)), one pass less with the scale inside
    slopes, shifts = view.spread(scale * slope), view.spread(scale * (gbeta / m - offset * slope))
    scales, gx = view.spread(scale), pool.empty_like(x)
    rows = view.like(gx)
    for block in view:
        g = np.multiply(gys[block], scales, out=rows[block])
        d = np.subtract(view.rows[block], center, out=scratch[: len(g)])
        d *= slopes
        d += shifts
        g -= d
    return gx, ggamma, gbeta
