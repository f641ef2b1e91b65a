"""Instructions of batch normalization; see ``instructions``."""

from __future__ import annotations

from . import batch_norm, running
from .arguments import REAL, WHOLE, matrix, read, vector
from .program import STOPPED, array, instruction
from .threads import serial

_columns_forward = batch_norm.columns_forward.serial
_columns_forward_threaded = batch_norm.columns_forward.parallel
_columns_backward = batch_norm.columns_backward.serial
_columns_backward_threaded = batch_norm.columns_backward.parallel
_columns_frozen = batch_norm.columns_frozen.serial
_columns_frozen_threaded = batch_norm.columns_frozen.parallel
_planes_forward = batch_norm.planes_forward.serial
_planes_forward_threaded = batch_norm.planes_forward.parallel
_planes_backward = batch_norm.planes_backward.serial
_planes_backward_threaded = batch_norm.planes_backward.parallel
_planes_frozen = batch_norm.planes_frozen.serial
_planes_frozen_threaded = batch_norm.planes_frozen.parallel


@serial
def _planes(address, w):
    return array(address, (w[0], w[1], w[2]), REAL)


@serial
def columns_forward_row(words, numbers):
    _, w, f = read(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, y = matrix(w[5], shape[0], shape[1]), matrix(w[6], shape[0], shape[1])
    gamma, beta, mean = vector(w[7], c), vector(w[8], c), vector(w[9], c)
    var, inv_std = vector(w[10], c), vector(w[11], c)
    affine = gamma, beta, f[0], f[1], w[12]
    return x, chunks, *affine, y, mean, var, inv_std


@instruction
def columns_forward(words, numbers):
    _columns_forward(*columns_forward_row(words, numbers))


@instruction
def columns_forward_threaded(words, numbers):
    _columns_forward_threaded(*columns_forward_row(words, numbers))


@serial
def planes_forward_row(words, numbers):
    _, w, f = read(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, y = _planes(w[5], shape), _planes(w[6], shape)
    gamma, beta, mean = vector(w[7], c), vector(w[8], c), vector(w[9], c)
    var, inv_std = vector(w[10], c), vector(w[11], c)
    affine = gamma, beta, f[0], f[1], w[12]
    return x, chunks, *affine, y, mean, var, inv_std


@instruction
def planes_forward(words, numbers):
    _planes_forward(*planes_forward_row(words, numbers))


@instruction
def planes_forward_threaded(words, numbers):
    _planes_forward_threaded(*planes_forward_row(words, numbers))


@serial
def columns_backward_row(words, numbers):
    _, w, f = read(words, numbers)
    chunks, c, rows, width = w[0], w[1], w[2], w[3]
    x, gx = matrix(w[5], rows, width), matrix(w[8], rows, width)
    y, gy = matrix(w[6], rows, width), matrix(w[7], rows, width)
    gamma, mean, inv_std = vector(w[9], c), vector(w[10], c), vector(w[11], c)
    ggamma, gbeta = vector(w[12], c), vector(w[13], c)
    before, known = (x, y, gy, w[14]), (gamma, mean, inv_std, f[0])
    return *before, chunks, *known, gx, ggamma, gbeta


@instruction
def columns_backward(words, numbers):
    _columns_backward(*columns_backward_row(words, numbers))


@instruction
def columns_backward_threaded(words, numbers):
    _columns_backward_threaded(*columns_backward_row(words, numbers))


@serial
def planes_backward_row(words, numbers):
    _, w, f = read(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, gx = _planes(w[5], shape), _planes(w[8], shape)
    y, gy = _planes(w[6], shape), _planes(w[7], shape)
    gamma, mean, inv_std = vector(w[9], c), vector(w[10], c), vector(w[11], c)
    ggamma, gbeta = vector(w[12], c), vector(w[13], c)
    before, known = (x, y, gy, w[14]), (gamma, mean, inv_std, f[0])
    return *before, chunks, *known, gx, ggamma, gbeta


@instruction
def planes_backward(words, numbers):
    _planes_backward(*planes_backward_row(words, numbers))


@instruction
def planes_backward_threaded(words, numbers):
    _planes_backward_threaded(*planes_backward_row(words, numbers))


@serial
def columns_frozen_row(words, numbers):
    _, w, f = read(words, numbers)
    chunks, c, rows, width = w[0], w[1], w[2], w[3]
    x, y = matrix(w[5], rows, width), matrix(w[6], rows, width)
    gamma, beta, mean = vector(w[7], c), vector(w[8], c), vector(w[9], c)
    var = vector(w[10], c)
    return x, chunks, gamma, beta, mean, var, f[0], w[11], y


@instruction
def columns_frozen(words, numbers):
    _columns_frozen(*columns_frozen_row(words, numbers))


@instruction
def columns_frozen_threaded(words, numbers):
    _columns_frozen_threaded(*columns_frozen_row(words, numbers))


@serial
def planes_frozen_row(words, numbers):
    _, w, f = read(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, y = _planes(w[5], shape), _planes(w[6], shape)
    gamma, beta, mean = vector(w[7], c), vector(w[8], c), vector(w[9], c)
    var = vector(w[10], c)
    return x, chunks, gamma, beta, mean, var, f[0], w[11], y


@instruction
def planes_frozen(words, numbers):
    _planes_frozen(*planes_frozen_row(words, numbers))


@instruction
def planes_frozen_threaded(words, numbers):
    _planes_frozen_threaded(*planes_frozen_row(words, numbers))


@instruction
def move_statistics(words, numbers):
    row, w, f = read(words, numbers)
    c, num_batches = w[5], array(w[2], (), WHOLE)
    moving = vector(w[0], c), vector(w[1], c), num_batches
    found = vector(w[3], c), vector(w[4], c)
    moved = running.move_statistics(*moving, *found, f[0], f[1], w[6] != 0)
    row[STOPPED] = not moved
