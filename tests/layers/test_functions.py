"""dense, batch_normalization and moments: TensorFlow's defaults and numbers, and what they refuse."""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest
from helpers import close, equal, normal, refuses

import minigrad as mg
from minigrad import layers
from minigrad.nn import init

pytestmark = pytest.mark.usefixtures("backend")
dense, bn = layers.dense, layers.batch_normalization


def names():
    return list(layers.variables())


def values(**kinds):
    """Initializers that give these constants."""
    return {
        f"{kind}_initializer": partial(init.constant, value=value) for kind, value in kinds.items()
    }


def x2(rng, n=4, m=3):
    return mg.tensor(rng.standard_normal((n, m)).astype(np.float32))


@pytest.mark.parametrize(
    ("function", "arguments", "defaults"),
    [
        (
            dense,
            "inputs units activation use_bias kernel_initializer bias_initializer kernel_regularizer "
            "bias_regularizer trainable name reuse",
            (None, True, init.glorot_uniform, init.zeros, None, None, True, None, None),
        ),
        (
            bn,
            "inputs axis momentum epsilon center scale beta_initializer gamma_initializer "
            "moving_mean_initializer moving_variance_initializer beta_regularizer gamma_regularizer "
            "training trainable name reuse",
            (-1, 0.99, 0.001, True, True, init.zeros, init.ones, init.zeros, init.ones)
            + (None, None, False, True, None, None),
        ),
    ],
    ids=["dense", "batch_normalization"],
)
def test_arguments_are_tensorflows(function, arguments, defaults):
    assert list(inspect.signature(function).parameters) == arguments.split()
    assert function.__defaults__ == defaults


class TestBatchNormalization:
    @pytest.mark.parametrize(
        ("shape", "axis", "averaged", "ddof"),
        [
            ((6, 3), -1, 0, 0),
            ((4, 3, 2), 1, (0, 2), 0),
            ((4, 2, 2, 3), -1, (0, 1, 2), 1),
            ((4, 2, 2, 3), 3, (0, 1, 2), 1),
            ((4, 3, 2, 2), 1, (0, 2, 3), 1),
            ((4, 3, 2, 2), -3, (0, 2, 3), 1),
            ((4, 2, 3, 2), 2, (0, 1, 3), 0),
            ((2, 3, 2, 2, 2), 1, (0, 2, 3, 4), 0),
        ],
    )
    def test_training_then_inference(self, rng, shape, axis, averaged, ddof):
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

    @pytest.mark.parametrize("center", [True, False])
    @pytest.mark.parametrize("scale", [True, False])
    def test_center_and_scale(self, rng, center, scale):
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

    def test_gradients_are_those_of_the_op(self, rng):
        x, c = normal(rng, 5, 3, requires_grad=True), normal(rng, 5, 3)
        y = bn(x, training=True)
        gamma, beta = layers.trainable_variables().values()
        found = mg.grad((y * c).sum(), [x, gamma, beta])
        y, _, _ = mg.batch_norm(x, gamma, beta)
        for a, b in zip(found, mg.grad((y * c).sum(), [x, gamma, beta]), strict=True):
            close(a, b)

    def test_not_trainable(self, rng):
        x = normal(rng, 5, 3, requires_grad=True)
        (bn(x, training=True, trainable=False) ** 3).sum().backward()
        assert x.grad is not None
        assert not layers.trainable_variables()
        assert not any(v.requires_grad for v in layers.variables().values())
        close(layers.variables()["batch_normalization/moving_mean"], 0.01 * x.numpy().mean(0))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_dtypes(self, rng, dtype):
        y = bn(normal(rng, 6, 3).astype(dtype), training=True)
        assert y.dtype == dtype
        expected = np.promote_types(dtype, np.float32)
        assert {v.dtype for v in layers.variables().values()} == {expected}

    def test_inference_before_training_is_warned_of(self, rng):
        warned = pytest.warns(UserWarning, match="batch_normalization 'a/bn': .* never fed")
        with warned, layers.variable_scope("a"):
            bn(x2(rng), name="bn")

    def test_a_batch_with_nan_moves_nothing(self, rng):
        bn(x2(rng), training=True)
        before = {name: v.numpy() for name, v in layers.variables().items()}
        bad = mg.tensor([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
        with refuses(ValueError, "the batch has NaN"):
            bn(bad, training=True, reuse=True)
        with refuses(ValueError, "the batch has NaN"):
            bn(bad, training=True)
        for name, value in before.items():
            equal(layers.variables()[name], value)


class TestDense:
    @pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)])
    @pytest.mark.parametrize("use_bias", [True, False])
    @pytest.mark.parametrize("activation", [None, mg.sigmoid])
    def test_numbers(self, rng, shape, use_bias, activation):
        x = normal(rng, *shape)
        y = dense(x, 2, activation, use_bias, **values(bias=0.5))
        kernel = layers.variables()["dense/kernel"]
        assert kernel.shape == (3, 2)
        expected = x.numpy() @ kernel.numpy() + (0.5 if use_bias else 0)
        close(y, expected if activation is None else 1 / (1 + np.exp(-expected)))
        assert names() == ["dense/kernel", "dense/bias"][: 1 + use_bias]
        assert layers.trainable_variables().keys() == layers.variables().keys()

    def test_gradients(self, rng):
        x, c = normal(rng, 4, 3, requires_grad=True), normal(rng, 4, 2)
        y = dense(x, 2)
        kernel, bias = layers.variables().values()
        gx, gkernel, gbias = mg.grad((y * c).sum(), [x, kernel, bias])
        close(gx, c.numpy() @ kernel.numpy().T)
        close(gkernel, x.numpy().T @ c.numpy())
        close(gbias, c.numpy().sum(0))

    def test_initializers_have_weights_as_out_in(self, rng):
        """he_normal must see 200 inputs, whichever way the kernel lies."""
        asked = []

        def counting(shape, rng):
            asked.append(shape)
            return np.arange(6, dtype=np.float32).reshape(shape)

        dense(x2(rng), 2, kernel_initializer=counting, name="counted")
        assert asked == [(2, 3)]
        equal(layers.variables()["counted/kernel"].astype(np.float64), [[0, 3], [1, 4], [2, 5]])
        dense(x2(rng, m=200), 50, kernel_initializer=init.he_normal, name="he")
        assert layers.variables()["he/kernel"].numpy().std() == pytest.approx(0.1, rel=0.05)

    def test_seeded(self, rng):
        mg.manual_seed(3)
        dense(x2(rng), 2)
        expected = init.glorot_uniform((2, 3), np.random.default_rng(3)).T
        equal(layers.variables()["dense/kernel"], expected)

    def test_reuse_draws_nothing(self, rng):
        mg.manual_seed(3)
        x = x2(rng)
        dense(x, 2, name="a", reuse=None)
        dense(x, 2, name="a", reuse=True)
        bn(x, gamma_initializer=init.normal, training=True, name="b")
        bn(x, gamma_initializer=init.normal, training=True, name="b", reuse=True)
        drawn = np.random.default_rng(3)
        init.glorot_uniform((2, 3), drawn)
        equal(layers.variables()["b/gamma"], init.normal((3,), drawn))

    def test_not_trainable(self, rng):
        x = normal(rng, 4, 3, requires_grad=True)
        dense(x, 2, trainable=False).sum().backward()
        assert x.grad is not None
        assert not layers.trainable_variables() and len(names()) == 2

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_dtypes(self, rng, dtype):
        assert dense(normal(rng, 4, 3).astype(dtype), 2).dtype == dtype
        assert {v.dtype for v in layers.variables().values()} == {np.dtype(dtype)}


class TestMoments:
    @pytest.mark.parametrize("axes", [[0], 0, (0, 1, 2), [-1], [0, 2]])
    @pytest.mark.parametrize("keep_dims", [False, True])
    def test_numpys_over_the_reduced_axes(self, rng, axes, keep_dims):
        x = 1e6 + normal(rng, 4, 3, 2)
        mean, variance = layers.moments(x, axes, keep_dims)
        over = tuple(np.atleast_1d(axes))
        close(mean, x.numpy().mean(over, keepdims=keep_dims))
        close(variance, x.numpy().var(over, keepdims=keep_dims), 1e-8)

    def test_gradients(self, rng):
        assert mg.gradcheck(lambda x: layers.moments(x, [0]), [normal(rng, 4, 3)], order=2)


def test_variables_are_born_where_the_inputs_are(rng):
    x = mg.tensor(rng.standard_normal((4, 3)), backend="strict")
    bn(dense(x, 2), training=True)
    assert {v.backend for v in layers.variables().values()} == {"strict"}
