"""Names, scopes and reuse as in TensorFlow, regularizers, and variables by hand."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal, normal, refuses
from layers.shared import bn, dense, names, values, x2

import minigrad as mg
from minigrad import layers
from minigrad.layers import variable_scope

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def x(rng):
    return x2(rng)


# --- names ---


def test_automatic_names(x):
    for _ in range(3):
        dense(x, 2, use_bias=False)
        bn(x, 0, training=True)
    dense(x, 2, name="dense_3", use_bias=False)
    dense(x, 2, use_bias=False)
    kernels = [n for n in names() if "kernel" in n]
    assert kernels == ["dense/kernel", *(f"dense_{i}/kernel" for i in range(1, 5))]
    assert [n.partition("/")[0] for n in names() if "gamma" in n] == [
        f"batch_normalization{suffix}" for suffix in ("", "_1", "_2")
    ]


def test_names_in_scopes(x):
    with variable_scope("a"):
        bn(x, training=True)
        with variable_scope("b"):
            dense(x, 2, use_bias=False)
            dense(x, 2, use_bias=False, name="c/d")
        dense(x, 2, use_bias=False)
    dense(x, 2, use_bias=False)
    kinds = ["gamma", "beta", "moving_mean", "moving_variance"]
    kernels = ["a/b/dense/kernel", "a/b/c/d/kernel", "a/dense/kernel", "dense/kernel"]
    assert names() == [f"a/batch_normalization/{kind}" for kind in kinds] + kernels
    layers.reset()
    with variable_scope("dense"):  # a scope takes a name too
        dense(x, 2, use_bias=False)
    dense(x, 2, use_bias=False)
    assert names() == ["dense/dense/kernel", "dense_1/kernel"]


def test_a_scope_opened_again_starts_over(x):
    def two():
        return dense(x, 2), dense(x, 2)

    with variable_scope("a"):
        first = two()
    with variable_scope("a", reuse=True):
        again = two()
    assert len(names()) == 4
    for y, z in zip(first, again, strict=True):
        equal(y, z)
    assert abs(first[0].numpy() - first[1].numpy()).max() > 0
    with variable_scope("a"), refuses(ValueError, "'a/dense/kernel' already exists"):
        two()


def test_reset(x):
    dense(x, 2, kernel_regularizer=layers.l2_regularizer(1.0))
    layers.reset()
    assert not layers.variables() and layers.regularization_loss().item() == 0
    dense(x, 5)
    found = {name: v.shape for name, v in layers.variables().items()}
    assert found == {"dense/kernel": (3, 5), "dense/bias": (5,)}


# --- reuse ---


def test_reuse_finds_the_variables(x):
    equal(dense(x, 2), dense(x, 2, reuse=True))  # the name is "dense", not the next one
    assert len(names()) == 2
    y = bn(x, training=True, name="b")
    equal(y, bn(x, training=True, name="b", reuse=True))
    assert len(names()) == 6
    close(layers.variables()["b/moving_mean"], (1 - 0.99**2) * x.numpy().mean(0), 1e-6)


def test_auto_reuse_finds_or_makes(x):
    """In the layer or in the scope around it; a layer without a name has its own then, not the next one."""
    auto = layers.AUTO_REUSE
    y = [dense(x, 2, reuse=auto) for _ in range(2)]
    equal(*y)
    for _ in range(2):
        with variable_scope("a", reuse=auto) as scope, variable_scope("b"):
            y.append(dense(x, 2, name="c"))
    equal(*y[2:])
    assert names() == ["dense/kernel", "dense/bias", "a/b/c/kernel", "a/b/c/bias"]
    with variable_scope(scope, reuse=True), refuses(ValueError, "does not exist"):
        dense(x, 2, name="d")


@pytest.mark.parametrize("reuse", [None, False])
def test_otherwise_they_must_be_new(x, reuse):
    dense(x, 2, name="a")
    words = "dense 'a': variable 'a/kernel' already exists; set reuse=True"
    with refuses(ValueError, words):
        dense(x, 2, name="a", reuse=reuse)
    with variable_scope("b"):
        bn(x, name="c", center=False, scale=False, training=True)
        with refuses(ValueError, "'b/c/moving_mean' already exists; set reuse=True"):
            bn(x, name="c", training=True, reuse=reuse)
    assert "b/c/gamma" not in names()  # it was new, but its layer was refused


@pytest.mark.parametrize("inner", [None, False, True])
def test_scopes_inherit_reuse(x, inner):
    with variable_scope("a"), variable_scope("b"):
        y = dense(x, 2)
    with variable_scope("a", reuse=True), variable_scope("b", reuse=inner):
        equal(dense(x, 2, reuse=inner), y)
        with refuses(ValueError, "variable 'a/b/other/kernel' does not exist"):
            dense(x, 2, name="other", reuse=inner)
    assert len(names()) == 2


def test_other_shapes_and_dtypes_are_refused(rng, x):
    dense(x, 2)
    with refuses(ValueError, "variable 'dense/kernel' has (3, 2) float32, expected (5, 2) float32"):
        dense(x2(rng, m=5), 2, reuse=True)
    with refuses(ValueError, "has (3, 2) float32, expected (3, 2) float64"):
        dense(normal(rng, 4, 3), 2, reuse=True)


def test_fewer_variables_of_a_layer(rng):
    x = normal(rng, 4, 3)
    bn(x, training=True, name="b", **values(gamma=2, beta=1))
    plain, _, _ = mg.batch_norm(x, None, None)
    close(bn(x, training=True, name="b", center=False, reuse=True), 2 * plain)
    close(bn(x, training=True, name="b", reuse=True), 2 * plain + 1)


# --- regularizers and variables by hand ---


def test_regularization_is_of_the_current_values(rng):
    x, l2 = normal(rng, 4, 3), layers.l2_regularizer(0.5)
    dense(x, 2, kernel_regularizer=l2, bias_regularizer=lambda b: b.sum() * 3, **values(bias=2))
    bn(x, training=True, gamma_regularizer=l2, beta_regularizer=lambda b: (b - 1).abs().sum())
    kernel = layers.variables()["dense/kernel"]
    for _ in range(2):
        loss = layers.regularization_loss()
        close(loss, 0.25 * (kernel.numpy() ** 2).sum() + 3 * 4 + 0.25 * 3 + 3)
        loss.backward()
        close(kernel.grad, 0.5 * kernel.numpy())
        kernel.data, kernel.grad = kernel.data * 3, None


def test_a_variable_is_regularized_once(x):
    settings = {"name": "a", "bias_regularizer": lambda b: b.sum(), **values(bias=1)}
    dense(x, 2, **settings)
    dense(x, 2, reuse=True, **settings)
    assert layers.regularization_loss().item() == 2
    layers.reset()
    assert layers.regularization_loss().shape == () and layers.regularization_loss().item() == 0


@pytest.mark.parametrize("wrong", [lambda w: w, lambda w: None, lambda w: 1.0])
def test_a_regularizer_must_return_a_scalar(x, wrong):
    dense(x, 2, bias_regularizer=wrong)
    with refuses(TypeError, "the regularizer of 'dense/bias' returned no scalar"):
        layers.regularization_loss()


def test_variables_by_hand(rng):
    """Also in batch norm, written as everyone has: equal to the layer, with two variables to train."""
    a = rng.standard_normal(3)
    v, w, n = layers.Variable(a), layers.Variable([1, 2]), layers.Variable(np.arange(2), False)
    equal(v, a)
    assert (w.dtype, n.dtype) == (np.float32, np.int64)
    assert names() == ["Variable", "Variable_1", "Variable_2"]
    assert layers.trainable_variables() == {"Variable": v, "Variable_1": w}
    (v * 3).sum().backward()
    close(v.grad, [3.0] * 3)
    x = normal(rng, 6, 3)
    mean, variance = layers.moments(x, [0])
    gamma, beta = layers.Variable(mg.ones(3)), layers.Variable(mg.zeros(3))
    y = mg.sigmoid(gamma * ((x - mean) / mg.sqrt(variance + 0.001)) + beta)
    close(y, mg.sigmoid(bn(x, training=True)))
    y.sum().backward()
    assert gamma.grad is not None and beta.grad is not None


# --- Scope objects ---


def test_what_a_scope_yields():
    with variable_scope("a") as a, variable_scope("b") as b:
        assert (a.name, b.name, b.reuse) == ("a", "a/b", False)
        with variable_scope("c", reuse=True) as c, variable_scope("d") as d:
            assert (c.reuse, d.name, d.reuse) == (True, "a/b/c/d", True)


def test_opened_again_from_anywhere(x):
    with variable_scope("a"), variable_scope("b") as b:
        y = dense(x, 2)
    with variable_scope("elsewhere", reuse=True):
        with variable_scope(b) as again:
            assert (again.name, again.reuse) == ("a/b", False)
            dense(x, 2, name="new", use_bias=False)
            with variable_scope("c") as c:
                assert c.name == "a/b/c"
        with variable_scope(name=b, reuse=True):
            equal(dense(x, 2), y)
    assert names() == ["a/b/dense/kernel", "a/b/dense/bias", "a/b/new/kernel"]
    with variable_scope(b), refuses(ValueError, "'a/b/dense/kernel' already exists"):
        dense(x, 2)


def test_names_go_on_in_a_scope_that_is_open(x):
    with variable_scope("a") as a:
        dense(x, 2, use_bias=False)
        with variable_scope(a):
            dense(x, 2, use_bias=False)
    assert names() == ["a/dense/kernel", "a/dense_1/kernel"]


def test_reuse_variables(x):
    with variable_scope("a") as a:
        y = dense(x, 2, name="d")
        a.reuse_variables()
        equal(dense(x, 2, name="d"), y)
        with refuses(ValueError, "variable 'a/e/kernel' does not exist"):
            dense(x, 2, name="e")
    with variable_scope(a) as again:
        assert again.reuse
        equal(dense(x, 2, name="d"), y)


def test_a_scope_as_the_name_of_a_layer(x):
    with variable_scope("a") as a:
        pass
    y = dense(x, 2, name=a)
    bn(y, name=a, training=True)
    assert names()[:3] == ["a/kernel", "a/bias", "a/gamma"]
    with refuses(ValueError, "dense 'a': variable 'a/kernel' already exists"):
        dense(x, 2, name=a)
    equal(dense(x, 2, name=a, reuse=True), y)


def test_scopes_in_a_template(x):
    scopes = []

    def network(x):
        with variable_scope("a") as a:
            y = dense(x, 2)
        scopes.append(a)
        with variable_scope(a, reuse=True):
            return y + dense(x, 2)

    net = layers.make_template("net", network)
    y = net(x)
    equal(net(x), y)
    assert [s.reuse for s in scopes] == [False, True]
    assert list(net.variables()) == ["net/a/dense/kernel", "net/a/dense/bias"] and names() == []
    with refuses(TypeError, "expected a name and a function, got Scope(name='net/a'"):
        layers.make_template(scopes[0], network)
