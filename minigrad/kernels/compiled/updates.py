"""Steps of optimizers as loops, over all tensors in one call.

Numba takes longer to look at an array than many a tensor takes to be moved. So arrays come in as the addresses of their
Python objects, of which the first field is the address of their data (NumPy's C API: ``PyArrayObject``). ``tensors`` has a row
for the parameters, for each kind of state and for the gradients; the last row has how many numbers each has.
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray, prange, types
from numba.extending import intrinsic

from .elementwise import CHUNK, ONE
from .threads import Threaded, serial

#: bytes of an object before its own fields
HEADER = object.__basicsize__


@intrinsic  # type: ignore[misc,unused-ignore]
def _pointer(typing, address, like):
    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[0], kind)

    return types.CPointer(like)(types.int64, like), codegen


@serial
def _part(array, start, stop, like):
    """Some numbers of the array whose object is there."""
    data = carray(_pointer(array + HEADER, np.int64(0)), 1)[0]
    return carray(_pointer(data, like), stop)[start:]


@serial
def _decayed(g, p, weight_decay):
    return g + weight_decay * p if weight_decay != 0 else g


@serial
def _sgd(p, g, lr, weight_decay):
    for i in range(len(p)):
        p[i] -= lr * _decayed(g[i], p[i], weight_decay)


@serial
def _sgd_with_momentum(p, v, g, lr, weight_decay, momentum, nesterov):
    for i in range(len(p)):
        gradient = _decayed(g[i], p[i], weight_decay)
        v[i] = momentum * v[i] + gradient
        p[i] -= lr * (gradient + momentum * v[i] if nesterov else v[i])


@serial
def _adam(p, first, second, g, step_size, b1, b2, root, eps, weight_decay):
    for i in range(len(p)):
        gradient = _decayed(g[i], p[i], weight_decay)
        first[i] += (ONE - b1) * (gradient - first[i])
        second[i] += (ONE - b2) * (gradient * gradient - second[i])
        p[i] -= step_size * first[i] / (np.sqrt(second[i]) / root + eps)


@Threaded
def sgd(tensors, lr, weight_decay, momentum, nesterov):
    sizes = tensors[-1]
    for t in prange(-(-sizes.sum() // CHUNK)):
        begin = 0
        for i in range(len(sizes)):
            start, stop = max(t * CHUNK - begin, 0), min((t + 1) * CHUNK - begin, sizes[i])
            if start < stop:
                p = _part(tensors[0, i], start, stop, lr)
                g = _part(tensors[-2, i], start, stop, lr)
                if momentum != 0:
                    v = _part(tensors[1, i], start, stop, lr)
                    _sgd_with_momentum(p, v, g, lr, weight_decay, momentum, nesterov)
                else:
                    _sgd(p, g, lr, weight_decay)
            begin += sizes[i]


@Threaded
def adam(tensors, steps, lr, b1, b2, eps, weight_decay, like):
    """``steps`` counts the updates of each tensor; settings in float64."""
    sizes = tensors[-1]
    for t in prange(-(-sizes.sum() // CHUNK)):
        begin = 0
        for i in range(len(sizes)):
            start, stop = max(t * CHUNK - begin, 0), min((t + 1) * CHUNK - begin, sizes[i])
            if start < stop:
                p = _part(tensors[0, i], start, stop, like)
                first = _part(tensors[1, i], start, stop, like)
                second = _part(tensors[2, i], start, stop, like)
                g = _part(tensors[3, i], start, stop, like)
                real = p.dtype.type
                step_size = real(lr / (1 - b1 ** steps[i]))
                root = real(math.sqrt(1 - b2 ** steps[i]))
                rates = real(b1), real(b2), root, real(eps), real(weight_decay)
                _adam(p, first, second, g, step_size, *rates)
            begin += sizes[i]
