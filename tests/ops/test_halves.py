"""float16 and bfloat16 are added in float32 and rounded once: every op that adds, and its gradients.

Against float64 of the same inputs, an error is at most 2 units in the last place of the result, and what float32 costs
where numbers nearly cancel.
"""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.usefixtures("backend")

HALVES = ["float16", "bfloat16"]
N = 1000


def numbers(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).standard_normal(shape) * scale


def cancelling(n, *shape):
    """n numbers along the first axis that add up to about 1, and the larger they are."""
    big = np.random.default_rng(1).uniform(100, 200, (n // 2, *shape))
    return np.concatenate([big, -big[::-1]]) + (np.arange(n) == 3).reshape(-1, *[1] * len(shape))


def total(y, mean, var):
    return (y.astype(mean.dtype) - 10 * mean + var).astype(y.dtype)


#: a function of a, b, ..., and these inputs, the terms of some sum in which nearly cancel
TABLE = """
a.sum()                             | cancelling(N)
a.sum(0)                            | cancelling(N, 5)
a.sum(1)                            | cancelling(N, 5).T
a.mean(0)                           | cancelling(N, 3)
a.var(0)                            | 100 + numbers(N, 3)
a.max(axis=0)                       | np.ones((3000, 2))
a.broadcast_to((N, 3))              | numbers(3)
a * b                               | cancelling(N, 3), numbers(3)
a * b                               | cancelling(N, 3), numbers()
a / b                               | cancelling(N, 3), 1 + numbers(3) ** 2
a + b                               | numbers(N, 3), numbers(3)
a**b                                | 1 + numbers(N, 3) ** 2, numbers(3)
concatenate([a] * N)                | numbers(3)
a[[0] * N]                          | numbers(3)
a @ b                               | cancelling(N, 3).T, np.ones((N, 2))
a @ b                               | cancelling(N), np.ones(N)
a @ b                               | numbers(2, 3), cancelling(N, 3, 2)
a @ b                               | cancelling(N, 3).T[None], np.ones((1, N, 2))
linear(a, b, c)                     | cancelling(N, 4).T, np.ones((2, N)), -np.ones(2)
linear(a, b, c)                     | np.ones((N, 1)), np.full((2, 1), 1.2345), -np.full(2, 1.2344)
softmax(a)                          | numbers(2, N)
softmax(a)                          | numbers(3, N, scale=1e-2)
log_softmax(a)                      | numbers(2, N)
softmax_cross_entropy(a, LABELS)    | numbers(N, 7, scale=5)
softmax_cross_entropy(a, LABELS, "none") | numbers(N, 7, scale=5)
mse_loss(a, b)                      | numbers(N), numbers(N, seed=1)
avg_pool2d(a, 32, 32)               | cancelling(1024, 2).T.reshape(1, 2, 32, 32)
avg_pool2d(a, 16, 1)                | numbers(1, 2, 20, 20)
global_avg_pool2d(a)                | cancelling(1024, 2).T.reshape(1, 2, 32, 32)
max_pool2d(a, 16, 1)                | np.random.default_rng(0).permutation(400).reshape(1, 1, 20, 20) / 4
conv2d(a, b, c)                     | numbers(2, 4, 9, 9), numbers(4, 4, 3, 3), numbers(4)
conv2d(a, b, c, stride=2, padding=1) | numbers(2, 4, 9, 9), numbers(4, 4, 3, 3), numbers(4)
conv2d(a, b, c, groups=2)           | numbers(2, 4, 9, 9), numbers(4, 2, 3, 3), numbers(4)
conv2d(a, b, c, dilation=2)         | numbers(2, 4, 9, 9), numbers(4, 4, 3, 3), numbers(4)
conv2d(a, b, c) | cancelling(64, 2).T.reshape(2, 1, 8, 8), np.ones((2, 1, 8, 8)), np.array([1.0, -1.0])
conv1d(a, b, c)                     | numbers(2, 3, 9), numbers(2, 3, 4), numbers(2)
conv_transpose2d(a, b, c, stride=2) | numbers(2, 8, 4, 4), numbers(8, 2, 3, 3), numbers(2)
layer_norm(a, b, c)                 | 50 + numbers(4, N), numbers(N), numbers(N)
group_norm(a, 2, b, c)              | 50 + numbers(3, 4, 99), numbers(4), numbers(4)
instance_norm(a, b, c)              | 50 + numbers(9, 4, 99), numbers(4), numbers(4)
batch_norm(a, b, c)[0]              | 50 + numbers(N, 3), numbers(3), numbers(3)
total(*batch_norm(a, b, c))         | 3 + numbers(N, 3), numbers(3), numbers(3)
frozen_batch_norm(a, b, c, d, e) | 50 + numbers(N, 3), numbers(3), numbers(3), 50 + numbers(3), 1 + numbers(3) ** 2
moments(a).m2                       | 50 + numbers(N, 3)
weighted_batch_norm(a, COUNTS, b, c)[0] | 50 + numbers(N, 3), numbers(3), numbers(3)
"""
ROWS = TABLE.strip().splitlines()
NAMES = {name: getattr(mg, name) for name in mg.__all__} | {"np": np, "N": N, "total": total}
NAMES |= {"numbers": numbers, "cancelling": cancelling}


#: names of functions whose parameters beside the first input are float32
WIDE = ("norm", "moments")


#: what float32 costs beside results that are tiny, or numbers that are large
SLACK = {
    "log_softmax(a)": 1e-6,
    'softmax_cross_entropy(a, LABELS, "none")': 2e-6,
    "instance_norm(a, b, c)": 1e-6,
    "layer_norm(a, b, c)": 1e-6,
}


def spacing(y, dtype):
    """A unit in the last place."""
    bits, least = {"float16": (10, -24), "bfloat16": (7, -133)}[dtype]
    exponent = np.floor(np.log2(np.maximum(np.abs(y), 2.0**-140)))
    return np.maximum(2.0 ** (exponent - bits), 2.0**least)


def computed(fn, arrays, dtypes):
    """The value and the gradients, with their dtypes; the cotangent is of few bits."""
    xs = [mg.tensor(a, dtype=d, requires_grad=True) for a, d in zip(arrays, dtypes, strict=True)]
    y = fn(*xs)
    gy = np.round(numbers(*y.shape, seed=5) * 16) / 16 + 1
    grads = mg.grad(y, xs, mg.tensor(gy, dtype=y.dtype))
    return [(t.dtype.name, t.numpy().astype(np.float64)) for t in (y, *grads)]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("row", ROWS)
def test_what_adds(row, dtype):
    expression, _, inputs = row.partition("|")
    arrays = eval(f"[{inputs}]", NAMES)
    labels = {"LABELS": mg.tensor(np.arange(N) % 7), "COUNTS": mg.tensor(np.arange(N) % 3)}

    def fn(*xs):
        return eval(expression, NAMES | labels | dict(zip("abcde", xs, strict=False)))

    wide = "float32" if any(part in expression for part in WIDE) else dtype
    dtypes = [dtype, *[wide] * (len(arrays) - 1)]
    given = [mg.tensor(a, dtype=d).numpy() for a, d in zip(arrays, dtypes, strict=True)]
    found = computed(fn, given, dtypes)
    exact = computed(fn, given, ["float64"] * len(given))
    for i, ((kind, ours), (_, theirs)) in enumerate(zip(found, exact, strict=True)):
        if kind == "float32":
            bound = 1e-4 * np.abs(theirs).max()
        else:
            bound = 2 * spacing(theirs, kind) + SLACK.get(expression.strip(), 0)
        assert (np.abs(ours - theirs) <= bound).all(), f"output or gradient {i}"


@pytest.mark.parametrize("dtype", HALVES)
def test_a_value_used_in_many_places(dtype):
    """Its gradients are added up in float32 within one walk, recorded or not."""
    for create_graph in (False, True):
        b = mg.zeros(2, requires_grad=True, dtype=dtype)
        hidden = b * 1
        total = sum(((hidden + b).astype("float32") for _ in range(1000)), mg.zeros(2))
        g, gh = mg.grad(total.sum(), [b, hidden], create_graph=create_graph)
        assert g.dtype == gh.dtype == b.dtype
        np.testing.assert_array_equal(g.numpy().astype(float), [2000, 2000])
        np.testing.assert_array_equal(gh.numpy().astype(float), [1000, 1000])
        g = mg.grad([hidden] * 1000, b, [hidden.filled(1)] * 1000, create_graph=create_graph)
        assert g.dtype == b.dtype
        np.testing.assert_array_equal(g.numpy().astype(float), [1000, 1000])
        total = sum((b.astype("float32") for _ in range(1000)), mg.zeros(2))
        total.sum().backward(create_graph=create_graph)
        np.testing.assert_array_equal(b.grad.numpy().astype(float), [1000, 1000])


@pytest.mark.parametrize("dtype", HALVES)
def test_batch_renorm_rounds_once(dtype):
    x = mg.tensor(50 + numbers(N, 3), dtype=dtype)
    found = []
    for given in (x, x.astype("float32")):
        bn = nn.BatchRenorm(3, r_max=3, d_max=5)
        bn.running_mean.load(np.full(3, 49.3, np.float32))
        found.append(bn(given).astype(dtype).numpy().astype(float))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01),
    ],
    ids=["SGD", "Adam"],
)
def test_optimizers_keep_their_state_in_float32(make, dtype):
    """Squares of small gradients would be 0 in float16, and Adam's eps too."""
    found = []
    for kind in (dtype, "float32"):
        p = mg.tensor(np.linspace(-1, 1, 9), dtype=dtype, requires_grad=True).astype(kind).detach()
        p.requires_grad = True
        optimizer = make([p])
        for step in range(3):
            p.grad = mg.tensor(np.arange(9) * 2.0 ** (-13 - step), dtype=dtype).astype(kind)
            optimizer.step()
            p.load(p.astype(dtype).astype(kind).numpy())
        assert {t.dtype.name for ts in optimizer.state.values() for t in ts} == {"float32"}
        found.append(p.numpy().astype(np.float32))
    np.testing.assert_array_equal(*found)
