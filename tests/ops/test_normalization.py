"""Layer, group and instance norm: no example depends on another; PyTorch as an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, error_table, leaf, normal, refuses

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

FUNCTIONS = {
    "layer_norm": lambda x: mg.layer_norm(x, ndim=3),
    "group_norm": lambda x: mg.group_norm(x, 2),
    "instance_norm": mg.instance_norm,
}
each = pytest.mark.parametrize("fn", FUNCTIONS.values(), ids=FUNCTIONS)


@each
def test_no_example_depends_on_another(rng, fn):
    x = leaf(rng.standard_normal((3, 4, 2, 2)))
    gx = mg.grad(fn(x)[1], x, normal(rng, 4, 2, 2)).numpy()
    assert gx[1].any() and not gx[[0, 2]].any()
    close(fn(x)[1], fn(x[1:2])[0])


@each
@pytest.mark.parametrize("mean", [1e2, 1e6])
def test_large_means_cost_no_precision(rng, fn, mean):
    values = (mean + 0.1 * rng.standard_normal((2, 4, 8, 8))).astype(np.float32)
    close(fn(mg.tensor(values)), fn(mg.tensor(values.astype(np.float64))), 2e-4)


def test_float16(rng):
    x = mg.tensor(rng.standard_normal((2, 4)), dtype="float16")
    assert mg.layer_norm(x, mg.ones(4), mg.zeros(4)).dtype == np.float16


def test_the_numbers_of_torch(rng, torch):
    functional = torch.nn.functional
    x, gy = rng.standard_normal((2, 3, 6, 4, 4))[:, :, :, :, 0], rng.standard_normal((2, 3, 6, 4))
    gamma, beta = rng.standard_normal((2, 3))
    pairs = [
        (
            mg.layer_norm(a := leaf(x), leaf(np.ones((6, 4)) * 2), None, 2),
            a,
            functional.layer_norm(
                b := torch.tensor(x, requires_grad=True), (6, 4), torch.ones(6, 4).double() * 2
            ),
            b,
        ),
        (
            mg.group_norm(c := leaf(x), 3, leaf(gamma), leaf(beta)),
            c,
            functional.group_norm(
                d := torch.tensor(x, requires_grad=True), 3, torch.tensor(gamma), torch.tensor(beta)
            ),
            d,
        ),
        (
            mg.instance_norm(e := leaf(x)),
            e,
            functional.instance_norm(f := torch.tensor(x, requires_grad=True)),
            f,
        ),
    ]
    for y, into, z, other in pairs:
        close(y, z.detach().numpy(), 1e-10)
        (expected,) = torch.autograd.grad(z, other, torch.tensor(gy))
        close(mg.grad(y, into, mg.tensor(gy)), expected.numpy(), 1e-10)


@error_table(
    {
        "no features": (
            ValueError,
            "layer_norm: expected 1 to 2 feature axes of x (2, 3), got ndim=3",
            lambda: mg.layer_norm(mg.ones((2, 3)), ndim=3),
        ),
        "one feature": (
            ValueError,
            "layer_norm: expected at least 2 values that are normalized together, got 1",
            lambda: mg.layer_norm(mg.ones((2, 1))),
        ),
        "gamma": (
            ValueError,
            "layer_norm: expected gamma of shape (3,), got (2,)",
            lambda: mg.layer_norm(mg.ones((2, 3)), mg.ones(2)),
        ),
        "beta's dtype": (
            TypeError,
            "layer_norm: x is float32 and beta float64: cast x",
            lambda: mg.layer_norm(mg.ones((2, 3)), None, mg.ones(3, dtype=np.float64)),
        ),
        "groups": (
            ValueError,
            "group_norm: expected groups that divide the channels of x (2, 3), got 2",
            lambda: mg.group_norm(mg.ones((2, 3)), 2),
        ),
        "no positions": (
            ValueError,
            "instance_norm: expected x of shape (n, channels, ...), got (2, 3)",
            lambda: mg.instance_norm(mg.ones((2, 3))),
        ),
        "integers": (
            TypeError,
            "group_norm: expected a floating dtype",
            lambda: mg.group_norm(mg.ones((2, 4), dtype=np.int64), 2),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_a_single_example_needs_no_axis_before_its_features(rng, shape):
    """As one of a batch, in values and both derivatives; the layer too."""
    x, gamma, beta = (normal(rng, *shape, requires_grad=True) for _ in range(3))
    y = mg.layer_norm(x, gamma, beta, len(shape))
    close(y, mg.layer_norm(x.reshape(1, *shape), gamma, beta, len(shape)).reshape(shape))
    mg.gradcheck(lambda *ts: mg.layer_norm(*ts, len(shape)), [x, gamma, beta])
    assert mg.nn.LayerNorm(shape)(mg.ones(shape)).shape == shape
