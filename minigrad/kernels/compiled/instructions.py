"""Instructions: the kernels for programs, each of which reads its arguments from a row (``program``).

They are those that are called from Python, with the same results to the last bit. What only Python can say, such as an
error, they leave to it: they stop the program, and have changed nothing.
"""

from __future__ import annotations

import numpy as np

from . import batch_norm, chains, elementwise, products, running
from .program import FIRST, NUMBERS, STOPPED, THREADS, WORDS, array, instruction
from .threads import serial

REAL, WHOLE, DOUBLE = np.float32(0), np.int64(0), 0.0


@serial
def _row(words, numbers):
    """A row, its arguments that are whole, and those that are not."""
    row = array(words, (WORDS,), WHOLE)
    return row, row[FIRST:], array(numbers, (NUMBERS,), DOUBLE)


@serial
def _vector(address, n):
    return array(address, (n,), REAL)


@serial
def _matrix(address, rows, columns):
    return array(address, (rows, columns), REAL)


# --- products ---

_product, _product_threaded = products._product.serial, products._product.parallel


@instruction
def product(words, numbers, together):
    row, w, _ = _row(words, numbers)
    m, k, n, ta, tb, down, across = w[3], w[4], w[5], w[6] != 0, w[7] != 0, w[8], w[9]
    a = _matrix(w[0], k if ta else m, m if ta else k)
    b = _matrix(w[1], n if tb else k, k if tb else n)
    c = _matrix(w[2], m, n)
    if together and row[THREADS] > 1:
        _product_threaded(a, ta, b, tb, c, down, across, False)
    else:
        _product(a, ta, b, tb, c, down, across, False)


_packed_product = products._packed_product.serial
_packed_product_threaded = products._packed_product.parallel


@instruction
def packed_product(words, numbers, together):
    row, w, _ = _row(words, numbers)
    m, k, n, down, across = w[3], w[4], w[5], w[9], w[10]
    a, c = _matrix(w[0], m, k), _matrix(w[2], m, n)
    panels = array(w[1], (w[6], w[7], w[8], products.WIDTH // 2), REAL)
    if together and row[THREADS] > 1:
        _packed_product_threaded(a, panels, c, down, across)
    else:
        _packed_product(a, panels, c, down, across)


@instruction
def few_rows(words, numbers, together):
    _, w, _ = _row(words, numbers)
    m, k, n = w[3], w[4], w[5]
    products._few(_matrix(w[0], m, k), _matrix(w[1], n, k), _matrix(w[2], m, n))


@instruction
def add_row(words, numbers, together):
    _, w, _ = _row(words, numbers)
    y, bias = _matrix(w[0], w[2], w[3]), _vector(w[1], w[3])
    for i in range(len(y)):
        own = y[i]
        for j in range(len(bias)):
            own[j] += bias[j]


@instruction
def column_sums(words, numbers, together):
    _, w, _ = _row(words, numbers)
    batch_norm.column_sums(_matrix(w[0], w[2], w[3]), _vector(w[1], w[3]))


# --- batch normalization ---

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


@instruction
def columns_forward(words, numbers, together):
    row, w, f = _row(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, y = _matrix(w[5], shape[0], shape[1]), _matrix(w[6], shape[0], shape[1])
    gamma, beta, mean = _vector(w[7], c), _vector(w[8], c), _vector(w[9], c)
    var, inv_std = _vector(w[10], c), _vector(w[11], c)
    affine = gamma, beta, f[0], f[1], w[12]
    if together and row[THREADS] > 1:
        _columns_forward_threaded(x, chunks, *affine, y, mean, var, inv_std)
    else:
        _columns_forward(x, chunks, *affine, y, mean, var, inv_std)


@instruction
def planes_forward(words, numbers, together):
    row, w, f = _row(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, y = _planes(w[5], shape), _planes(w[6], shape)
    gamma, beta, mean = _vector(w[7], c), _vector(w[8], c), _vector(w[9], c)
    var, inv_std = _vector(w[10], c), _vector(w[11], c)
    affine = gamma, beta, f[0], f[1], w[12]
    if together and row[THREADS] > 1:
        _planes_forward_threaded(x, chunks, *affine, y, mean, var, inv_std)
    else:
        _planes_forward(x, chunks, *affine, y, mean, var, inv_std)


@instruction
def columns_backward(words, numbers, together):
    row, w, f = _row(words, numbers)
    chunks, c, rows, width = w[0], w[1], w[2], w[3]
    x, gx = _matrix(w[5], rows, width), _matrix(w[8], rows, width)
    y, gy = _matrix(w[6], rows, width), _matrix(w[7], rows, width)
    gamma, mean, inv_std = _vector(w[9], c), _vector(w[10], c), _vector(w[11], c)
    ggamma, gbeta = _vector(w[12], c), _vector(w[13], c)
    before, known = (x, y, gy, w[14]), (gamma, mean, inv_std, f[0])
    if together and row[THREADS] > 1:
        _columns_backward_threaded(*before, chunks, *known, gx, ggamma, gbeta)
    else:
        _columns_backward(*before, chunks, *known, gx, ggamma, gbeta)


@instruction
def planes_backward(words, numbers, together):
    row, w, f = _row(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, gx = _planes(w[5], shape), _planes(w[8], shape)
    y, gy = _planes(w[6], shape), _planes(w[7], shape)
    gamma, mean, inv_std = _vector(w[9], c), _vector(w[10], c), _vector(w[11], c)
    ggamma, gbeta = _vector(w[12], c), _vector(w[13], c)
    before, known = (x, y, gy, w[14]), (gamma, mean, inv_std, f[0])
    if together and row[THREADS] > 1:
        _planes_backward_threaded(*before, chunks, *known, gx, ggamma, gbeta)
    else:
        _planes_backward(*before, chunks, *known, gx, ggamma, gbeta)


@instruction
def columns_frozen(words, numbers, together):
    row, w, f = _row(words, numbers)
    chunks, c, rows, width = w[0], w[1], w[2], w[3]
    x, y = _matrix(w[5], rows, width), _matrix(w[6], rows, width)
    gamma, beta, mean = _vector(w[7], c), _vector(w[8], c), _vector(w[9], c)
    var = _vector(w[10], c)
    if together and row[THREADS] > 1:
        _columns_frozen_threaded(x, chunks, gamma, beta, mean, var, f[0], w[11], y)
    else:
        _columns_frozen(x, chunks, gamma, beta, mean, var, f[0], w[11], y)


@instruction
def planes_frozen(words, numbers, together):
    row, w, f = _row(words, numbers)
    chunks, c, shape = w[0], w[1], w[2:]
    x, y = _planes(w[5], shape), _planes(w[6], shape)
    gamma, beta, mean = _vector(w[7], c), _vector(w[8], c), _vector(w[9], c)
    var = _vector(w[10], c)
    if together and row[THREADS] > 1:
        _planes_frozen_threaded(x, chunks, gamma, beta, mean, var, f[0], w[11], y)
    else:
        _planes_frozen(x, chunks, gamma, beta, mean, var, f[0], w[11], y)


@instruction
def move_statistics(words, numbers, together):
    row, w, f = _row(words, numbers)
    c, num_batches = w[5], array(w[2], (), WHOLE)
    moving = _vector(w[0], c), _vector(w[1], c), num_batches
    found = _vector(w[3], c), _vector(w[4], c)
    moved = running.move_statistics(*moving, *found, f[0], f[1], w[6] != 0)
    row[STOPPED] = not moved


# --- element by element ---

_sigmoid, _sigmoid_threaded = elementwise.sigmoid.serial, elementwise.sigmoid.parallel
_sigmoid_grad = elementwise.sigmoid_grad.serial
_sigmoid_grad_threaded = elementwise.sigmoid_grad.parallel
_relu, _relu_threaded = elementwise.relu.serial, elementwise.relu.parallel
_relu_grad, _relu_grad_threaded = elementwise.relu_grad.serial, elementwise.relu_grad.parallel


@instruction
def sigmoid(words, numbers, together):
    row, w, _ = _row(words, numbers)
    x, y = _vector(w[0], w[2]), _vector(w[1], w[2])
    if together and row[THREADS] > 1:
        _sigmoid_threaded(x, y)
    else:
        _sigmoid(x, y)


@instruction
def relu(words, numbers, together):
    row, w, _ = _row(words, numbers)
    x, y = _vector(w[0], w[2]), _vector(w[1], w[2])
    if together and row[THREADS] > 1:
        _relu_threaded(x, y)
    else:
        _relu(x, y)


@instruction
def sigmoid_grad(words, numbers, together):
    row, w, _ = _row(words, numbers)
    y, gy, gx = _vector(w[0], w[3]), _vector(w[1], w[3]), _vector(w[2], w[3])
    if together and row[THREADS] > 1:
        _sigmoid_grad_threaded(y, gy, gx)
    else:
        _sigmoid_grad(y, gy, gx)


@instruction
def relu_grad(words, numbers, together):
    row, w, _ = _row(words, numbers)
    x, gy, gx = _vector(w[0], w[3]), _vector(w[1], w[3]), _vector(w[2], w[3])
    if together and row[THREADS] > 1:
        _relu_grad_threaded(x, gy, gx)
    else:
        _relu_grad(x, gy, gx)


_chain, _chain_threaded = chains.chain.serial, chains.chain.parallel
_add_into, _add_into_threaded = chains.add_into.serial, chains.add_into.parallel


@instruction
def chain(words, numbers, together):
    row, w, _ = _row(words, numbers)
    if together and row[THREADS] > 1:
        _chain_threaded(w)
    else:
        _chain(w)


@instruction
def add_into(words, numbers, together):
    row, w, _ = _row(words, numbers)
    a, b = _vector(w[0], w[2]), _vector(w[1], w[2])
    if together and row[THREADS] > 1:
        _add_into_threaded(a, b)
    else:
        _add_into(a, b)


# --- the loss ---

_cross_entropy = elementwise.softmax_cross_entropy.serial
_cross_entropy_threaded = elementwise.softmax_cross_entropy.parallel


@instruction
def softmax_cross_entropy(words, numbers, together):
    """The losses of all examples, or with ``w[6]`` their weighted sum."""
    row, w, f = _row(words, numbers)
    n, classes = w[4], w[5]
    logits, p = _matrix(w[0], n, classes), _matrix(w[3], n, classes)
    labels = array(w[1], (n,), WHOLE)
    losses, found = np.empty(n, np.float32), np.empty(2)
    if together and row[THREADS] > 1:
        _cross_entropy_threaded(logits, labels, losses, p, found)
    else:
        _cross_entropy(logits, labels, losses, p, found)
    if w[6]:
        _vector(w[2], 1)[0] = found[0] * f[0]
    else:
        _vector(w[2], n)[:] = losses
    row[STOPPED] = found[1] == 0


@instruction
def softmax_cross_entropy_grad(words, numbers, together):
    _, w, f = _row(words, numbers)
    n, classes = w[4], w[5]
    p, labels = _matrix(w[0], n, classes), array(w[1], (n,), WHOLE)
    gy, g = _vector(w[2], w[6]), _matrix(w[3], n, classes)
    elementwise.softmax_cross_entropy_grad(p, labels, gy, np.float32(f[0]), g)


# --- updates ---

_descend, _descend_threaded = elementwise.descend.serial, elementwise.descend.parallel
_momentum = elementwise.descend_with_momentum.serial
_momentum_threaded = elementwise.descend_with_momentum.parallel
_adam, _adam_threaded = elementwise.adam.serial, elementwise.adam.parallel


@instruction
def count(words, numbers, together):
    """One more for each of the first ``w[1]``."""
    _, w, _ = _row(words, numbers)
    steps = array(w[0], (w[1],), WHOLE)
    for i in range(len(steps)):
        steps[i] += 1


@instruction
def descend(words, numbers, together):
    row, w, f = _row(words, numbers)
    p, g = _vector(w[0], w[2]), _vector(w[1], w[2])
    lr, weight_decay = np.float32(f[0]), np.float32(f[1])
    if together and row[THREADS] > 1:
        _descend_threaded(p, g, lr, weight_decay)
    else:
        _descend(p, g, lr, weight_decay)


@instruction
def descend_with_momentum(words, numbers, together):
    row, w, f = _row(words, numbers)
    p, v, g, nesterov = _vector(w[0], w[3]), _vector(w[1], w[3]), _vector(w[2], w[3]), w[4] != 0
    lr, weight_decay, momentum = np.float32(f[0]), np.float32(f[1]), np.float32(f[2])
    if together and row[THREADS] > 1:
        _momentum_threaded(p, v, g, lr, weight_decay, momentum, nesterov)
    else:
        _momentum(p, v, g, lr, weight_decay, momentum, nesterov)


@instruction
def adam(words, numbers, together):
    """As many steps as stand at ``w[4]`` have been taken, this one included."""
    row, w, f = _row(words, numbers)
    n, step = w[5], array(w[4], (1,), WHOLE)[0]
    p, first, second, g = _vector(w[0], n), _vector(w[1], n), _vector(w[2], n), _vector(w[3], n)
    if together and row[THREADS] > 1:
        _adam_threaded(p, first, second, g, step, f[0], f[1], f[2], f[3], f[4])
    else:
        _adam(p, first, second, g, step, f[0], f[1], f[2], f[3], f[4])
