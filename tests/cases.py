"""Everything that computes, as one table: what all ops have in common is tested over it (ops/test_every_op.py).

A case is a function, how to draw its inputs, and what it should give. The function takes the module to compute with:
with ``minigrad`` it maps Tensors, and where ``numpy`` has functions of the same names, that is the oracle.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg


@dataclass(frozen=True)
class Sample:
    """Random values of one input, of the dtype asked for but never below ``least``; integers stay what they are."""

    shape: tuple[int, ...]
    draw: Callable[[np.random.Generator, tuple[int, ...]], Any]
    least: Any = None

    def array(self, rng, dtype=np.float64):
        values = np.asarray(self.draw(rng, self.shape))
        floating = values.dtype.kind == "f"
        if not floating:
            return values
        return values.astype(np.promote_types(dtype, self.least) if self.least else dtype)


def normal(*shape):
    return Sample(shape, lambda rng, s: rng.standard_normal(s))


def positive(*shape):
    return Sample(shape, lambda rng, s: rng.uniform(0.5, 2, s))


def apart(*shape):
    """No two values equal, none near 0 or a half: away from the kinks of max, abs, relu and clip."""
    return Sample(shape, lambda rng, s: (rng.permutation(int(np.prod(s))).reshape(s) - 2.3) / 3)


def channels(*shape):
    """Parameters and statistics of batch norm: positive, and never below float32."""
    return Sample(shape, lambda rng, s: rng.uniform(0.5, 2, s), np.float32)


def integers(high, *shape):
    return Sample(shape, lambda rng, s: rng.integers(0, high, s))


def counts(*shape):
    """0, 1, 2, ... in some order: how often each position is there."""
    return Sample(shape, lambda rng, s: rng.permutation(int(np.prod(s))).reshape(s))


def mask(*shape):
    return Sample(shape, lambda rng, s: rng.random(s) < 0.6)


class Case:
    """``fn(m, *inputs)`` gives one output or a tuple; ``oracle(*arrays)`` the same from NumPy arrays."""

    def __init__(self, fn, *samples, oracle=None):
        self.fn, self.samples, self.oracle = fn, samples, oracle

    def __call__(self, *inputs):
        """The outputs, as a list."""
        ys = self.fn(mg, *inputs)
        return list(ys) if isinstance(ys, tuple) else [ys]

    def expected(self, *arrays):
        ys = self.oracle(*arrays)
        return list(ys) if isinstance(ys, tuple) else [ys]

    def arrays(self, rng, dtype=np.float64):
        return [s.array(rng, dtype) for s in self.samples]


def both(fn, *samples):
    """A case that minigrad and NumPy write alike."""
    return Case(fn, *samples, oracle=lambda *arrays: fn(np, *arrays))


def call(name, *args, **options):
    """m.name(*inputs, *args, **options)"""
    return lambda m, *xs: getattr(m, name)(*xs, *args, **options)


def join(name, axis):
    """m.name(inputs, axis)"""
    return lambda m, *xs: getattr(m, name)(xs, axis)


def operate(name):
    return lambda m, *xs: getattr(operator, name)(*xs)


def np_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def np_frozen(x, gamma, beta, mean, var, kept, eps=1e-3):
    wide = [n if i in kept else 1 for i, n in enumerate(x.shape)]
    gamma, beta, mean, var = (v.reshape(wide) for v in (gamma, beta, mean, var))
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def np_batch_norm(x, gamma, beta, kept):
    axes = tuple(i for i in range(x.ndim) if i not in kept)
    mean, var = x.mean(axes), x.var(axes)
    return np_frozen(x, gamma, beta, mean, var, kept), mean, var


def np_moments(x, weight):
    """Mean and M2 of axis 1, each row of x as often as its weight says."""
    rows = np.repeat(x, weight, axis=0)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    return rows.mean(axes), rows.var(axes) * (rows.size // x.shape[1])


def np_weighted_batch_norm(x, gamma, beta, weight):
    mean, m2 = np_moments(x, weight)
    count = weight.sum() * x[0, 0].size
    y = np_frozen(x, gamma, beta, mean, m2 / count, [1])
    return y * (weight > 0).reshape(-1, *[1] * (x.ndim - 1)), mean, m2


def beside(x, found):
    """x, whose dtype is an op's, and what was found of it, in that of statistics."""
    return x + 0, found.mean, found.m2


def weighted_batch_norm(m, x, gamma, beta, weight):
    y, found = m.weighted_batch_norm(x, weight, gamma, beta)
    return y, found.mean, found.m2


def merge_moments(m, x):
    merged = m.merge_moments([m.moments(x[:2]), m.moments(x[2:3]), m.moments(x[3:])])
    return beside(x, merged)


BROADCASTS = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((1, 3), (2, 1)),
    ((), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((), ()),
]

ELEMENTWISE = {
    "exp": both(call("exp"), normal(2, 3)),
    "log": both(call("log"), positive(2, 3)),
    "sqrt": both(call("sqrt"), positive(2, 3)),
    "tanh": both(call("tanh"), normal(2, 3)),
    "tanh of no axes": both(call("tanh"), normal()),
    "abs": both(call("abs"), apart(2, 3)),
    "clip": both(call("clip", -0.5, 0.5), apart(2, 4)),
    "clip from below": both(call("clip", -0.5, None), apart(2, 4)),
    "clip from above": both(call("clip", None, 0.5), apart(2, 4)),
}

ARITHMETIC = {
    **{
        f"{name} {a} {b}": both(operate(name), left(*a), right(*b))
        for name, left, right in [
            ("add", normal, normal),
            ("sub", normal, normal),
            ("mul", normal, normal),
            ("truediv", normal, positive),
            ("pow", positive, normal),
        ]
        for a, b in BROADCASTS
    },
    **{f"pow of {p}": both(lambda m, x, p=p: x**p, positive(2, 3)) for p in [-1, 0, 0.5, 1, 2, 3]},
    "reflected": both(lambda m, x: 1 + 2 * (3 - 4 / x) + 2**x, positive(2, 3)),
    "negative": both(lambda m, x: -x, normal(2, 3)),
    "add to itself": both(lambda m, x: x + x, normal(2, 3)),
    "mul with itself": both(lambda m, x: x * x, normal(2, 3)),
    # A third of a unit lies between the values of ``apart``, and half of that between the operands.
    "maximum": both(lambda m, x, y: m.maximum(x, y + 1 / 6), apart(2, 3), apart(3)),
    "minimum": both(lambda m, x, y: m.minimum(x, y + 1 / 6), apart(2, 3), apart(3)),
    "maximum with a number": both(call("maximum", 0.5), apart(2, 3)),
    "where": both(call("where"), mask(2, 3), normal(2, 3), normal(2, 3)),
    "where broadcast": both(call("where"), mask(4, 1), normal(3), normal(4, 1)),
    "where with a number": both(call("where", 0), mask(3), normal(2, 3)),
}

REDUCTION = {
    **{
        f"{name} {axis} {keepdims}": both(call(name, axis=axis, keepdims=keepdims), apart(2, 3, 2))
        for name in ["sum", "mean", "var", "max", "min"]
        for axis in [None, 0, -1, (0, 2), (1, -1), ()]
        for keepdims in [False, True]
    },
    **{
        f"{name} of one value": both(call(name), normal(1, 1))
        for name in ["sum", "mean", "var", "max", "min"]
    },
    "var ddof": both(call("var", axis=0, ddof=1), normal(4, 2)),
}

SHAPE = {
    "reshape": both(lambda m, x: x.reshape(3, -1), normal(2, 6)),
    "reshape of a transpose": both(lambda m, x: x.T.reshape(-1), normal(2, 3)),
    "reshape to no axes": both(call("reshape", ()), normal(1, 1)),
    "flatten": Case(call("flatten"), normal(2, 3, 2), oracle=lambda x: x.reshape(2, 6)),
    "transpose": both(call("transpose", (2, 0, 1)), normal(2, 3, 4)),
    "transpose negative": both(call("transpose", (0, -1, -2)), normal(2, 3, 4)),
    "transpose reversed": both(call("transpose"), normal(2, 3, 4)),
    **{
        f"broadcast_to {old} {new}": both(call("broadcast_to", new), normal(*old))
        for old, new in [
            ((3,), (2, 3)),
            ((1, 3), (2, 3)),
            ((2, 1), (4, 2, 3)),
            ((), (2, 3)),
            ((1,), (1, 1)),
        ]
    },
    "concatenate": both(join("concatenate", 0), normal(2, 3), normal(1, 3), normal(3, 3)),
    "concatenate negative": both(join("concatenate", -1), normal(2, 3), normal(2, 1)),
    "concatenate with itself": both(lambda m, x: m.concatenate([x, x], 1), normal(2, 3)),
    **{
        f"stack {axis}": both(join("stack", axis), normal(2, 3), normal(2, 3))
        for axis in [0, 1, 2, -1]
    },
    "pad": both(call("pad", 1), normal(2, 3)),
    "pad pairs": both(call("pad", [(1, 0), (0, 2)]), normal(2, 3)),
}

KEYS = {
    "an int": 1,
    "a negative int": (slice(None), -1),
    "an int per axis": (1, 2, 0),
    "slices": (slice(None), slice(1, None, 2)),
    "negative steps": (slice(None, None, -1), slice(2, 0, -1)),
    "an empty slice": slice(0, 0),
    "new axes": (None, 1, None),
    "an ellipsis": (..., 0),
    "a list": [1, 0, 1, 1],
    "an empty list": [],
    "two lists": ([1, 0, 1], [2, 2, 0]),
    "slices and a list": (slice(None), [0, 0, 2], slice(0, 1)),
    "an ellipsis and a list": (..., [1, 1]),
    "lists apart": ([0, 1], slice(None), [1, 1]),
    "a boolean list": [True, False],
    "a boolean list on axis 1": (slice(None), [True, False, True]),
}

INDEXING = {
    **{
        f"getitem {name}": both(lambda m, x, key=key: x[key], normal(2, 3, 2))
        for name, key in KEYS.items()
    },
    "getitem integers": both(operate("getitem"), normal(3, 2), integers(3, 2, 2)),
    "getitem a mask": both(operate("getitem"), normal(3, 2), mask(3, 2)),
    "getitem a mask and a slice": both(lambda m, x, i: x[i, 1:], normal(3, 2), mask(3)),
}

MATMUL = {
    **{
        f"matmul {a} {b}": both(call("matmul"), normal(*a), normal(*b))
        for a, b in [
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 4)),
            ((2, 3), (3,)),
            ((5, 2, 3), (3, 4)),
            ((5, 2, 3), (3,)),
            ((2, 3), (5, 3, 4)),
            ((3,), (5, 3, 4)),
            ((5, 2, 3), (5, 3, 4)),
            ((4, 1, 2, 3), (5, 3, 2)),
            ((2, 3, 0), (0, 4)),
        ]
    },
    "matmul with its transpose": both(lambda m, x: x.T @ x, normal(3, 2)),
}

ACTIVATION = {
    "sigmoid": Case(call("sigmoid"), normal(2, 3), oracle=lambda x: 1 / (1 + np.exp(-x))),
    "sigmoid of no axes": Case(call("sigmoid"), normal(), oracle=lambda x: 1 / (1 + np.exp(-x))),
    "relu": Case(call("relu"), apart(2, 3), oracle=lambda x: np.maximum(x, 0)),
    **{
        f"{name} {axis}": Case(
            call(name, axis), normal(2, 3, 2), oracle=lambda x, f=oracle, axis=axis: f(x, axis)
        )
        for name, oracle in [
            ("softmax", np_softmax),
            ("log_softmax", lambda x, axis: np.log(np_softmax(x, axis))),
        ]
        for axis in [0, 1, -1]
    },
}

LINEAR = {
    **{
        f"linear {shape}": Case(
            call("linear"),
            normal(*shape),
            normal(2, 3),
            normal(2),
            oracle=lambda x, w, b: x @ w.T + b,
        )
        for shape in [(4, 3), (3,), (2, 4, 3), (1, 3), (0, 3)]
    },
    "linear without bias": Case(
        call("linear"), normal(4, 3), normal(2, 3), oracle=lambda x, w: x @ w.T
    ),
}

LOSS = {
    case: made
    for name, end in [("mean", np.mean), ("sum", np.sum), ("none", lambda x: x)]
    for case, made in {
        f"softmax_cross_entropy {name}": Case(
            call("softmax_cross_entropy", name),
            normal(4, 3),
            integers(3, 4),
            oracle=lambda z, c, end=end: end(-np.log(np_softmax(z)[np.arange(4), c])),
        ),
        f"mse_loss {name}": Case(
            call("mse_loss", name),
            normal(4, 3),
            normal(4, 3),
            oracle=lambda x, t, end=end: end((x - t) ** 2),
        ),
    }.items()
}

BATCH_NORM = {
    case: made
    for shape, kept in [
        ((4, 3), (1,)),
        ((2, 3, 2), (1,)),
        ((3, 2, 2), (-1,)),
        ((3, 2, 2), (0, 2)),
    ]
    for c in [channels(*[shape[i] for i in kept])]
    for case, made in {
        f"batch_norm {shape} {kept}": Case(
            call("batch_norm", axis=kept),
            normal(*shape),
            c,
            c,
            oracle=lambda *a, kept=kept: np_batch_norm(*a, [i % a[0].ndim for i in kept]),
        ),
        f"frozen_batch_norm {shape} {kept}": Case(
            call("frozen_batch_norm", axis=kept),
            normal(*shape),
            c,
            c,
            c,
            c,
            oracle=lambda *a, kept=kept: np_frozen(*a, [i % a[0].ndim for i in kept]),
        ),
    }.items()
} | {
    "batch_norm by the unbiased variance": Case(
        call("batch_norm", ddof=1),
        normal(4, 3),
        channels(3),
        channels(3),
        oracle=lambda x, g, b: (
            np_frozen(x, g, b, x.mean(0), x.var(0, ddof=1), [1]),
            x.mean(0),
            x.var(0, ddof=1),
        ),
    ),
    **{
        f"weighted_batch_norm {shape}": Case(
            weighted_batch_norm,
            normal(*shape),
            channels(3),
            channels(3),
            counts(shape[0]),
            oracle=np_weighted_batch_norm,
        )
        for shape in [(4, 3), (3, 3, 2)]
    },
    "moments": Case(
        lambda m, x: beside(x, m.moments(x)),
        normal(4, 3, 2),
        oracle=lambda x: (x, *np_moments(x, np.ones(4, int))),
    ),
    "moments, weighted": Case(
        lambda m, x, weight: beside(x, m.moments(x, weight=weight)),
        normal(4, 3, 2),
        counts(4),
        oracle=lambda x, weight: (x, *np_moments(x, weight)),
    ),
    "merge_moments": Case(
        merge_moments,
        normal(6, 3),
        oracle=lambda x: (x, *np_moments(x, np.ones(6, int))),
    ),
    "batch_norm without gamma": Case(
        lambda m, x, beta: m.batch_norm(x, None, beta), normal(4, 3), channels(3)
    ),
    "batch_norm without beta": Case(
        lambda m, x, gamma: m.batch_norm(x, gamma, None), normal(4, 3), channels(3)
    ),
    "frozen_batch_norm without gamma and beta": Case(
        lambda m, x, mean, var: m.frozen_batch_norm(x, None, None, mean, var),
        normal(4, 3),
        channels(3),
        channels(3),
    ),
}


def np_conv2d(x, weight, bias, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """The sum of the definition, one output at a time."""
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    (n, _, *size), (out, c, *kernel) = x.shape, weight.shape
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = ((m - s) // t + 1 for m, s, t in zip(size, spans, stride, strict=True))
    y = np.zeros((n, out, height, width))
    for o, i, j in np.ndindex(out, height, width):
        first, (top, left) = o // (out // groups) * c, (i * stride[0], j * stride[1])
        seen = x[
            :,
            first : first + c,
            top : top + spans[0] : dilation[0],
            left : left + spans[1] : dilation[1],
        ]
        y[:, o, i, j] = (seen * weight[o]).sum((1, 2, 3)) + bias[o]
    return y


def np_pool(x, reduce, value, kernel, stride, padding):
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)], constant_values=value)
    height, width = ((m - kernel) // stride + 1 for m in x.shape[2:])
    y = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        top, left = i * stride, j * stride
        y[:, :, i, j] = reduce(x[:, :, top : top + kernel, left : left + kernel], axis=(2, 3))
    return y


def conv2d_case(x, weight, **settings):
    return Case(
        call("conv2d", **settings),
        normal(*x),
        normal(*weight),
        normal(weight[0]),
        oracle=lambda *a: np_conv2d(*a, **settings),
    )


CONV = {
    "conv2d": conv2d_case((2, 2, 4, 5), (3, 2, 2, 3)),
    "conv2d, strided": conv2d_case((2, 1, 6, 5), (2, 1, 3, 2), stride=(2, 3)),
    "conv2d, padded": conv2d_case((1, 2, 3, 3), (2, 2, 3, 3), padding=((1, 0), (2, 1))),
    "conv2d, dilated": conv2d_case((1, 2, 6, 7), (1, 2, 3, 3), dilation=(2, 3)),
    "conv2d in groups": conv2d_case((2, 4, 3, 3), (6, 2, 2, 2), groups=2),
    "conv2d, depthwise": conv2d_case(
        (2, 3, 4, 4), (3, 1, 3, 3), groups=3, padding=((1, 1), (1, 1))
    ),
    "conv2d, the same size": Case(
        call("conv2d", stride=2, padding="same"),
        normal(1, 2, 5, 4),
        normal(2, 2, 3, 3),
        normal(2),
        oracle=lambda *a: np_conv2d(*a, (2, 2), ((1, 1), (0, 1))),
    ),
    "conv2d without bias": Case(
        lambda m, x, w: m.conv2d(x, w),
        normal(2, 2, 3, 4),
        normal(2, 2, 2, 2),
        oracle=lambda x, w: np_conv2d(x, w, [0, 0]),
    ),
    "conv1d": Case(
        call("conv1d", stride=2, padding=(2, 1), dilation=2),
        normal(2, 3, 7),
        normal(2, 3, 2),
        normal(2),
        oracle=lambda x, w, b: np_conv2d(
            x[:, :, None], w[:, :, None], b, (1, 2), ((0, 0), (2, 1)), (1, 2)
        )[:, :, 0],
    ),
    "conv_transpose2d": Case(
        call("conv_transpose2d", stride=2, padding=1, output_padding=1),
        normal(2, 4, 3, 2),
        normal(4, 1, 3, 3),
        normal(1),
    ),
    "conv_transpose2d in groups": Case(
        call("conv_transpose2d", groups=2), normal(1, 4, 2, 3), normal(4, 1, 2, 2), normal(2)
    ),
}


def max_pool2d_gradient(m, gy):
    """As a function of the gradient that comes in: it has a derivative of its own."""
    values = np.random.default_rng(0).permutation(32).reshape(1, 2, 4, 4)
    x = m.tensor(values, requires_grad=True, dtype=gy.dtype)
    return m.grad(m.max_pool2d(x, 2), x, gy, create_graph=True)


POOL = {
    "max_pool2d": Case(
        call("max_pool2d", 2),
        apart(2, 2, 4, 5),
        oracle=lambda x: np_pool(x, np.max, -np.inf, 2, 2, 0),
    ),
    "max_pool2d, overlapping": Case(
        call("max_pool2d", 3, 2, 1),
        apart(1, 2, 5, 4),
        oracle=lambda x: np_pool(x, np.max, -np.inf, 3, 2, 1),
    ),
    "max_pool2d's gradient": Case(max_pool2d_gradient, normal(1, 2, 2, 2)),
    "avg_pool2d": Case(
        call("avg_pool2d", 3, 2, 1),
        normal(2, 2, 5, 4),
        oracle=lambda x: np_pool(x, np.mean, 0, 3, 2, 1),
    ),
    "global_avg_pool2d": Case(
        call("global_avg_pool2d"), normal(2, 3, 2, 4), oracle=lambda x: x.mean((2, 3))
    ),
}


def np_normalized(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def np_group_norm(x, gamma, beta, groups):
    grouped = x.reshape(x.shape[0], groups, -1)
    y = np_normalized(grouped, 2).reshape(x.shape)
    wide = (-1, *[1] * (x.ndim - 2))
    return gamma.reshape(wide) * y + beta.reshape(wide)


NORMALIZATION = {
    "layer_norm": Case(
        call("layer_norm"),
        normal(2, 3, 4),
        channels(4),
        channels(4),
        oracle=lambda x, g, b: g * np_normalized(x, 2) + b,
    ),
    "layer_norm over two axes": Case(
        call("layer_norm", ndim=2),
        normal(3, 2, 3),
        channels(2, 3),
        channels(2, 3),
        oracle=lambda x, g, b: g * np_normalized(x, (1, 2)) + b,
    ),
    "layer_norm, no more": Case(
        call("layer_norm"), normal(3, 4), oracle=lambda x: np_normalized(x, 1)
    ),
    "group_norm": Case(
        lambda m, x, g, b: m.group_norm(x, 2, g, b),
        normal(2, 4, 3),
        channels(4),
        channels(4),
        oracle=lambda x, g, b: np_group_norm(x, g, b, 2),
    ),
    "instance_norm": Case(
        call("instance_norm"),
        normal(2, 3, 2, 3),
        channels(3),
        channels(3),
        oracle=lambda x, g, b: np_group_norm(x, g, b, 3),
    ),
}

RANDOM = {
    "dropout": Case(lambda m, x: m.dropout(x, 0.4, np.random.default_rng(1)), normal(3, 4)),
    "dropout of nothing": Case(call("dropout", 0.0), normal(3), oracle=lambda x: x),
}

CASES: dict[str, Case] = {
    **ELEMENTWISE,
    **ARITHMETIC,
    **REDUCTION,
    **SHAPE,
    **INDEXING,
    **MATMUL,
    **ACTIVATION,
    **LINEAR,
    **LOSS,
    **BATCH_NORM,
    **CONV,
    **POOL,
    **NORMALIZATION,
    **RANDOM,
}
