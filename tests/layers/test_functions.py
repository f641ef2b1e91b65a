"""dense, batch_normalization and moments: TensorFlow's numbers; errors leave no variables."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers import close, equal, error_table, normal, refuses
from layers.shared import bn, dense, names, values, x2

import minigrad as mg
from minigrad import layers
from minigrad.nn import init

pytestmark = pytest.mark.usefixtures("backend")


# --- batch_normalization ---


@pytest.mark.parametrize(
    ("shape", "axis", "averaged", "ddof"),
    [
        ((6, 3), -1, 0, 0), ((4, 3, 2), 1, (0, 2), 0), ((4, 2, 2, 3), -1, (0, 1, 2), 1),
        ((4, 2, 2, 3), 3, (0, 1, 2), 1), ((4, 3, 2, 2), 1, (0, 2, 3), 1), ((4, 3, 2, 2), -3, (0, 2, 3), 1),
        ((4, 2, 3, 2), 2, (0, 1, 3), 0), ((2, 3, 2, 2, 2), 1, (0, 2, 3, 4), 0),
    ],
)  # fmt: skip
def test_training_then_inference(rng, shape, axis, averaged, ddof):
    """The fused kernel, for 4 axes and axis 1 or 3, remembers the unbiased variance."""
    wide = [1 if i in np.atleast_1d(averaged) else n for i, n in enumerate(shape)]
    settings = {"axis": axis, "momentum": 0.75, "epsilon": 0.01, "name": "bn"}
    start = values(gamma=2, beta=0.5, moving_mean=-1, moving_variance=3)
    mean, var = np.full(3, -1.0), np.full(3, 3.0)
    for step in range(3):
        x = 3 * normal(rng, *shape) + step
        y = bn(x, training=True, reuse=step > 0, **settings, **start)
        a = x.numpy()
        centered = a - a.mean(averaged, keepdims=True)
        close(y, 2 * centered / np.sqrt(a.var(averaged, keepdims=True) + 0.01) + 0.5)
        mean = 0.75 * mean + 0.25 * a.mean(averaged)
        var = 0.75 * var + 0.25 * a.var(averaged, ddof=ddof)
        close(layers.variables()["bn/moving_mean"], mean)
        close(layers.variables()["bn/moving_variance"], var)
    before = [v.numpy() for v in layers.variables().values()]
    y = bn(x, reuse=True, **settings)
    xhat = (x.numpy() - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + 0.01)
    close(y, 2 * xhat + 0.5)
    for v, value in zip(layers.variables().values(), before, strict=True):
        equal(v, value)


def test_lists_of_axes(rng):
    """One is as the number alone, several have statistics of their own for each pair of indices."""
    x = normal(rng, 4, 2, 5, 3)
    equal(bn(x, axis=[3], training=True), bn(x, axis=3, training=True))
    equal(*[layers.variables()[f"batch_normalization{n}/moving_variance"] for n in ("", "_1")])
    for _ in range(2):
        y = bn(x, axis=[-1, 1], training=True, name="two", reuse=layers.AUTO_REUSE)
    flat, _, _ = mg.batch_norm(x.transpose(0, 2, 1, 3).reshape(20, 6), None, None)
    close(y, flat.reshape(4, 5, 2, 3).transpose(0, 2, 1, 3))
    assert layers.variables()["two/gamma"].shape == (2, 3)


def test_initializers_of_the_article(rng):
    """As defaults are written in TensorFlow."""
    initializers = {
        "beta_initializer": layers.ones_initializer(),
        "gamma_initializer": layers.zeros_initializer(),
    }
    equal(bn(x2(rng), training=True, **initializers), np.ones((4, 3)))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_center_and_scale(rng, center, scale):
    x = normal(rng, 5, 3)
    start = values(gamma=2, beta=0.5)
    y = bn(x, center=center, scale=scale, training=True, **start)
    plain, _, _ = mg.batch_norm(x, None, None)
    close(y, (2 if scale else 1) * plain + (0.5 if center else 0))
    kinds = ["gamma"] * scale + ["beta"] * center
    assert names() == [
        f"batch_normalization/{k}" for k in [*kinds, "moving_mean", "moving_variance"]
    ]
    assert list(layers.trainable_variables()) == [f"batch_normalization/{k}" for k in kinds]


def test_not_trainable(rng):
    x = normal(rng, 5, 3, requires_grad=True)
    (bn(x, training=True, trainable=False) ** 3).sum().backward()
    assert x.grad is not None
    assert not layers.trainable_variables()
    assert not any(v.requires_grad for v in layers.variables().values())
    close(layers.variables()["batch_normalization/moving_mean"], 0.01 * x.numpy().mean(0))


def test_inference_before_training_is_warned_of(rng):
    warned = pytest.warns(UserWarning, match="batch_normalization 'a/bn': .* never fed")
    with warned, layers.variable_scope("a"):
        bn(x2(rng), name="bn")


# --- dense ---


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, mg.sigmoid])
def test_numbers(rng, shape, use_bias, activation):
    x = normal(rng, *shape)
    y = dense(x, 2, activation, use_bias, **values(bias=0.5))
    kernel = layers.variables()["dense/kernel"]
    assert kernel.shape == (3, 2)
    expected = x.numpy() @ kernel.numpy() + (0.5 if use_bias else 0)
    close(y, expected if activation is None else 1 / (1 + np.exp(-expected)))
    assert names() == ["dense/kernel", "dense/bias"][: 1 + use_bias]
    assert layers.trainable_variables().keys() == layers.variables().keys()


def test_initializers_have_weights_as_out_in(rng):
    """he_normal must see 200 inputs, although the kernel is (in, out)."""
    asked = []

    def counting(shape, rng):
        asked.append(shape)
        return np.arange(6, dtype=np.float32).reshape(shape)

    dense(x2(rng), 2, kernel_initializer=counting, name="counted")
    assert asked == [(2, 3)]
    equal(layers.variables()["counted/kernel"].astype(np.float64), [[0, 3], [1, 4], [2, 5]])
    dense(x2(rng, m=200), 50, kernel_initializer=init.he_normal, name="he")
    assert layers.variables()["he/kernel"].numpy().std() == pytest.approx(0.1, rel=0.05)


def test_reuse_draws_nothing(rng):
    mg.manual_seed(3)
    x = x2(rng)
    dense(x, 2, name="a", reuse=None)
    dense(x, 2, name="a", reuse=True)
    bn(x, gamma_initializer=init.normal, training=True, name="b")
    bn(x, gamma_initializer=init.normal, training=True, name="b", reuse=True)
    drawn = np.random.default_rng(3)
    init.glorot_uniform((2, 3), drawn)
    equal(layers.variables()["b/gamma"], init.normal((3,), drawn))


# --- moments ---


@pytest.mark.parametrize("axes", [[0], 0, (0, 1, 2), [-1], [0, 2]])
@pytest.mark.parametrize("keep_dims", [False, True])
def test_numpys_over_the_reduced_axes(rng, axes, keep_dims):
    x = 1e6 + normal(rng, 4, 3, 2)
    mean, variance = layers.moments(x, axes, keep_dims)
    over = tuple(np.atleast_1d(axes))
    close(mean, x.numpy().mean(over, keepdims=keep_dims))
    close(variance, x.numpy().var(over, keepdims=keep_dims), 1e-8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("backend_of_inputs", ["numpy", "strict"])
def test_dtypes_and_backends(rng, dtype, backend_of_inputs):
    x = mg.tensor(rng.standard_normal((6, 3)).astype(dtype), backend=backend_of_inputs)
    y = dense(x, 2, trainable=False)
    assert (y.dtype, bn(y, training=True).dtype) == (dtype, dtype)
    found = {name: v.dtype for name, v in layers.variables().items()}
    statistics = np.promote_types(dtype, np.float32)
    assert all(d == (dtype if "dense" in name else statistics) for name, d in found.items())
    assert {v.backend for v in layers.variables().values()} == {backend_of_inputs}
    assert all("batch_norm" in name for name in layers.trainable_variables())


def wrong_shape(shape, rng):
    return np.zeros(7, np.float32)


ones = partial(mg.ones, (4, 3))
ERRORS = {
    "array": (TypeError, "dense 'dense', argument x: expected a minigrad Tensor", lambda: dense(np.ones(3), 2)),
    "integers": (
        TypeError, "batch_normalization 'batch_normalization': expected a floating dtype",
        lambda: bn(mg.ones((4, 3), dtype=np.int64)),
    ),
    "vector": (ValueError, "dense 'dense': expected inputs of at least 2", lambda: dense(mg.ones(3), 2)),
    "units": (ValueError, "dense 'dense': expected units to be a positive", lambda: dense(ones(), 0)),
    "activation": (TypeError, "expected a function as activation, got 'relu'", lambda: dense(ones(), 2, "relu")),
    "activation_fails": (ZeroDivisionError, "division by zero", lambda: dense(ones(), 2, lambda x: 1 / 0)),
    "initializer": (
        TypeError, "dense 'a': variable 'a/bias': expected an initializer, a function of (shape, rng), got None",
        lambda: dense(ones(), 2, bias_initializer=None, name="a"),
    ),
    "kernel_initializer": (
        TypeError, "dense 'dense': expected an initializer, a function of (shape, rng), got 'zeros'",
        lambda: dense(ones(), 2, kernel_initializer="zeros"),
    ),
    "regularizer": (
        TypeError, "variable 'b/gamma': expected a callable regularizer, got 0.1",
        lambda: bn(ones(), gamma_regularizer=0.1, name="b"),
    ),
    "initial_shape": (
        ValueError, "'b/moving_variance': expected an initial value of shape (3,), got (7,)",
        lambda: bn(ones(), moving_variance_initializer=wrong_shape, name="b"),
    ),
    "kernel_shape": (
        ValueError, "dense 'dense': expected an initial value of shape (2, 3), got (7,)",
        lambda: dense(ones(), 2, kernel_initializer=wrong_shape),
    ),
    "bias_shape": (ValueError, "'dense/bias': expected", lambda: dense(ones(), 2, bias_initializer=wrong_shape)),
    "axes": (TypeError, "expected axis as an int", lambda: bn(ones(), axis=(0, 1))),
    "axis": (ValueError, "'batch_normalization': axis 2 is out of range", lambda: bn(ones(), axis=2)),
    "momentum": (ValueError, "'b': expected momentum in [0, 1], got 1.5", lambda: bn(ones(), momentum=1.5, name="b")),
    "no_momentum": (ValueError, "expected momentum in [0, 1], got None", lambda: bn(ones(), momentum=None)),
    "epsilon": (ValueError, "expected epsilon > 0, got 0", lambda: bn(ones(), epsilon=0)),
    "one_value": (ValueError, "batch_normalization 'b': ", lambda: bn(mg.ones((1, 3)), training=True, name="b")),
    "name": (ValueError, "dense: expected a name, got ''", lambda: dense(ones(), 2, name="")),
    "slash": (ValueError, "dense: expected a name, got 'a/'", lambda: dense(ones(), 2, name="a/")),
    "reuse": (ValueError, "None or AUTO_REUSE, got 'auto'", lambda: bn(ones(), reuse="auto")),
    "missing": (
        ValueError, "dense 'a': variable 'a/kernel' does not exist",
        lambda: dense(ones(), 2, name="a", reuse=True),
    ),
    "scope_name": (
        ValueError, "variable_scope: expected a name, got 3",
        lambda: layers.variable_scope(3).__enter__(),
    ),
    "template_name": (ValueError, "make_template: expected a name", lambda: layers.make_template("", ones)),
    "template": (TypeError, "make_template: expected a name and a function", lambda: layers.make_template("a", 3)),
    "variable": (TypeError, "expected a floating dtype, got int64", lambda: layers.Variable(np.arange(3))),
    "scale": (ValueError, "l2_regularizer: expected scale >= 0, got -1", lambda: layers.l2_regularizer(-1)),
    "moments": (ValueError, "moments: axis 2 is out of range", lambda: layers.moments(ones(), [2])),
    "moments_empty": (ValueError, "expected at least one value", lambda: layers.moments(mg.ones((0, 3)), [0])),
    "moments_array": (TypeError, "moments, argument x: expected", lambda: layers.moments(np.ones(3), [0])),
}  # fmt: skip


@error_table(ERRORS)
def test_errors_make_no_variables(error, words, call):
    with refuses(error, words):
        call()
    assert not layers.variables()
    dense(ones(), 2)
    bn(ones(), training=True)
    names = list(layers.variables())
    assert names[0] == "dense/kernel" and names[2] == "batch_normalization/gamma"
