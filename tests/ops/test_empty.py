"""Empty in, empty out: values, gradients and second derivatives of what has an axis of no elements."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn, optim

pytestmark = pytest.mark.usefixtures("backend")


def affine(name, *settings):
    return lambda x, gamma, beta: getattr(mg, name)(x, *settings, gamma, beta)


def batch_norm(x, gamma, beta):
    return mg.batch_norm(x, gamma, beta)[0]


def conv(name, **settings):
    return lambda *xs: getattr(mg, name)(*xs, **settings)


#: name: the function, the shapes of its inputs, the shape of its value
CASES = {
    **{
        f"{name} {shape} {axis}": (lambda x, n=name, a=axis: getattr(x, n)(a), [shape], y)
        for name in ("sum", "mean", "var", "max", "min")
        for shape, axis, y in [((3, 0), 0, (0,)), ((0, 3), 1, (0,)), ((0, 0), 1, (0,))]
    },
    "sum over nothing": (lambda x: x.sum(1), [(3, 0)], (3,)),
    "sum of all": (lambda x: x.sum(), [(3, 0)], ()),
    **{
        f"{name} {shape} {axis}": (lambda x, n=name, a=axis: getattr(mg, n)(x, a), [shape], shape)
        for name in ("softmax", "log_softmax")
        for shape in ((3, 0), (0, 3))
        for axis in (0, 1)
    },
    "batch_norm, no channels": (batch_norm, [(4, 0), (0,), (0,)], (4, 0)),
    "batch_norm, no channels of images": (batch_norm, [(4, 0, 2), (0,), (0,)], (4, 0, 2)),
    "batch_norm, nothing": (batch_norm, [(0, 0), (0,), (0,)], (0, 0)),
    "its variance": (lambda x: mg.batch_norm(x, None, None)[2], [(4, 0)], (0,)),
    "moments": (lambda x: mg.moments(x).m2, [(4, 0)], (0,)),
    **{
        f"frozen_batch_norm {shape}": (
            lambda x, g, b, m, v: mg.frozen_batch_norm(x, g, b, m, v),
            [shape, *[shape[1:2]] * 4],
            shape,
        )
        for shape in ((0, 3), (4, 0), (2, 3, 0))
    },
    **{
        f"layer_norm {shape}": (affine("layer_norm"), [shape, shape[-1:], shape[-1:]], shape)
        for shape in ((0, 3), (4, 0), (2, 0, 3), (0, 0))
    },
    **{
        f"group_norm {shape}": (affine("group_norm", 2), [shape, shape[1:2], shape[1:2]], shape)
        for shape in ((0, 4, 2), (3, 0, 2), (3, 4, 0))
    },
    **{
        f"instance_norm {shape}": (affine("instance_norm"), [shape, shape[1:2], shape[1:2]], shape)
        for shape in ((0, 4, 2), (3, 0, 2), (3, 4, 0))
    },
    **{
        f"linear {n, inner, outer}": (mg.linear, [(n, inner), (outer, inner), (outer,)], (n, outer))
        for n, inner, outer in ((0, 3, 2), (4, 0, 2), (4, 3, 0))
    },
    **{
        f"conv2d {n, c, o} {settings}": (
            conv("conv2d", padding=1, **settings),
            [(n, c, 5, 5), (o, c, 3, 3), (o,)],
            None,
        )
        for n, c, o in ((0, 2, 3), (2, 0, 3), (2, 2, 0))
        for settings in ({}, {"stride": 2}, {"stride": 2, "dilation": 2})
    },
    "conv2d in groups": (conv("conv2d", groups=2), [(2, 0, 5, 5), (4, 0, 3, 3), (4,)], None),
    **{
        f"conv_transpose2d {n, c, o}": (
            conv("conv_transpose2d", stride=2),
            [(n, c, 5, 5), (c, o, 3, 3), (o,)],
            (n, o, 11, 11),
        )
        for n, c, o in ((0, 2, 3), (2, 0, 3), (2, 2, 0))
    },
    "max_pool2d": (conv("max_pool2d", kernel_size=2), [(0, 2, 4, 4)], (0, 2, 2, 2)),
    "avg_pool2d": (conv("avg_pool2d", kernel_size=2), [(2, 0, 4, 4)], (2, 0, 2, 2)),
    "mse_loss": (lambda x, y: mg.mse_loss(x, y, "sum"), [(0, 3), (0, 3)], ()),
    "cross-entropy": (lambda x: mg.softmax_cross_entropy(x, [], "sum"), [(0, 3)], ()),
    "cross-entropy, each": (lambda x: mg.softmax_cross_entropy(x, [], "none"), [(0, 3)], (0,)),
    "multiply, broadcast": (lambda x, y: x * y, [(3, 0), (0,)], (3, 0)),
    "matmul": (lambda x, y: x @ y, [(2, 3, 0), (0, 4)], (2, 3, 4)),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_derivatives(name, dtype):
    fn, shapes, expected = CASES[name]
    dtypes = [dtype] * len(shapes)
    if "norm" in name:
        dtypes[1:] = [np.promote_types(dtype, np.float32)] * (len(shapes) - 1)
    xs = [mg.ones(s, requires_grad=True, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
    y = fn(*xs)
    assert y.dtype in (dtype, dtypes[-1], np.promote_types(dtype, np.float32))
    if expected is not None:
        assert y.shape == expected
    grads = mg.grad(y, xs, y.filled(1), create_graph=True)
    for g, x in zip(grads, xs, strict=True):
        assert (g.shape, g.dtype) == (x.shape, x.dtype)
        assert np.isfinite(g.numpy()).all()
    total = sum(((g.astype("float64") ** 2).sum() for g in grads), mg.zeros((), dtype="float64"))
    if total.requires_grad:
        for second in mg.grad(total, xs, allow_unused=True):
            assert second is None or np.isfinite(second.numpy()).all()


@pytest.mark.parametrize("name", ["mean", "var", "max", "min", "argmax"])
def test_nothing_of_nothing_is_asked(name):
    """An error is for results that would be of no values; without results there is none."""
    assert getattr(mg.zeros((0, 0)), name)(1).shape == (0,)
    with refuses(ValueError, f"{name}: expected at least one value along (1,), got shape (3, 0)"):
        getattr(mg.zeros((3, 0)), name)(1)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm, lambda c: nn.GhostBatchNorm(c, 2), nn.BatchRenorm, nn.DebiasedBatchNorm]
)
def test_batch_norm_of_an_empty_batch_moves_nothing(layer):
    bn = layer(3)
    before = bn.state_dict()
    with refuses(ValueError, "at least 2 values per channel, got 0 from shape (0, 3)"):
        bn(mg.zeros((0, 3)))
    for name, array in bn.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("way", [lambda f, x: f, lambda f, x: mg.jit(f), mg.capture])
@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, 0.1), lambda p: optim.SGD(p, 0.1, 0.9), optim.Adam]
)
def test_a_step_on_an_empty_batch(make, way):
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Sigmoid(), nn.Linear(4, 2))
    unused = mg.zeros((0, 3), requires_grad=True)
    optimizer = make([*model.parameters(), unused])

    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).sum() + (unused * unused).sum()
        loss.backward()
        optimizer.step()
        return loss

    before, x = model.state_dict(), mg.zeros((0, 3))
    run = way(step, x)
    assert [run(x).item() for _ in range(4)] == [0] * 4
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
