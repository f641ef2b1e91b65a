"""Instructions: the kernels for programs, each of which reads its arguments from a row (``program``).

They are those that are called from Python, with the same results to the last bit. What only Python can say, such as an
error, they leave to it: they stop the program, and have changed nothing. Those that share large work between threads
have a twin that does: two, since each is compiled with all that it calls, when a program first needs it.
"""

from __future__ import annotations

import numpy as np

from . import batch_norm, chains, elementwise, products
from .arguments import REAL, WHOLE, matrix, read, vector
from .program import STOPPED, array, instruction
from .threads import serial

# --- products ---

_product, _product_threaded = products._product.serial, products._product.parallel


@serial
def product_row(words, numbers):
    _, w, _ = read(words, numbers)
    m, k, n, ta, tb, down, across = w[3], w[4], w[5], w[6] != 0, w[7] != 0, w[8], w[9]
    a = matrix(w[0], k if ta else m, m if ta else k)
    b = matrix(w[1], n if tb else k, k if tb else n)
    c = matrix(w[2], m, n)
    return a, ta, b, tb, c, down, across, False


@instruction
def product(words, numbers):
    _product(*product_row(words, numbers))


@instruction
def product_threaded(words, numbers):
    _product_threaded(*product_row(words, numbers))


_packed_product = products._packed_product.serial
_packed_product_threaded = products._packed_product.parallel


@serial
def packed_product_row(words, numbers):
    _, w, _ = read(words, numbers)
    m, k, n, parts, biased, activation = w[4], w[5], w[6], w[10], w[11] != 0, w[12]
    a, c, bias = matrix(w[0], m, k), matrix(w[2], m, n), vector(w[3], n)
    panels = array(w[1], (w[7], w[8], w[9], products.WIDTH // 2), REAL)
    return a, panels, c, bias, biased, activation, parts


@instruction
def packed_product(words, numbers):
    _packed_product(*packed_product_row(words, numbers))


@instruction
def packed_product_threaded(words, numbers):
    _packed_product_threaded(*packed_product_row(words, numbers))


@instruction
def few_rows(words, numbers):
    _, w, _ = read(words, numbers)
    m, k, n = w[3], w[4], w[5]
    products._few(matrix(w[0], m, k), matrix(w[1], n, k), matrix(w[2], m, n))


@instruction
def add_row(words, numbers):
    _, w, _ = read(words, numbers)
    y, bias = matrix(w[0], w[2], w[3]), vector(w[1], w[3])
    for i in range(len(y)):
        own = y[i]
        for j in range(len(bias)):
            own[j] += bias[j]


@instruction
def column_sums(words, numbers):
    _, w, _ = read(words, numbers)
    batch_norm.column_sums(matrix(w[0], w[2], w[3]), vector(w[1], w[3]))


# --- element by element ---

_sigmoid, _sigmoid_threaded = elementwise.sigmoid.serial, elementwise.sigmoid.parallel
_sigmoid_grad = elementwise.sigmoid_grad.serial
_sigmoid_grad_threaded = elementwise.sigmoid_grad.parallel
_relu, _relu_threaded = elementwise.relu.serial, elementwise.relu.parallel
_relu_grad, _relu_grad_threaded = elementwise.relu_grad.serial, elementwise.relu_grad.parallel


@serial
def sigmoid_row(words, numbers):
    _, w, _ = read(words, numbers)
    x, y = vector(w[0], w[2]), vector(w[1], w[2])
    return x, y


@instruction
def sigmoid(words, numbers):
    _sigmoid(*sigmoid_row(words, numbers))


@instruction
def sigmoid_threaded(words, numbers):
    _sigmoid_threaded(*sigmoid_row(words, numbers))


@serial
def relu_row(words, numbers):
    _, w, _ = read(words, numbers)
    x, y = vector(w[0], w[2]), vector(w[1], w[2])
    return x, y


@instruction
def relu(words, numbers):
    _relu(*relu_row(words, numbers))


@instruction
def relu_threaded(words, numbers):
    _relu_threaded(*relu_row(words, numbers))


@serial
def sigmoid_grad_row(words, numbers):
    _, w, _ = read(words, numbers)
    y, gy, gx = vector(w[0], w[3]), vector(w[1], w[3]), vector(w[2], w[3])
    return y, gy, gx


@instruction
def sigmoid_grad(words, numbers):
    _sigmoid_grad(*sigmoid_grad_row(words, numbers))


@instruction
def sigmoid_grad_threaded(words, numbers):
    _sigmoid_grad_threaded(*sigmoid_grad_row(words, numbers))


@serial
def relu_grad_row(words, numbers):
    _, w, _ = read(words, numbers)
    x, gy, gx = vector(w[0], w[3]), vector(w[1], w[3]), vector(w[2], w[3])
    return x, gy, gx


@instruction
def relu_grad(words, numbers):
    _relu_grad(*relu_grad_row(words, numbers))


@instruction
def relu_grad_threaded(words, numbers):
    _relu_grad_threaded(*relu_grad_row(words, numbers))


_sigmoid_grad_over = elementwise.sigmoid_grad_over.serial
_sigmoid_grad_over_threaded = elementwise.sigmoid_grad_over.parallel
_relu_grad_over = elementwise.relu_grad_over.serial
_relu_grad_over_threaded = elementwise.relu_grad_over.parallel


@serial
def grad_over_row(words, numbers):
    _, w, _ = read(words, numbers)
    return vector(w[0], w[2]), vector(w[1], w[2])


@instruction
def sigmoid_grad_over(words, numbers):
    _sigmoid_grad_over(*grad_over_row(words, numbers))


@instruction
def sigmoid_grad_over_threaded(words, numbers):
    _sigmoid_grad_over_threaded(*grad_over_row(words, numbers))


@instruction
def relu_grad_over(words, numbers):
    _relu_grad_over(*grad_over_row(words, numbers))


@instruction
def relu_grad_over_threaded(words, numbers):
    _relu_grad_over_threaded(*grad_over_row(words, numbers))


_chain, _chain_threaded = chains.chain.serial, chains.chain.parallel
_add_into, _add_into_threaded = chains.add_into.serial, chains.add_into.parallel


@serial
def chain_row(words, numbers):
    _, w, _ = read(words, numbers)
    return (w,)


@instruction
def chain(words, numbers):
    _chain(*chain_row(words, numbers))


@instruction
def chain_threaded(words, numbers):
    _chain_threaded(*chain_row(words, numbers))


@serial
def add_into_row(words, numbers):
    _, w, _ = read(words, numbers)
    a, b = vector(w[0], w[2]), vector(w[1], w[2])
    return a, b


@instruction
def add_into(words, numbers):
    _add_into(*add_into_row(words, numbers))


@instruction
def add_into_threaded(words, numbers):
    _add_into_threaded(*add_into_row(words, numbers))


# --- the loss ---

_cross_entropy = elementwise.softmax_cross_entropy.serial
_cross_entropy_threaded = elementwise.softmax_cross_entropy.parallel


@serial
def _loss(words, numbers):
    _, w, _ = read(words, numbers)
    n, classes = w[4], w[5]
    logits, p = matrix(w[0], n, classes), matrix(w[3], n, classes)
    return logits, array(w[1], (n,), WHOLE), np.empty(n, np.float32), p, np.empty(2)


@serial
def _finish_loss(words, numbers, losses, found):
    """The losses of all examples, or with ``w[6]`` their weighted sum."""
    row, w, f = read(words, numbers)
    if w[6]:
        vector(w[2], 1)[0] = found[0] * f[0]
    else:
        vector(w[2], len(losses))[:] = losses
    row[STOPPED] = found[1] == 0


@instruction
def softmax_cross_entropy(words, numbers):
    logits, labels, losses, p, found = _loss(words, numbers)
    _cross_entropy(logits, labels, losses, p, found)
    _finish_loss(words, numbers, losses, found)


@instruction
def softmax_cross_entropy_threaded(words, numbers):
    logits, labels, losses, p, found = _loss(words, numbers)
    _cross_entropy_threaded(logits, labels, losses, p, found)
    _finish_loss(words, numbers, losses, found)


@instruction
def softmax_cross_entropy_grad(words, numbers):
    _, w, f = read(words, numbers)
    n, classes = w[4], w[5]
    p, labels = matrix(w[0], n, classes), array(w[1], (n,), WHOLE)
    gy, g = vector(w[2], w[6]), matrix(w[3], n, classes)
    elementwise.softmax_cross_entropy_grad(p, labels, gy, np.float32(f[0]), g)


# --- updates ---

_descend, _descend_threaded = elementwise.descend.serial, elementwise.descend.parallel
_momentum = elementwise.descend_with_momentum.serial
_momentum_threaded = elementwise.descend_with_momentum.parallel
_adam, _adam_threaded = elementwise.adam.serial, elementwise.adam.parallel


@instruction
def count(words, numbers):
    """One more for each of the first ``w[1]``."""
    _, w, _ = read(words, numbers)
    steps = array(w[0], (w[1],), WHOLE)
    for i in range(len(steps)):
        steps[i] += 1


@serial
def descend_row(words, numbers):
    _, w, f = read(words, numbers)
    p, g = vector(w[0], w[2]), vector(w[1], w[2])
    lr, weight_decay = np.float32(f[0]), np.float32(f[1])
    return p, g, lr, weight_decay


@instruction
def descend(words, numbers):
    _descend(*descend_row(words, numbers))


@instruction
def descend_threaded(words, numbers):
    _descend_threaded(*descend_row(words, numbers))


@serial
def descend_with_momentum_row(words, numbers):
    _, w, f = read(words, numbers)
    p, v, g, nesterov = vector(w[0], w[3]), vector(w[1], w[3]), vector(w[2], w[3]), w[4] != 0
    lr, weight_decay, momentum = np.float32(f[0]), np.float32(f[1]), np.float32(f[2])
    return p, v, g, lr, weight_decay, momentum, nesterov


@instruction
def descend_with_momentum(words, numbers):
    _momentum(*descend_with_momentum_row(words, numbers))


@instruction
def descend_with_momentum_threaded(words, numbers):
    _momentum_threaded(*descend_with_momentum_row(words, numbers))


@serial
def adam_row(words, numbers):
    """As many steps as stand at ``w[4]`` have been taken, this one included."""
    _, w, f = read(words, numbers)
    n, step = w[5], array(w[4], (1,), WHOLE)[0]
    p, first, second, g = vector(w[0], n), vector(w[1], n), vector(w[2], n), vector(w[3], n)
    return p, first, second, g, step, f[0], f[1], f[2], f[3], f[4]


@instruction
def adam(words, numbers):
    _adam(*adam_row(words, numbers))


@instruction
def adam_threaded(words, numbers):
    _adam_threaded(*adam_row(words, numbers))
