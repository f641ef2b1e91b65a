"""Windows over images as loops: patches for convolutions, their way back, and pooling.

Channels lie next to each other. A thread takes an image, or a row of one, at a time.
"""

from __future__ import annotations

import numpy as np

from .launch import inner, kernel, share
from .vectors import WIDTH, address, transpose_square

#: pixels that a thread takes at a time
PIXELS = 256


@inner
def _channels_last(item, x, y):
    _, channels, pixels = x.shape
    side, size, parts = WIDTH // x.itemsize, x.itemsize, -(-pixels // PIXELS)
    image, start = item // parts, item % parts * PIXELS
    stop = min(start + PIXELS, pixels)
    source, target = x[image], y[image]
    squares = start + (stop - start) // side * side if channels >= side else start
    for p in range(start, squares, side):
        for c in range(0, channels - side + 1, side):
            transpose_square(
                address(source) + size * (c * pixels + p),
                pixels,
                address(target) + size * (p * channels + c),
                channels,
                x[0, 0, 0],
            )
    for c in range(channels):
        row = source[c]
        for p in range(start if c >= channels // side * side else squares, stop):
            target[p, c] = row[p]


@kernel
def channels_last(x, y):
    """From (n, channels, pixels) to (n, pixels, channels)."""
    share(x.size, len(x) * -(-x.shape[2] // PIXELS), _channels_last, (x, y))


@inner
def _inside(count, width, offset, stride):
    """The first and the last plus one of ``count`` windows whose place ``offset`` lies in a row of ``width``."""
    first = 0 if offset >= 0 else -(offset // stride)
    last = (width - 1 - offset) // stride + 1
    return min(first, count), max(min(last, count), min(first, count))


@inner
def _patches(item, x, first, kernel, stride, padding, dilation, channels, out):
    _, rows, _ = x.shape
    columns = x.shape[2] // channels
    height, width = out.shape[1:3]
    run = kernel[1] if dilation[1] == 1 else 1
    image, i = item // height, item % height
    for u in range(kernel[0]):
        r = (first + i) * stride[0] + u * dilation[0] - padding[0]
        if not 0 <= r < rows:
            for j in range(width):
                target = out[image, i, j, u]
                for k in range(len(target)):
                    target[k] = 0
            continue
        source = x[image, r]
        for v in range(0, kernel[1], run):
            offset = v * dilation[1] - padding[1]
            for j in range(width):
                target, c = out[image, i, j, u], j * stride[1] + offset
                if c >= 0 and c + run <= columns:
                    seen = source[c * channels : (c + run) * channels]
                    copy = target[v * channels :]
                    for k in range(len(seen)):
                        copy[k] = seen[k]
                    continue
                for w in range(run):
                    inside = 0 <= c + w < columns
                    for k in range(channels):
                        value = source[(c + w) * channels + k] if inside else 0
                        target[(v + w) * channels + k] = value


@kernel
def patches(x, first, kernel, stride, padding, dilation, channels, out):
    """What windows see, zeros outside.

    x (n, rows, columns channels); out (n, height, width, kernel height, kernel width channels), for the windows' rows
    from ``first`` on. Places of a window that lie next to each other are copied in one run.
    """
    given = x, first, kernel, stride, padding, dilation, channels, out
    share(out.size, out.shape[0] * out.shape[1], _patches, given)


@inner
def _patch_rows(item, x, first, kernel, stride, padding, dilation, channels, out):
    _, rows, _ = x.shape
    columns = x.shape[2] // channels
    height, width = out.shape[4:]
    step = stride[1] * channels
    image, i = item // height, item % height
    for u in range(kernel[0]):
        r = (first + i) * stride[0] + u * dilation[0] - padding[0]
        for v in range(kernel[1]):
            offset, start, stop = v * dilation[1] - padding[1], 0, 0
            if 0 <= r < rows:
                start, stop = _inside(width, columns, offset, stride[1])
            for k in range(channels):
                target = out[u, v, k, image, i]
                for j in range(start):
                    target[j] = 0
                for j in range(stop, width):
                    target[j] = 0
                if start < stop:
                    source = x[image, r, (start * stride[1] + offset) * channels + k :]
                    seen = target[start:stop]
                    if step == 1:  # in vector lanes
                        for j in range(len(seen)):
                            seen[j] = source[j]
                    else:
                        for j in range(len(seen)):
                            seen[j] = source[j * step]


@kernel
def patch_rows(x, first, kernel, stride, padding, dilation, channels, out):
    """The same for few channels: out (kernel height, kernel width, channels, n, height, width)."""
    given = x, first, kernel, stride, padding, dilation, channels, out
    share(out.size, out.shape[3] * out.shape[4], _patch_rows, given)


@inner
def _add_patches(image, patches, first, kernel, stride, padding, dilation, channels, x):
    _, height, width = patches.shape[:3]
    rows, columns = x.shape[1], x.shape[2] // channels
    for i in range(height):
        for u in range(kernel[0]):
            r = (first + i) * stride[0] + u * dilation[0] - padding[0]
            if not 0 <= r < rows:
                continue
            target = x[image, r]
            for j in range(width):
                source = patches[image, i, j, u]
                for v in range(kernel[1]):
                    c = j * stride[1] + v * dilation[1] - padding[1]
                    if 0 <= c < columns:
                        total = target[c * channels : (c + 1) * channels]
                        part = source[v * channels :]
                        for k in range(channels):
                            total[k] += part[k]


@kernel
def add_patches(patches, first, kernel, stride, padding, dilation, channels, x):
    """x (n, rows, columns channels) += what windows (n, height, width, kernel height, kernel width channels) hold."""
    given = patches, first, kernel, stride, padding, dilation, channels, x
    share(patches.size, len(x), _add_patches, given)


@inner
def _max_pool(item, x, kernel, stride, padding, dilation, y, place):
    _, height, width, channels = y.shape
    _, rows, columns, _ = x.shape
    image, i = item // height, item % height
    for j in range(width):
        values, places = y[image, i, j], place[image, i, j]
        values[:], places[:] = -np.inf, -1
        for u in range(kernel[0]):
            r = i * stride[0] + u * dilation[0] - padding[0]
            for v in range(kernel[1]):
                c = j * stride[1] + v * dilation[1] - padding[1]
                if not (0 <= r < rows and 0 <= c < columns):
                    continue
                source = x[image, r, c]
                index = np.int16(u * kernel[1] + v)
                for k in range(channels):
                    # Neither a NaN that comes is passed over, nor one that is there replaced.
                    stays = source[k] <= values[k] or values[k] != values[k]
                    stays = stays and places[k] >= 0
                    values[k] = values[k] if stays else source[k]
                    places[k] = places[k] if stays else index


@kernel
def max_pool(x, kernel, stride, padding, dilation, y, place):
    """The largest value of each window, and at which of its places it stands, the first of equals."""
    given = x, kernel, stride, padding, dilation, y, place
    share(x.size, y.shape[0] * y.shape[1], _max_pool, given)


@inner
def _max_pool_grad(image, gy, place, kernel, stride, padding, dilation, gx, found):
    _, height, width, channels = gy.shape
    _, rows, columns, _ = gx.shape
    for i in range(height):
        for j in range(width):
            for k in range(channels):
                index = place[image, i, j, k]
                r = i * stride[0] + index // kernel[1] * dilation[0] - padding[0]
                c = j * stride[1] + index % kernel[1] * dilation[1] - padding[1]
                if 0 <= index < kernel[0] * kernel[1] and 0 <= r < rows and 0 <= c < columns:
                    gx[image, r, c, k] += gy[image, i, j, k]
                else:
                    found[0] = False


@kernel
def max_pool_grad(gy, place, kernel, stride, padding, dilation, gx, found):
    """gx += gy at the places; gx (n, rows, columns, channels) begins as zeros.

    ``found`` gets whether all places are of their windows and over the images; nothing is added at others.
    """
    found[0] = True
    given = gy, place, kernel, stride, padding, dilation, gx, found
    share(gy.size, len(gx), _max_pool_grad, given)
    return found[0]


@inner
def _sum_pool(item, x, kernel, stride, padding, dilation, y):
    _, height, width, channels = y.shape
    _, rows, columns, _ = x.shape
    image, i = item // height, item % height
    for j in range(width):
        total = y[image, i, j]
        total[:] = 0
        for u in range(kernel[0]):
            r = i * stride[0] + u * dilation[0] - padding[0]
            for v in range(kernel[1]):
                c = j * stride[1] + v * dilation[1] - padding[1]
                if 0 <= r < rows and 0 <= c < columns:
                    part = x[image, r, c]
                    for k in range(channels):
                        total[k] += part[k]


@kernel
def sum_pool(x, kernel, stride, padding, dilation, y):
    """The sum of each window; x (n, rows, columns, channels)."""
    given = x, kernel, stride, padding, dilation, y
    share(x.size, y.shape[0] * y.shape[1], _sum_pool, given)


@inner
def _sum_pool_grad(image, gy, kernel, stride, padding, dilation, gx):
    _, height, width, channels = gy.shape
    _, rows, columns, _ = gx.shape
    for i in range(height):
        for j in range(width):
            part = gy[image, i, j]
            for u in range(kernel[0]):
                r = i * stride[0] + u * dilation[0] - padding[0]
                for v in range(kernel[1]):
                    c = j * stride[1] + v * dilation[1] - padding[1]
                    if 0 <= r < rows and 0 <= c < columns:
                        total = gx[image, r, c]
                        for k in range(channels):
                            total[k] += part[k]


@kernel
def sum_pool_grad(gy, kernel, stride, padding, dilation, gx):
    """gx += gy in all places of its window; gx (n, rows, columns, channels) begins as zeros."""
    share(gx.size, len(gx), _sum_pool_grad, (gy, kernel, stride, padding, dilation, gx))
