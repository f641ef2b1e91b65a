"""Ops far out, at their kinks and ties, and with operands of other kinds; what all ops share is in test_every_op."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import close, device, equal, leaf, normal

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

NAN, INF = np.nan, np.inf
FLOATS = ["float16", "float32", "float64"]
TIES = [[1, 2, 2], [2, 2, 1]]

#: name: the function, x, its value, and the gradient of its sum
EDGES = {
    "exp": (mg.exp, [-1e4, 0], [0, 1], [0, 1]),
    "log1p": (mg.log1p, [0, INF], [0, INF], [1, 0]),
    "softplus": (mg.softplus, [-1e4, 1e4, NAN], [0, 1e4, NAN], [0, 1, NAN]),
    "std of equal values": (mg.std, [2, 2, 2], 0, 0),
    "logsumexp": (lambda x: x.logsumexp(1), [[1e4, 0], [-1e4, 0]], [1e4, 0], [[1, 0], [0, 1]]),
    "prod of zeros": (lambda x: x.prod(1), [[2, 0, 3], [0, 2, 0]], [0, 0], [[0, 6, 0], [0, 0, 0]]),
    "prod of nothing": (lambda x: x.prod(1), np.zeros((2, 0)), [1, 1], np.zeros((2, 0))),
    "cross-entropy, ignored": (
        lambda z: mg.softmax_cross_entropy(z, [0, 9], ignore_index=9),
        [[0, -1e4], [NAN, 2]],
        0,
        0,
    ),
    "binary cross-entropy": (
        lambda z: mg.binary_cross_entropy_with_logits(z, [0, 1, 1], "none"),
        [-1e4, 1e4, -1e4],
        [0, 0, 1e4],
        [0, 0, -1],
    ),
    "tanh": (mg.tanh, [-1e4, 0, 1e4], [-1, 0, 1], [0, 1, 0]),
    "log": (mg.log, [1, INF], [0, INF], [1, 0]),
    "sqrt": (mg.sqrt, [0, INF], [0, INF], [INF, 0]),
    "abs": (mg.abs, [-INF, -2, -0.0, 0, 3], [INF, 2, 0, 0, 3], [-1, -1, 0, 0, 1]),
    "clip": (lambda x: x.clip(-1, 1), [-2, -1, 0, 1, 2], [-1, -1, 0, 1, 1], [0, 1, 1, 1, 0]),
    "clip from below": (lambda x: x.clip(low=0), [-1, 0, 1], [0, 0, 1], [0, 1, 1]),
    "clip from above": (lambda x: x.clip(high=0), [-1, 0, 1], [-1, 0, 0], [1, 1, 0]),
    "sigmoid": (mg.sigmoid, [-1e4, 0, 1e4], [0, 0.5, 1], [0, 0.25, 0]),
    "relu": (mg.relu, [-1e4, -0.0, 0, 1e4, NAN], [0, 0, 0, 1e4, NAN], [0, 0, 0, 1, 1]),
    "softmax": (mg.softmax, [[1e4, 1e4, -1e4], [1e4, 0, 0]], [[0.5, 0.5, 0], [1, 0, 0]], 0),
    "log_softmax": (mg.log_softmax, [1e4, 0, 0], [0, -1e4, -1e4], [-2, 1, 1]),
    "cross-entropy": (
        lambda z: mg.softmax_cross_entropy(z, [0, 1], "none"),
        [[1e4, 0], [1e4, 0]],
        [0, 1e4],
        [[0, 0], [1, -1]],
    ),
    "maximum": (lambda x: mg.maximum(x, 2), [1, 2, 3, NAN], [2, 2, 3, NAN], [0, 0.5, 1, 1]),
    "minimum": (lambda x: mg.minimum(x, 2), [1, 2, 3, NAN], [1, 2, 2, NAN], [1, 0.5, 0, 1]),
    "max": (mg.max, TIES, 2, [[0, 0.25, 0.25], [0.25, 0.25, 0]]),
    "max over rows": (lambda x: x.max(axis=0), TIES, [2, 2, 2], [[0, 0.5, 1], [1, 0.5, 0]]),
    "max over columns": (lambda x: x.max(axis=1), TIES, [2, 2], [[0, 0.5, 0.5], [0.5, 0.5, 0]]),
    "max over nothing": (lambda x: x.max(axis=()), TIES, TIES, np.ones((2, 3))),
    "min over columns": (lambda x: x.min(axis=1), TIES, [1, 1], [[1, 0, 0], [0, 0, 1]]),
    "min": (lambda x: x.min(), [2, 1, 1], 1, [0, 0.5, 0.5]),
    "sum of nothing": (lambda x: x.sum(0), np.zeros((0, 3)), [0, 0, 0], np.zeros((0, 3))),
    "where": (lambda x: mg.where([True, False], x, 7), [1, 2], [1, 7], [1, 0]),
    "where, one condition": (lambda x: mg.where(False, 0.5, x), [1, 2], [1, 2], [1, 1]),
    "a mask": (lambda x: x[x > 0], [1, -2, 3], [1, 3], [1, 0, 1]),
    "pad": (
        lambda x: mg.pad(x, [(0, 1), (2, 0)], value=7),
        [[1, 2]],
        [[7, 7, 1, 2], [7, 7, 7, 7]],
        [[1, 1]],
    ),
    "pad of no axes": (lambda x: mg.pad(x, 1), 2, 2, 1),
    "max_pool2d": (
        lambda x: mg.max_pool2d(x, 2),
        np.ones((1, 1, 2, 4)),
        np.ones((1, 1, 1, 2)),
        [[[[1, 0, 1, 0], [0, 0, 0, 0]]]],
    ),
    "max_pool2d of NaN": (
        lambda x: mg.max_pool2d(x, 2),
        [[[[0, NAN, 0, 0], [0, 0, 0, 0]]]],
        [[[[NAN, 0]]]],
        [[[[0, 1, 1, 0], [0, 0, 0, 0]]]],
    ),
    "max_pool2d, padded": (
        lambda x: mg.max_pool2d(x, 2, 1, 1),
        np.full((1, 1, 1, 1), -3),
        np.full((1, 1, 2, 2), -3),
        [[[[4]]]],
    ),
    "avg_pool2d, padded": (
        lambda x: mg.avg_pool2d(x, 2, 1, 1),
        np.ones((1, 1, 1, 1)),
        np.full((1, 1, 2, 2), 0.25),
        [[[[1]]]],
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("fn", "x", "value", "slope"), EDGES.values(), ids=EDGES)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_values_and_gradients(fn, x, value, slope, dtype):
    x = leaf(x, dtype)
    y = fn(x)
    assert y.dtype == dtype
    equal(y, np.array(value, dtype))
    y.sum().backward()
    equal(x.grad, np.broadcast_to(np.array(slope, dtype), x.shape))


def test_second_operands_share_ties_and_nan():
    for fn, share in ((mg.maximum, [1, 0.5, 0, 1]), (mg.minimum, [0, 0.5, 1, 1])):
        x, y = leaf([1, 2, 3, NAN]), leaf([2, 2, 2, 2])
        fn(x, y).sum().backward()
        equal(y.grad, share)


@pytest.mark.parametrize("dtype", FLOATS)
def test_relu_of_nan_passes_the_gradient_on(dtype):
    x, gy = leaf([NAN, -1.0, 1.0, NAN], dtype), leaf([1.0, 1.0, 1.0, 1.0], dtype)
    gx = mg.grad(mg.relu(x), x, gy, create_graph=True)
    equal(mg.grad(gx.sum(), gy), [1, 0, 1, 1])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-7), ("float64", 1e-15)])
def test_sigmoid_is_relatively_accurate_where_it_is_small(dtype, tolerance):
    x = np.linspace(-80, 0, 161)
    y = mg.sigmoid(mg.tensor(x, dtype=dtype))
    np.testing.assert_allclose(y.numpy(), np.exp(x) / (1 + np.exp(x)), rtol=tolerance)


#: a function, the dtype of x and that of the result
DTYPES = [
    *[(name, "int64", "float32") for name in ("exp", "log", "sqrt", "tanh", "mean", "var")],
    *[("abs", dtype, dtype) for dtype in ("int8", "int64", "uint8")],
    ("sum", "int64", "int64"),
    ("sum", "bool", "int64"),
    ("mean", "bool", "float32"),
    ("max", "int8", "int8"),
    ("min", "uint8", "uint8"),
    ("argmax", "float16", "int64"),
    ("argmin", "float16", "int64"),
    *[(name, "int64", "float32") for name in ("sin", "cos", "log1p", "expm1", "std")],
    *[(name, "int8", "int64") for name in ("prod", "cumsum")],
    ("prod", "uint8", "uint64"),
]


@pytest.mark.parametrize(("name", "dtype", "expected"), DTYPES)
def test_dtypes_of_results(name, dtype, expected):
    x = np.array([0, 1, 1] if dtype == "bool" else [1, 2, 3], dtype)
    y = getattr(mg, name)(mg.tensor(x))
    assert y.dtype == expected and not y.requires_grad
    wide = x.astype(np.float32) if expected == "float32" else x
    close(y, np.asarray(getattr(np, name)(wide)), 1e-6)


@pytest.mark.parametrize(
    ("dtype", "bounds", "expected"),
    [
        ("float16", (0.5, 1.5), "float16"),
        ("float32", (np.float64(0.5), 1), "float32"),
        ("int64", (1, 2), "int64"),
        ("int64", (0.5, 2), "float32"),
        ("int8", (None, np.float64(1.5)), "float32"),
    ],
)
def test_bounds_do_not_widen(dtype, bounds, expected):
    x = mg.arange(4, dtype=dtype).clip(*bounds)
    assert x.dtype == expected
    equal(x, np.clip(np.arange(4.0), *bounds).astype(expected))


def test_casts():
    for start, end in (("float64", "float32"), ("float16", "float64")):
        x = leaf([1.0, 2.0], start)
        y = x.astype(end)
        (y * y).sum().backward()
        assert (y.dtype, x.grad.dtype) == (end, start)
        equal(x.grad, [2.0, 4.0])
    x = leaf([1.5, -1.5])
    assert x.astype("float64") is x
    assert not x.astype("int64").requires_grad
    equal(x.astype("int64"), [1, -1])
    equal(x.astype(bool), [True, True])


# --- reductions ---


@pytest.mark.parametrize("axis", [np.int64(1), (np.int64(-1),), [1]])
def test_axes_may_be_numpy_integers(axis):
    equal(mg.arange(6).reshape(2, 3).sum(axis), [3, 12])


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_argmax(axis):
    values = np.array([[1.0, 5, 5], [7, 7, 2]])
    equal(mg.argmax(leaf(values), axis), values.argmax(axis))


@pytest.mark.parametrize("name", ["mean", "var"])
def test_float16_is_summed_in_float32(name):
    values = np.float16([1, 300] * 40_000)  # their sum and their squares overflow float16
    y = getattr(mg, name)(mg.tensor(values))
    assert y.dtype == np.float16
    close(y, getattr(np, name)(values.astype(np.float64)).astype(np.float16), 1e-3)


@pytest.mark.parametrize("mean", [0, 1e4, 1e6])
def test_variance_at_a_large_mean(rng, mean):
    values = (mean + 0.1 * rng.standard_normal((500, 3))).astype(np.float32)
    exact = values.astype(np.float64)
    x = mg.tensor(values)
    # Squares around a mean that is slightly off are too large by the square of that, and by no more.
    offset = x.mean(0).numpy() - exact.mean(0)
    np.testing.assert_allclose(x.var(0).numpy(), exact.var(0) + offset**2, rtol=2e-6)


# --- products ---


def test_products_with_arrays_and_lists_on_both_sides(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 2))
    close(mg.tensor(a) @ device(b), a @ b)
    close(device(a) @ mg.tensor(b), a @ b)
    x = mg.tensor([[1, 2], [3, 4]])
    equal(x @ [[0, 1], [1, 0]], [[2, 1], [4, 3]])
    equal([[0, 1], [1, 0]] @ x, [[3, 4], [1, 2]])
    assert (mg.ones(2, 3, dtype="int64") @ mg.ones(3, 2, dtype="int64")).dtype == np.int64


def test_no_inputs_leave_the_bias():
    equal(mg.linear(mg.zeros((2, 3, 0)), mg.zeros((4, 0)), mg.ones(4)), np.ones((2, 3, 4)))


# --- losses ---


def test_cross_entropy_of_many_in_float16():
    z = mg.zeros((50_000, 8), dtype="float16")  # the sum is above float16's 65504
    loss = mg.softmax_cross_entropy(z, mg.zeros(50_000, dtype="int64"))
    assert loss.dtype == np.float16
    close(loss, math.log(8), 2e-3)


LABELS = {
    "list": lambda c: c.tolist(),
    "array": device,
    "tensor": mg.tensor,
    "int8": lambda c: device(c.astype(np.int8)),
    "uint8": lambda c: mg.tensor(c.astype(np.uint8)),
    "computed": lambda c: mg.tensor(c)[[0, 1, 2]],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_kinds_of_labels(rng, labels):
    c, z = np.array([2, 0, 99]), rng.standard_normal((3, 100))
    expected = np.log(np.exp(z).sum(1)).mean() - z[np.arange(3), c].mean()
    close(mg.softmax_cross_entropy(mg.tensor(z), labels(c)), expected)


def test_mse_takes_targets_that_are_no_tensors():
    for target in (device(np.zeros(2)), [0, 0]):
        equal(mg.mse_loss(mg.tensor(np.array([1.0, 3.0])), target), 5)


# --- normalization ---

NORMS = {
    "layer_norm": lambda x: mg.layer_norm(x, ndim=3),
    "group_norm": lambda x: mg.group_norm(x, 2),
    "instance_norm": mg.instance_norm,
}


@pytest.mark.parametrize("fn", NORMS.values(), ids=NORMS)
def test_norms_of_each_example(rng, fn):
    """No example depends on another, and a large mean costs no precision."""
    x = leaf(rng.standard_normal((3, 4, 2, 2)))
    gx = mg.grad(fn(x)[1], x, normal(rng, 4, 2, 2)).numpy()
    assert gx[1].any() and not gx[[0, 2]].any()
    close(fn(x)[1], fn(x[1:2])[0])
    for mean in (1e2, 1e6):
        values = (mean + 0.1 * rng.standard_normal((2, 4, 8, 8))).astype(np.float32)
        close(fn(mg.tensor(values)), fn(mg.tensor(values.astype(np.float64))), 2e-4)


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_a_single_example_needs_no_axis_before_its_features(rng, shape):
    """As one of a batch, in values and both derivatives; the layer too."""
    x, gamma, beta = (normal(rng, *shape, requires_grad=True) for _ in range(3))
    y = mg.layer_norm(x, gamma, beta, len(shape))
    close(y, mg.layer_norm(x.reshape(1, *shape), gamma, beta, len(shape)).reshape(shape))
    assert mg.gradcheck(lambda *ts: mg.layer_norm(*ts, len(shape)), [x, gamma, beta])
    assert mg.nn.LayerNorm(shape)(mg.ones(shape)).shape == shape


# --- dropout ---


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.25, 0.5, np.float64(0.75)])
def test_dropout_is_that_of_the_seed_on_every_backend(p, dtype):
    x = mg.full((4, 5), 3, dtype=dtype)
    y = mg.dropout(x, p, np.random.default_rng(7))
    numbers = np.random.Philox(key=int(np.random.default_rng(7).integers(2**63)))
    kept = np.random.Generator(numbers).random((4, 5), np.float32) >= p
    close(y, (np.where(kept, 3, 0) / (1 - p)).astype(dtype), 1e-3 if dtype == "float16" else 1e-6)
    assert y.dtype == dtype


def test_seeds():
    """The default generator's; another generator and NumPy's global state are left alone."""
    x, before = mg.ones(50), np.random.get_state()[1].tobytes()

    def masks(seed, *others):
        mg.manual_seed(seed)
        for rng in others:
            mg.dropout(x, rng=rng)
        return [mg.dropout(x).numpy().tobytes() for _ in range(2)]

    first = masks(3)
    assert masks(3) == masks(3, np.random.default_rng(0)) == first
    assert first[0] != first[1] and masks(4) != first
    assert np.random.get_state()[1].tobytes() == before
