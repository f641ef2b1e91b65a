"""Second and third derivatives through batch norm in train mode: the fused op, its nine primitive operations, and
central differences in float64 agree, with gamma = 0 and a constant channel among the inputs.

Chainer's second-order formula divides by gamma; DeZero's and tinygrad's lose what goes through the statistics.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers import leaf, normal

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

#: for a constant channel, where derivatives of order n are of size eps^(-n/2) and differences need smooth functions
EPS = 0.5
LAYOUTS = {
    "(m, C)": ((5, 3), 1, (3,)),
    "NCHW": ((3, 3, 2, 2), 1, (3,)),
    "NHWC": ((3, 2, 2, 3), -1, (3,)),
    "two kept axes": ((3, 2, 4), (1, 2), (2, 4)),
}
layouts = pytest.mark.parametrize(("shape", "axis", "channels"), LAYOUTS.values(), ids=LAYOUTS)


def inputs(rng, shape, axis, channels):
    """x, whose first channel is constant, gamma, which is 0 for the last, and beta."""
    x, gamma = rng.standard_normal(shape), rng.standard_normal(channels)
    axes = axis if isinstance(axis, tuple) else (axis,)
    first = [slice(None)] * len(shape)
    for a in axes:
        first[a] = 0
    x[tuple(first)] = 0.3
    gamma.flat[-1] = 0.0
    return [leaf(x), leaf(gamma), leaf(rng.standard_normal(channels))]


def fused(x, gamma, beta, axis, eps=EPS):
    return mg.batch_norm(x, gamma, beta, axis, eps)[0]


def atomic(x, gamma, beta, axis, eps=EPS):
    return mg.study.batch_norm_forms(x, gamma, beta, x * 0, axis, eps).atomic.y


def derivatives(function, xs, cotangents):
    """First to third derivatives: each the gradient of the one before it, along random cotangents."""
    found, ys = [], [function(*xs)]
    for us in cotangents:
        pairs = [(y, u) for y, u in zip(ys, us, strict=True) if y is not None and y.requires_grad]
        ys = mg.grad(
            [y for y, _ in pairs], xs, [u for _, u in pairs], create_graph=True, allow_unused=True
        )
        found.append([0 if y is None else y.numpy() for y in ys])
    return found


@layouts
@pytest.mark.parametrize("eps", [EPS, 1e-3])
def test_the_fused_op_and_its_primitives_agree_to_third_order(rng, shape, axis, channels, eps):
    xs = inputs(rng, shape, axis, channels)
    cotangents = [[normal(rng, *shape)], *([normal(rng, *x.shape) for x in xs] for _ in "23")]
    both = [
        derivatives(partial(function, axis=axis, eps=eps), xs, cotangents)
        for function in (fused, atomic)
    ]
    for order, (one, other) in enumerate(zip(*both, strict=True), 1):
        for name, a, b in zip(["x", "gamma", "beta"], one, other, strict=True):
            assert np.isfinite(a).all()
            assert np.abs(a - b).max() <= 1e-9 * np.abs(b).max(), f"order {order}, {name}"
            if name != "beta" or order == 1:  # y is linear in beta
                assert np.abs(b).max() > 0.1


@layouts
@pytest.mark.parametrize("function", [fused, atomic])
def test_central_differences_to_third_order(rng, shape, axis, channels, function):
    xs = inputs(rng, shape, axis, channels)
    assert mg.gradcheck(lambda *a: function(*a, axis), xs, order=3, directions=1, rng=rng)


@pytest.mark.parametrize("form", ["atomic", "three_path", "closed"])
def test_written_gradients_can_be_differentiated_as_the_op_can(rng, form):
    """gx as each form writes it is a function of x, gamma and gy with the derivatives of the op's own gradient."""
    x, gamma, beta = inputs(rng, (5, 3), 1, (3,))
    gy, u = leaf(rng.standard_normal((5, 3))), normal(rng, 5, 3)
    written = getattr(mg.study.batch_norm_forms(x, gamma, beta, gy, eps=EPS), form).gx
    own = mg.grad(fused(x, gamma, beta, 1), x, gy, create_graph=True)
    pairs = zip(*(mg.grad(g, [x, gamma, gy], u) for g in (written, own)), strict=True)
    for a, b in pairs:
        assert np.abs(a.numpy() - b.numpy()).max() <= 1e-9 * np.abs(b.numpy()).max()
