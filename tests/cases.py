"""Everything that computes, as one table: what all ops have in common is tested over it (ops/test_every_op.py).

A case is a function and how to draw its inputs. The function takes the module to compute with: ``minigrad`` maps
Tensors, and ``Plain``, which is NumPy and the definitions of what it lacks, is the oracle.
"""

from __future__ import annotations

import math
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
    """A case with ``Plain`` as its oracle."""
    return Case(fn, *samples, oracle=lambda *arrays: fn(Plain(), *arrays))


def call(name, *args, **options):
    """m.name(*inputs, *args, **options)"""
    return lambda m, *xs: getattr(m, name)(*xs, *args, **options)


def join(name, axis):
    """m.name(inputs, axis)"""
    return lambda m, *xs: getattr(m, name)(xs, axis)


def operate(name):
    return lambda m, *xs: getattr(operator, name)(*xs)


ENDS = {"mean": np.mean, "sum": np.sum, "none": np.asarray}


def pairs(value):
    return value if isinstance(value, tuple) else (value, value)


class Plain:
    """NumPy, with what it lacks written as its definition."""

    def __getattr__(self, name):
        return getattr(np, name)

    def flatten(self, x):
        return x.reshape(-1)

    def permute(self, x, axes):
        return x.transpose(axes)

    def unsqueeze(self, x, axis):
        return np.expand_dims(x, axis)

    def clone(self, x):
        return x.copy()

    def split(self, x, sizes, axis):
        return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))

    def logsumexp(self, x, axis=None, keepdims=False):
        return np.log(np.exp(x).sum(axis, keepdims=keepdims))

    def sigmoid(self, x):
        return 1 / (1 + np.exp(-x))

    def relu(self, x):
        return np.maximum(x, 0)

    def leaky_relu(self, x, slope):
        return np.where(x > 0, x, slope * x)

    def gelu(self, x, approximate="none"):
        if approximate == "tanh":
            return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        return x / 2 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))

    def silu(self, x):
        return x * self.sigmoid(x)

    def softplus(self, x, beta=1):
        return np.log(1 + np.exp(beta * x)) / beta

    def softmax(self, x, axis=-1):
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    def log_softmax(self, x, axis=-1):
        return np.log(self.softmax(x, axis))

    def dropout(self, x, p):
        assert p == 0
        return x

    def linear(self, x, weight, bias=0):
        return x @ weight.T + bias

    def softmax_cross_entropy(self, z, labels, reduction="mean"):
        return ENDS[reduction](-np.log(self.softmax(z)[np.arange(len(z)), labels]))

    def binary_cross_entropy_with_logits(self, z, y, reduction="mean", pos_weight=1):
        p = self.sigmoid(z)
        return ENDS[reduction](-pos_weight * y * np.log(p) - (1 - y) * np.log(1 - p))

    def mse_loss(self, x, target, reduction="mean"):
        return ENDS[reduction]((x - target) ** 2)

    def frozen_batch_norm(self, x, gamma, beta, mean, var, axis=1, eps=1e-3):
        kept = [i % x.ndim for i in (axis if isinstance(axis, tuple) else (axis,))]
        wide = [n if i in kept else 1 for i, n in enumerate(x.shape)]
        gamma, beta = 1 if gamma is None else gamma, 0 if beta is None else beta
        gamma, beta = (v if isinstance(v, int) else v.reshape(wide) for v in (gamma, beta))
        return gamma * (x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps) + beta

    def batch_norm(self, x, gamma, beta, axis=1, ddof=0):
        kept = [i % x.ndim for i in (axis if isinstance(axis, tuple) else (axis,))]
        axes = tuple(i for i in range(x.ndim) if i not in kept)
        mean, var = x.mean(axes), x.var(axes, ddof=ddof)
        return self.frozen_batch_norm(x, gamma, beta, mean, var, axis), mean, var

    def layer_norm(self, x, gamma=1, beta=0, ndim=1, eps=1e-5):
        axes = tuple(range(-ndim, 0))
        mean, var = (f(axes, keepdims=True) for f in (x.mean, x.var))
        return gamma * (x - mean) / np.sqrt(var + eps) + beta

    def group_norm(self, x, groups, gamma, beta):
        y = self.layer_norm(x.reshape(len(x), groups, -1)).reshape(x.shape)
        gamma, beta = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (gamma, beta))
        return gamma * y + beta

    def instance_norm(self, x, gamma, beta):
        return self.group_norm(x, x.shape[1], gamma, beta)

    def conv2d(self, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        """The sum of the definition, one output at a time."""
        (out, c, *kernel), (sh, sw) = weight.shape, pairs(stride)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, pairs(dilation), strict=True)]
        x = np.pad(
            x, [(0, 0), (0, 0), *([(p, p) if isinstance(p, int) else p for p in pairs(padding)])]
        )
        height, width = (
            (m - s) // t + 1 for m, s, t in zip(x.shape[2:], spans, (sh, sw), strict=True)
        )
        y = np.zeros((len(x), out, height, width))
        for o, i, j in np.ndindex(out, height, width):
            first = o // (out // groups) * c
            seen = x[:, first : first + c, i * sh : i * sh + spans[0], j * sw : j * sw + spans[1]]
            seen = seen[:, :, :: pairs(dilation)[0], :: pairs(dilation)[1]]
            y[:, o, i, j] = (seen * weight[o]).sum((1, 2, 3)) + (0 if bias is None else bias[o])
        return y

    def conv1d(self, x, weight, bias, stride, padding, dilation):
        edges = ((0, 0), padding)
        y = self.conv2d(x[:, :, None], weight[:, :, None], bias, (1, stride), edges, (1, dilation))
        return y[:, :, 0]

    def pool(self, x, reduce, value, kernel, stride=None, padding=0):
        stride, frame = stride or kernel, (padding, padding)
        x = np.pad(x, [(0, 0), (0, 0), frame, frame], constant_values=value)
        height, width = ((m - kernel) // stride + 1 for m in x.shape[2:])
        y = np.zeros((*x.shape[:2], height, width))
        for i, j in np.ndindex(height, width):
            top, left = i * stride, j * stride
            y[:, :, i, j] = reduce(x[:, :, top : top + kernel, left : left + kernel], axis=(2, 3))
        return y

    def max_pool2d(self, x, *settings):
        return self.pool(x, np.max, -np.inf, *settings)

    def avg_pool2d(self, x, *settings):
        return self.pool(x, np.mean, 0, *settings)

    def global_avg_pool2d(self, x):
        return x.mean((2, 3))


def np_moments(x, weight):
    """Mean and M2 of axis 1, each row of x as often as its weight says."""
    rows = np.repeat(x, weight, axis=0)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    return rows.mean(axes), rows.var(axes) * (rows.size // x.shape[1])


def np_weighted_batch_norm(x, gamma, beta, weight):
    mean, m2 = np_moments(x, weight)
    count = weight.sum() * x[0, 0].size
    y = Plain().frozen_batch_norm(x, gamma, beta, mean, m2 / count)
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
    "log1p": both(call("log1p"), positive(2, 3)),
    "expm1": both(call("expm1"), normal(2, 3)),
    "sin": both(call("sin"), normal(2, 3)),
    "cos": both(call("cos"), normal(2, 3)),
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
        for name in ["sum", "mean", "var", "max", "min", "prod", "logsumexp"]
        for axis in [None, 0, -1, (0, 2), (1, -1), ()]
        for keepdims in [False, True]
    },
    **{
        f"{name} of one value": both(call(name), normal(1, 1))
        for name in ["sum", "mean", "var", "max", "min"]
    },
    **{
        f"std {axis}": both(call("std", axis=axis, ddof=1, keepdims=True), normal(3, 2, 3))
        for axis in [None, 0, (1, -1)]
    },
    "prod of zeros": both(lambda m, x: m.prod(x * (x > 0), 1), apart(3, 4)),
    **{f"cumsum {axis}": both(call("cumsum", axis), normal(2, 3, 2)) for axis in [None, 0, -1]},
    "var ddof": both(call("var", axis=0, ddof=1), normal(4, 2)),
}

SHAPE = {
    "reshape": both(lambda m, x: x.reshape(3, -1), normal(2, 6)),
    "reshape of a transpose": both(lambda m, x: x.T.reshape(-1), normal(2, 3)),
    "reshape to no axes": both(call("reshape", ()), normal(1, 1)),
    "flatten": both(call("flatten"), normal(2, 3, 2)),
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
    "permute": both(call("permute", (2, 0, 1)), normal(2, 3, 4)),
    "swapaxes": both(call("swapaxes", 0, -1), normal(2, 3, 4)),
    "ravel": both(call("ravel"), normal(2, 3)),
    "squeeze": both(call("squeeze"), normal(1, 3, 1)),
    "squeeze of one": both(call("squeeze", -1), normal(1, 3, 1)),
    "unsqueeze": both(call("unsqueeze", -2), normal(2, 3)),
    "clone": both(call("clone"), normal(2, 3)),
    "tile": both(call("tile", (2, 1, 3)), normal(2, 3)),
    "tile of fewer axes": both(call("tile", 2), normal(2, 3)),
    **{f"repeat {a}": both(call("repeat", 2, axis=a), normal(2, 3)) for a in [None, 0, -1]},
    "split": both(
        lambda m, x: m.concatenate(m.split(x, sizes=[2, 0, 1], axis=1)[::-1], 1), normal(2, 3)
    ),
    "concatenate": both(join("concatenate", 0), normal(2, 3), normal(1, 3), normal(3, 3)),
    "concatenate negative": both(join("concatenate", -1), normal(2, 3), normal(2, 1)),
    "concatenate with itself": both(lambda m, x: m.concatenate([x, x], 1), normal(2, 3)),
    **{
        f"stack {axis}": both(join("stack", axis), normal(2, 3), normal(2, 3))
        for axis in [0, 1, 2, -1]
    },
    "pad": both(call("pad", 1), normal(2, 3)),
    **{
        f"pad {mode}": both(call("pad", [(0, 2), (3, 1)], mode=mode), normal(3, 4))
        for mode in ["reflect", "edge", "wrap"]
    },
    "pad by more than there is": both(call("pad", 5, mode="reflect"), normal(2, 3)),
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
    "an ellipsis and a boolean list": (..., [True, False]),
    "a new axis and a boolean list": (None, [True, False], 0),
    "a NumPy integer": np.int64(1),
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

EINSUM = {
    f"einsum {equation}": both(
        lambda m, *xs, equation=equation: m.einsum(equation, *xs), *[normal(*s) for s in shapes]
    )
    for equation, *shapes in [
        ("ij->ji", (2, 3)),
        ("ij->j", (2, 3)),
        ("ba", (2, 3)),
        ("ik,kj->ij", (2, 3), (3, 4)),
        ("ij,jk", (2, 3), (3, 4)),
        ("i,i->", (3,), (3,)),
        ("i,j->ji", (2,), (3,)),
        ("bhqd,bhkd->bhqk", (2, 2, 3, 2), (2, 2, 4, 2)),
        ("bi,ijk,bk->bj", (2, 3), (3, 4, 2), (2, 2)),
        ("ij,kl,jk->il", (2, 3), (4, 2), (3, 4)),
        (",i->i", (), (3,)),
    ]
}

ACTIVATION = {
    "sigmoid": both(call("sigmoid"), normal(2, 3)),
    "sigmoid of no axes": both(call("sigmoid"), normal()),
    "relu": both(call("relu"), apart(2, 3)),
    "leaky_relu": both(call("leaky_relu", 0.1), apart(2, 3)),
    "gelu": both(call("gelu"), normal(2, 3)),
    "gelu by tanh": both(call("gelu", "tanh"), normal(2, 3)),
    "silu": both(call("silu"), normal(2, 3)),
    "softplus": both(call("softplus"), normal(2, 3)),
    "softplus, sharper": both(call("softplus", 3.0), normal(2, 3)),
    **{
        f"{name} {axis}": both(call(name, axis), normal(2, 3, 2))
        for name in ["softmax", "log_softmax"]
        for axis in [0, 1, -1]
    },
}

LINEAR = {
    **{
        f"linear {shape}": both(call("linear"), normal(*shape), normal(2, 3), normal(2))
        for shape in [(4, 3), (3,), (2, 4, 3), (1, 3), (0, 3)]
    },
    "linear without bias": both(call("linear"), normal(4, 3), normal(2, 3)),
}

LOSS = {
    f"{name} {end}": both(call(name, end), normal(4, 3), target)
    for name, target in [("softmax_cross_entropy", integers(3, 4)), ("mse_loss", normal(4, 3))]
    for end in ENDS
}


def masked_entropy(m, z, weight, labels):
    """All settings at once, with labels in two dimensions."""
    settings = {"ignore_index": 1, "label_smoothing": 0.2, "weight": weight}
    return m.softmax_cross_entropy(z, labels, **settings)


def masked_entropy_by_hand(z, weight, labels):
    logs, kept = np.log(Plain().softmax(z, 1)), labels != 1
    own = -np.take_along_axis(logs, labels[:, None], 1)[:, 0] * weight[labels]
    even = -np.einsum("nchw,c->nhw", logs, weight) / 3
    return ((0.8 * own + 0.2 * even) * kept).sum() / (weight[labels] * kept).sum()


LOSS |= {
    f"binary_cross_entropy_with_logits {end}": both(
        call("binary_cross_entropy_with_logits", end, pos_weight=2.5), normal(4, 3), positive(4, 3)
    )
    for end in ENDS
}
LOSS |= {
    "softmax_cross_entropy of soft labels": Case(
        lambda m, z, y: m.softmax_cross_entropy(z, y),
        normal(4, 3),
        positive(4, 3),
        oracle=lambda z, y: -(np.log(Plain().softmax(z)) * y).sum(1).mean(),
    ),
    "softmax_cross_entropy with all settings": Case(
        masked_entropy,
        *(normal(2, 3, 2, 2), channels(3), integers(3, 2, 2, 2)),
        oracle=masked_entropy_by_hand,
    ),
}

C = channels(3)
BATCH_NORM = {
    **{
        f"{name} {shape} {kept}": both(call(name, axis=kept), normal(*shape), *[c] * inputs)
        for shape, kept in [
            ((4, 3), (1,)),
            ((2, 3, 2), (1,)),
            ((3, 2, 2), (-1,)),
            ((3, 2, 2), (0, 2)),
        ]
        for c in [channels(*[shape[i] for i in kept])]
        for name, inputs in [("batch_norm", 2), ("frozen_batch_norm", 4)]
    },
    "batch_norm by the unbiased variance": both(call("batch_norm", ddof=1), normal(4, 3), C, C),
    "batch_norm without gamma": both(lambda m, x, b: m.batch_norm(x, None, b), normal(4, 3), C),
    "batch_norm without beta": both(lambda m, x, g: m.batch_norm(x, g, None), normal(4, 3), C),
    "frozen_batch_norm without gamma and beta": both(
        lambda m, x, mean, var: m.frozen_batch_norm(x, None, None, mean, var), normal(4, 3), C, C
    ),
    **{
        f"weighted_batch_norm {shape}": Case(
            weighted_batch_norm,
            normal(*shape),
            C,
            C,
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
        merge_moments, normal(6, 3), oracle=lambda x: (x, *np_moments(x, np.ones(6, int)))
    ),
}


def conv2d(x, weight, **settings):
    return both(call("conv2d", **settings), normal(*x), normal(*weight), normal(weight[0]))


CONV = {
    "conv2d": conv2d((2, 2, 4, 5), (3, 2, 2, 3)),
    "conv2d, strided": conv2d((2, 1, 6, 5), (2, 1, 3, 2), stride=(2, 3)),
    "conv2d, padded": conv2d((1, 2, 3, 3), (2, 2, 3, 3), padding=((1, 0), (2, 1))),
    "conv2d, dilated": conv2d((1, 2, 6, 7), (1, 2, 3, 3), dilation=(2, 3)),
    "conv2d in groups": conv2d((2, 4, 3, 3), (6, 2, 2, 2), groups=2),
    "conv2d, depthwise": conv2d((2, 3, 4, 4), (3, 1, 3, 3), groups=3, padding=1),
    "conv2d, the same size": Case(
        call("conv2d", stride=2, padding="same"),
        normal(1, 2, 5, 4),
        normal(2, 2, 3, 3),
        normal(2),
        oracle=lambda *a: Plain().conv2d(*a, 2, ((1, 1), (0, 1))),
    ),
    "conv2d without bias": both(call("conv2d"), normal(2, 2, 3, 4), normal(2, 2, 2, 2)),
    "conv1d": both(
        call("conv1d", stride=2, padding=(2, 1), dilation=2),
        normal(2, 3, 7),
        normal(2, 3, 2),
        normal(2),
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
    "max_pool2d": both(call("max_pool2d", 2), apart(2, 2, 4, 5)),
    "max_pool2d, overlapping": both(call("max_pool2d", 3, 2, 1), apart(1, 2, 5, 4)),
    "max_pool2d's gradient": Case(max_pool2d_gradient, normal(1, 2, 2, 2)),
    "max_pool2d, dilated, to the ceiling": Case(
        call("max_pool2d", 2, 2, 1, 2, ceil_mode=True), apart(1, 2, 4, 5)
    ),
    "avg_pool2d, to the ceiling": Case(
        call("avg_pool2d", 3, 2, 1, ceil_mode=True), normal(1, 2, 4, 5)
    ),
    "avg_pool2d without padding in the mean": Case(
        call("avg_pool2d", 3, 2, 1, count_include_pad=False), normal(1, 2, 5, 4)
    ),
    "avg_pool2d": both(call("avg_pool2d", 3, 2, 1), normal(2, 2, 5, 4)),
    "global_avg_pool2d": both(call("global_avg_pool2d"), normal(2, 3, 2, 4)),
}

F = channels(4)
NORMALIZATION = {
    "layer_norm": both(call("layer_norm"), normal(2, 3, 4), F, F),
    "layer_norm over two axes": both(
        call("layer_norm", ndim=2), normal(3, 2, 3), channels(2, 3), channels(2, 3)
    ),
    "layer_norm, no more": both(call("layer_norm"), normal(3, 4)),
    "group_norm": both(lambda m, x, g, b: m.group_norm(x, 2, g, b), normal(2, 4, 3), F, F),
    "instance_norm": both(call("instance_norm"), normal(2, 3, 2, 3), C, C),
}

RANDOM = {
    "dropout": Case(lambda m, x: m.dropout(x, 0.4, np.random.default_rng(1)), normal(3, 4)),
    "dropout of nothing": both(call("dropout", 0.0), normal(3)),
}

CASES: dict[str, Case] = {
    **ELEMENTWISE,
    **ARITHMETIC,
    **REDUCTION,
    **SHAPE,
    **INDEXING,
    **MATMUL,
    **EINSUM,
    **ACTIVATION,
    **LINEAR,
    **LOSS,
    **BATCH_NORM,
    **CONV,
    **POOL,
    **NORMALIZATION,
    **RANDOM,
}
