"""batch_norm and frozen_batch_norm against their references, finite differences, float64 and hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal, leaf, normal

import minigrad as mg
from minigrad.ops.batch_norm import BatchNorm

pytestmark = pytest.mark.usefixtures("backend")


# --- numbers by hand ---


def test_frozen_with_the_statistics_of_the_batch_is_the_same_map_with_another_gradient(rng):
    x, gy = normal(rng, 5, 3, requires_grad=True), normal(rng, 5, 3)
    y, mean, var = mg.batch_norm(x, None, None)
    frozen = mg.frozen_batch_norm(x, None, None, mean.detach(), var.detach())
    close(y, frozen)
    moving, still = mg.grad(y, x, gy), mg.grad(frozen, x, gy)
    close(still, gy.numpy() / np.sqrt(var.numpy() + 1e-3))
    close(moving.sum(0), np.zeros(3))  # the mean takes away what all examples have in common
    assert np.abs(still.numpy().sum(0)).min() > 0.1
    through = mg.grad(mg.frozen_batch_norm(x, None, None, mean, var), x, gy)
    close(through, moving)


@pytest.mark.parametrize(
    ("axis", "kept"), [(1, (1,)), (-1, (3,)), ((-1, 1), (1, 3)), ([3, 1], (1, 3)), (np.int64(1), 1)]
)
def test_axes(rng, axis, kept):
    x = normal(rng, 2, 3, 4, 5)
    for a, b in zip(
        mg.batch_norm(x, None, None, axis=axis),
        mg.batch_norm(x, None, None, axis=kept),
        strict=True,
    ):
        equal(a, b)


# --- edges ---


def test_gamma_zero(rng):
    """Nothing of x is left in y or gx, all of it in the gradient of gamma: no division by gamma anywhere."""
    x, beta = normal(rng, 6, 3, requires_grad=True), leaf([1.0, 2.0, 3.0])
    gamma, gy = leaf(np.zeros(3)), normal(rng, 6, 3)
    y, mean, var = mg.batch_norm(x, gamma, beta)
    xhat = (x.numpy() - mean.numpy()) / np.sqrt(var.numpy() + 1e-3)
    equal(y, np.tile([1.0, 2.0, 3.0], (6, 1)))
    gx, ggamma, gbeta = mg.grad(y, [x, gamma, beta], gy)
    equal(gx, np.zeros((6, 3)))
    close(ggamma, (gy.numpy() * xhat).sum(0))
    close(gbeta, gy.numpy().sum(0))
    assert mg.gradcheck(mg.batch_norm, [x, gamma, beta])


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4, 1e6 / 3, -1e-30])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_constant_channel_has_variance_zero(value, dtype):
    x = leaf(np.full((101, 2, 3), min(value, 6e4)), dtype)
    beta = mg.tensor([5, -5], dtype=np.promote_types(dtype, np.float32))
    y, mean, var = mg.batch_norm(x, None, beta)
    equal(var, [0, 0])
    equal(mean, x.numpy()[0, :, 0].astype(mean.dtype))
    equal(y, np.broadcast_to(np.array([[5], [-5]]), (101, 2, 3)))
    equal(mg.moments(x).m2, [0, 0])
    y.sum().backward()
    close(x.grad, np.zeros((101, 2, 3)))


def test_gradients_of_a_constant_channel():
    x = mg.tensor(np.full((4, 2), 0.3))
    inputs = [x, mg.tensor(np.array([1.0, 2.0])), mg.tensor(np.array([0.5, 0.0]))]
    assert mg.gradcheck(lambda *a: mg.batch_norm(*a, eps=0.5), inputs)


@pytest.mark.parametrize("deviation", [0.1, 1.0])
@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4, 1e6])
def test_large_means_cost_no_precision(rng, mean, deviation):
    """float32 against float64 on the same rounded numbers.

    Differences of float32 numbers close to each other are exact, so what is left are the roundings of sums over
    256 values, below a hundred units of 2**-24. E[x^2] - E[x]^2 would be off by 100 % at 1e4.
    """
    x = (mean + deviation * rng.standard_normal((256, 4))).astype(np.float32)
    gamma, beta, gy, gc = (rng.standard_normal(s).astype(np.float32) for s in [4, 4, (256, 4), 4])

    def everything(dtype):
        xs = [leaf(a, dtype) for a in (x, gamma, beta)]
        u, v = mg.tensor(gy, dtype=dtype), mg.tensor(gc, dtype=dtype)
        y, _, var = mg.batch_norm(*xs)
        yield from (y, var, *mg.grad(y, xs, u), mg.grad(var, xs[0], v))
        yield from mg.grad(mg.grad(y, xs[0], u, create_graph=True), xs[:2], u)

    for single, double in zip(everything(np.float32), everything(np.float64), strict=True):
        error = np.abs(single.numpy() - double.numpy()).max()
        assert error < 100 * 2**-24 * np.abs(double.numpy()).max()
    statistics = mg.batch_norm(mg.tensor(x), None, None)[1]
    atol = 1e-6 * deviation
    np.testing.assert_allclose(statistics.numpy(), x.astype(float).mean(0), rtol=2**-23, atol=atol)


@pytest.mark.parametrize("deviation", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4, 6e4])
def test_what_float16_can_hold(rng, mean, deviation):
    """Against float64 on the same rounded numbers; at 6e4 they are 32 apart, and may all be equal."""
    x = (mean + deviation * rng.standard_normal((256, 4))).astype(np.float16)
    exact = x.astype(np.float64)
    y, found, var = mg.batch_norm(mg.tensor(x), None, None)
    np.testing.assert_allclose(found.numpy(), exact.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var.numpy(), exact.var(0), rtol=1e-5, atol=0)
    expected = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-3)
    np.testing.assert_allclose(y.numpy(), expected, rtol=2**-10, atol=1e-4)


def test_eps_does_not_widen(rng):
    x, c = leaf(rng.standard_normal((4, 3)), "float32"), leaf(np.ones(3), "float32")
    ys = [*mg.batch_norm(x, c, c, eps=np.float64(0.1))]
    ys.append(mg.frozen_batch_norm(x, c, c, c, c, eps=np.float64(0.1)))
    assert {t.dtype for t in [*ys, *mg.grad(sum(y.sum() for y in ys), [x, c])]} == {
        np.dtype("float32")
    }


@pytest.mark.parametrize("used", range(1, 16))
def test_outputs_that_nothing_uses(rng, used):
    """Every choice of outputs gives what the reference gives for it."""
    x, gamma, beta = (normal(rng, *s, requires_grad=True) for s in [(5, 3), (3,), (3,)])
    cotangents = [normal(rng, *s) for s in [(5, 3), (3,), (3,), (3,)]]
    op = BatchNorm((1,), 1e-3)

    def gradients(outputs):
        pairs = [
            (y, u)
            for i, (y, u) in enumerate(zip(outputs, cotangents, strict=True))
            if used >> i & 1
        ]
        ys, us = zip(*pairs, strict=True)
        return mg.grad(ys, [x, gamma, beta], us, allow_unused=True)

    fused = gradients(x.apply(op, x, gamma, beta))
    plain = gradients(op.reference(x, gamma, beta))
    for a, b in zip(fused, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b)


@pytest.mark.parametrize("wanted", range(1, 8))
def test_inputs_that_need_no_gradient(rng, wanted):
    values = [rng.standard_normal(s) for s in [(5, 3), (3,), (3,)]]
    gy = normal(rng, 5, 3)
    everything = [leaf(v) for v in values]
    expected = mg.grad(mg.batch_norm(*everything)[0], everything, gy)
    some = [mg.tensor(v, requires_grad=bool(wanted >> i & 1)) for i, v in enumerate(values)]
    mg.batch_norm(*some)[0].backward(gy)
    for t, e in zip(some, expected, strict=True):
        assert (t.grad is not None) == t.requires_grad
        if t.requires_grad:
            close(t.grad, e)


def test_one_tensor_as_gamma_and_beta(rng):
    x, c = normal(rng, 5, 3), normal(rng, 3)
    assert mg.gradcheck(lambda x, c: mg.batch_norm(x, c, c), [x, c])
    assert mg.gradcheck(lambda x, c: mg.frozen_batch_norm(x, c, c, c, c * c), [x, c])


def test_one_value_per_channel_is_fine_when_frozen():
    x, c = mg.tensor([[5, 5]]), mg.tensor([3, 4])
    equal(mg.frozen_batch_norm(x, None, None, c, mg.tensor([4, 1]), eps=1e-12), [[1, 1]])
    assert mg.frozen_batch_norm(x[:0], None, None, c, c).shape == (0, 2)
