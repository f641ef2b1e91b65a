"""batch_norm and frozen_batch_norm against their references, finite differences and hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.ops.batch_norm import BatchNorm, BatchNormGrad, FrozenBatchNorm

pytestmark = pytest.mark.usefixtures("backend")

LAYOUTS = [
    ((6, 3), (1,)),
    ((4, 3, 2), (1,)),
    ((3, 2, 2, 3), (1,)),
    ((3, 2, 2, 3), (3,)),
    ((3, 2, 2, 3), (1, 3)),
    ((2, 5, 3), (0,)),
]


def normal(rng, *shape):
    return mg.tensor(rng.standard_normal(shape))


def channels(shape, kept):
    return tuple(shape[i] for i in kept)


def close(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("shape", "kept"), LAYOUTS)
@pytest.mark.parametrize("affine", [True, False])
def test_fused_equals_reference(rng, shape, kept, affine):
    x, gy = normal(rng, *shape), normal(rng, *shape)
    gamma, beta, mean = (normal(rng, *channels(shape, kept)) for _ in range(3))
    if not affine:
        gamma = beta = None
    op = BatchNorm(kept, 1e-3)
    forward = mg.batch_norm(x, gamma, beta, axis=kept)
    for fused, plain in zip(forward, op.reference(x, gamma, beta), strict=True):
        close(fused, plain)
    _, mean, var = forward
    op = BatchNormGrad(kept, 1e-3)
    for fused, plain in zip(
        x.apply(op, x, gamma, mean, var, gy), op.reference(x, gamma, mean, var, gy), strict=True
    ):
        close(fused, plain)
    op = FrozenBatchNorm(kept, 1e-3)
    frozen = mg.frozen_batch_norm(x, gamma, beta, mean + 1, var * 2, axis=kept)
    close(frozen, op.reference(x, gamma, beta, mean + 1, var * 2))


@pytest.mark.parametrize(("shape", "kept"), LAYOUTS)
def test_gradients_to_third_order(rng, shape, kept):
    c = channels(shape, kept)
    inputs = [normal(rng, *shape), normal(rng, *c), normal(rng, *c)]
    assert mg.gradcheck(lambda *a: mg.batch_norm(*a, axis=kept), inputs, order=3)
