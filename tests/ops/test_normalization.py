"""Layer, group and instance norm: no example depends on another; PyTorch as an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, leaf, normal

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


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_a_single_example_needs_no_axis_before_its_features(rng, shape):
    """As one of a batch, in values and both derivatives; the layer too."""
    x, gamma, beta = (normal(rng, *shape, requires_grad=True) for _ in range(3))
    y = mg.layer_norm(x, gamma, beta, len(shape))
    close(y, mg.layer_norm(x.reshape(1, *shape), gamma, beta, len(shape)).reshape(shape))
    mg.gradcheck(lambda *ts: mg.layer_norm(*ts, len(shape)), [x, gamma, beta])
    assert mg.nn.LayerNorm(shape)(mg.ones(shape)).shape == shape
