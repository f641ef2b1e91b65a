"""Empty in, empty out: values, gradients and second derivatives of what has an axis of no elements."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn, optim

pytestmark = pytest.mark.usefixtures("backend")


#: a function of a, b, ..., the shapes of these, and that of the value where it is not told by another row
TABLE = """
a.{r}(axis=0)   | (3, 0) | (0,)
a.{r}(axis=1)   | (0, 3) | (0,)
a.{r}(axis=1)   | (0, 0) | (0,)
a.sum(1)        | (3, 0) | (3,)
a.sum()         | (3, 0) | ()
{s}(a, 0)       | (3, 0) | (3, 0)
{s}(a, 1)       | (3, 0) | (3, 0)
{s}(a, 0)       | (0, 3) | (0, 3)
{s}(a, 1)       | (0, 3) | (0, 3)
batch_norm(a, b, c)[0] | (4, 0), (0,), (0,) | (4, 0)
batch_norm(a, b, c)[0] | (4, 0, 2), (0,), (0,) | (4, 0, 2)
batch_norm(a, b, c)[0] | (0, 0), (0,), (0,) | (0, 0)
batch_norm(a, None, None)[2] | (4, 0) | (0,)
moments(a).m2   | (4, 0) | (0,)
frozen_batch_norm(a, b, c, d, e) | (0, 3), (3,), (3,), (3,), (3,) | (0, 3)
frozen_batch_norm(a, b, c, d, e) | (4, 0), (0,), (0,), (0,), (0,) | (4, 0)
frozen_batch_norm(a, b, c, d, e) | (2, 3, 0), (3,), (3,), (3,), (3,) | (2, 3, 0)
layer_norm(a, b, c) | (0, 3), (3,), (3,) | (0, 3)
layer_norm(a, b, c) | (4, 0), (0,), (0,) | (4, 0)
layer_norm(a, b, c) | (2, 0, 3), (3,), (3,) | (2, 0, 3)
layer_norm(a, b, c) | (0, 0), (0,), (0,) | (0, 0)
group_norm(a, 2, b, c) | (0, 4, 2), (4,), (4,) | (0, 4, 2)
group_norm(a, 2, b, c) | (3, 0, 2), (0,), (0,) | (3, 0, 2)
group_norm(a, 2, b, c) | (3, 4, 0), (4,), (4,) | (3, 4, 0)
instance_norm(a, b, c) | (0, 4, 2), (4,), (4,) | (0, 4, 2)
instance_norm(a, b, c) | (3, 0, 2), (0,), (0,) | (3, 0, 2)
instance_norm(a, b, c) | (3, 4, 0), (4,), (4,) | (3, 4, 0)
linear(a, b, c) | (0, 3), (2, 3), (2,) | (0, 2)
linear(a, b, c) | (4, 0), (2, 0), (2,) | (4, 2)
linear(a, b, c) | (4, 3), (0, 3), (0,) | (4, 0)
conv2d(a, b, c, {w}padding=1) | (0, 2, 5, 5), (3, 2, 3, 3), (3,) |
conv2d(a, b, c, {w}padding=1) | (2, 0, 5, 5), (3, 0, 3, 3), (3,) |
conv2d(a, b, c, {w}padding=1) | (2, 2, 5, 5), (0, 2, 3, 3), (0,) |
conv2d(a, b, c, groups=2) | (2, 0, 5, 5), (4, 0, 3, 3), (4,) | (2, 4, 3, 3)
conv_transpose2d(a, b, c, stride=2) | (0, 2, 5, 5), (2, 3, 3, 3), (3,) | (0, 3, 11, 11)
conv_transpose2d(a, b, c, stride=2) | (2, 0, 5, 5), (0, 3, 3, 3), (3,) | (2, 3, 11, 11)
conv_transpose2d(a, b, c, stride=2) | (2, 2, 5, 5), (2, 0, 3, 3), (0,) | (2, 0, 11, 11)
max_pool2d(a, 2) | (0, 2, 4, 4) | (0, 2, 2, 2)
avg_pool2d(a, 2) | (2, 0, 4, 4) | (2, 0, 2, 2)
mse_loss(a, b, "sum") | (0, 3), (0, 3) | ()
softmax_cross_entropy(a, [], "sum") | (0, 3) | ()
softmax_cross_entropy(a, [], "none") | (0, 3) | (0,)
a * b           | (3, 0), (0,) | (3, 0)
a @ b           | (2, 3, 0), (0, 4) | (2, 3, 4)
"""
#: what several rows of the table have in common
EACH = {
    "{r}": ["sum", "mean", "var", "max", "min"],
    "{s}": ["softmax", "log_softmax"],
    "{w}": ["", "stride=2, ", "stride=2, dilation=2, "],
}
ROWS = [
    row.replace(key, value)
    for row in TABLE.strip().splitlines()
    for key in [next((k for k in EACH if k in row), "")]
    for value in EACH.get(key, [""])
]
NAMES = {name: getattr(mg, name) for name in mg.__all__}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("row", ROWS)
def test_value_and_derivatives(row, dtype):
    expression, shapes, expected = row.split("|")
    shapes = eval(f"[{shapes}]")
    dtypes = [dtype] * len(shapes)
    if "norm" in expression:
        dtypes[1:] = [np.promote_types(dtype, np.float32)] * (len(shapes) - 1)
    xs = [mg.ones(s, requires_grad=True, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
    y = eval(expression, NAMES | dict(zip("abcde", xs, strict=False)))
    assert y.dtype in (dtype, dtypes[-1], np.promote_types(dtype, np.float32))
    if expected.strip():
        assert y.shape == eval(expected)
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
    assert getattr(mg.zeros((0, 0)), name)(axis=1).shape == (0,)
    with refuses(ValueError, f"{name}: expected at least one value along (1,), got shape (3, 0)"):
        getattr(mg.zeros((3, 0)), name)(axis=1)


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
