"""Steps of optimizers as loops, over all tensors in one call.

Numba takes longer to look at an array than many a tensor takes to be moved. So tensors come in as the addresses of
tuples: of parameters, of state beside them (empty where there is none), of gradients. Where tuples have their items,
and arrays their data and shape, is part of the C API of CPython and NumPy (``PyTupleObject``, ``PyArrayObject``).
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from .elementwise import CHUNK, ONE, chunks
from .launch import inner, kernel, share

#: words of 8 bytes before a tuple's length and its items
LENGTH, ITEMS = 2, tuple.__basicsize__ // 8
#: words before an array's data, number of axes, shape, dtype and flags
DATA, AXES, SHAPE, DTYPE, FLAGS = 2, 3, 4, 7, 8
#: words before a dtype's kind, byte order and number
KIND = 3
#: flags of a C-contiguous, aligned and writable array
PLAIN = 0x1 | 0x100 | 0x400


@intrinsic  # type: ignore[misc,unused-ignore]
def _pointer(typing, address, like):
    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[0], kind)

    return types.CPointer(like)(types.int64, like), codegen


@inner
def _words(address, count):
    return carray(_pointer(address, np.int64(0)), count)


@inner
def _items(column):
    """The addresses of a tuple's arrays."""
    return _words(column, ITEMS + _words(column, LENGTH + 1)[LENGTH])[ITEMS:]


@inner
def _size(x):
    """How many numbers an array has."""
    words, size = _words(x, FLAGS), 1
    shape = words[SHAPE]
    for i in range(words[AXES] & 0xFFFFFFFF):
        size *= _words(shape, i + 1)[i]
    return size


@inner
def _part(x, start, stop, like):
    """Some of the numbers of an array."""
    return carray(_pointer(_words(x, FLAGS)[DATA], like), stop)[start:]


@inner
def _total(params, first, second, grads, dtype):
    """How many numbers there are to move; -1 unless arrays are plain, of one dtype, and as large as the parameters."""
    size, ps = 0, _items(params)
    for column in (params, first, second, grads):
        items = _items(column)
        if len(items) != len(ps) and len(items) != 0:
            return -1
        for i in range(len(items)):
            x = items[i]
            if _size(x) != _size(ps[i]):
                return -1
            words = _words(x, FLAGS + 1)
            kind = _words(words[DTYPE], KIND + 1)[KIND]
            if kind != _words(dtype, KIND + 1)[KIND] or words[FLAGS] & PLAIN != PLAIN:
                return -1
    for x in ps:
        size += _size(x)
    return size


@inner
def _decayed(g, p, weight_decay):
    return g + weight_decay * p if weight_decay != 0 else g


@inner
def _sgd(p, g, lr, weight_decay):
    for i in range(len(p)):
        p[i] -= lr * _decayed(g[i], p[i], weight_decay)


@inner
def _sgd_with_momentum(p, v, g, lr, weight_decay, momentum, nesterov):
    for i in range(len(p)):
        gradient = _decayed(g[i], p[i], weight_decay)
        v[i] = momentum * v[i] + gradient
        p[i] -= lr * (gradient + momentum * v[i] if nesterov else v[i])


@inner
def _adam(p, first, second, g, step_size, b1, b2, root, eps, weight_decay):
    for i in range(len(p)):
        gradient = _decayed(g[i], p[i], weight_decay)
        first[i] += (ONE - b1) * (gradient - first[i])
        second[i] += (ONE - b2) * (gradient * gradient - second[i])
        p[i] -= step_size * first[i] / (np.sqrt(second[i]) / root + eps)


@inner
def _range(t, begin, count):
    """The numbers of a tensor, whose first is number ``begin`` of all, that are in chunk ``t``."""
    return max(t * CHUNK - begin, 0), min((t + 1) * CHUNK - begin, count)


@inner
def _sgd_chunk(t, ps, vs, gs, lr, weight_decay, momentum, nesterov):
    begin = 0
    for i in range(len(ps)):
        count = _size(ps[i])
        start, stop = _range(t, begin, count)
        if start < stop:
            p, g = _part(ps[i], start, stop, lr), _part(gs[i], start, stop, lr)
            if momentum != 0:
                v = _part(vs[i], start, stop, lr)
                _sgd_with_momentum(p, v, g, lr, weight_decay, momentum, nesterov)
            else:
                _sgd(p, g, lr, weight_decay)
        begin += count


@kernel
def sgd(params, velocities, grads, dtype, lr, weight_decay, momentum, nesterov):
    """No velocities without momentum. Whether the arrays are of ``dtype`` and plain; nothing has moved if not."""
    size = _total(params, velocities, velocities, grads, dtype)
    if size < 0:
        return False
    columns = _items(params), _items(velocities), _items(grads)
    settings = lr, weight_decay, momentum, nesterov
    share(size, chunks(size), _sgd_chunk, (*columns, *settings))
    return True


@inner
def _adam_chunk(t, ps, ms, vs, gs, steps, lr, b1, b2, eps, weight_decay, like):
    begin = 0
    for i in range(len(ps)):
        count = _size(ps[i])
        start, stop = _range(t, begin, count)
        if start < stop:
            p, g = _part(ps[i], start, stop, like), _part(gs[i], start, stop, like)
            first, second = _part(ms[i], start, stop, like), _part(vs[i], start, stop, like)
            real = p.dtype.type
            step_size = real(lr / (1 - b1 ** steps[i]))
            root = real(math.sqrt(1 - b2 ** steps[i]))
            rates = real(b1), real(b2), root, real(eps), real(weight_decay)
            _adam(p, first, second, g, step_size, *rates)
        begin += count


@kernel
def adam(params, firsts, seconds, grads, dtype, steps, lr, b1, b2, eps, weight_decay, like):
    """``steps`` counts the updates of each tensor; settings in float64. The same is returned."""
    size = _total(params, firsts, seconds, grads, dtype)
    if size < 0:
        return False
    columns = _items(params), _items(firsts), _items(seconds), _items(grads)
    settings = steps, lr, b1, b2, eps, weight_decay, like
    share(size, chunks(size), _adam_chunk, (*columns, *settings))
    return True
