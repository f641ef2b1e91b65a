"""Tensors from a shape, from a range or at random, one-hot labels, and lists."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, leaf

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

#: a call, and the array that it gives
VALUES = {
    "mg.eye(2)": np.eye(2, dtype="f"),
    "mg.eye(2, 3, dtype='int64')": np.eye(2, 3, dtype="l"),
    "mg.linspace(0, 1, 5)": np.linspace(0, 1, 5, dtype="f"),
    "mg.linspace(1, -1, dtype='float64')": np.linspace(1, -1),
    "mg.zeros_like(x)": np.zeros((2, 3)),
    "mg.ones_like(x, dtype='int8')": np.ones((2, 3), np.int8),
    "mg.one_hot(mg.tensor([[2], [0]], dtype='int64'), 3)": np.eye(3, dtype="l")[[[2], [0]]],
    "mg.one_hot(mg.tensor([], dtype='int64'), 3, 'float16')": np.zeros((0, 3), "e"),
}


@pytest.mark.parametrize("call", VALUES)
def test_values(call):
    y = eval(call, {"mg": mg, "x": leaf(np.ones((2, 3)))})
    assert y.dtype == VALUES[call].dtype and not y.requires_grad
    equal(y, VALUES[call])


@pytest.mark.parametrize("make", [mg.rand, mg.randn], ids=["rand", "randn"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_random(make, dtype):
    mg.manual_seed(1)
    x = make(100, 50, requires_grad=True, dtype=dtype)
    mg.manual_seed(1)
    again, own = make((100, 50), dtype=dtype), make(3, rng=np.random.default_rng(0))
    assert x.dtype == dtype and x.requires_grad and make(()).shape == make().shape == ()
    equal(x, again)
    equal(own, make([3], rng=np.random.default_rng(0)))
    values = x.numpy().astype("d")
    mean, std = (0.5, 12**-0.5) if make is mg.rand else (0, 1)
    assert abs(values.mean() - mean) < 0.05 and abs(values.std() - std) < 0.05
    assert make is mg.randn or (values.min() >= 0 and values.max() < 1)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool"])
def test_lists(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    rows = mg.tensor([[0, 1], [1, 1]], dtype=dtype).tolist()
    assert rows == [[0, 1], [1, 1]] and type(rows[0][1]) in (float, int, bool)
    assert mg.tensor(2).tolist() == 2.0


def test_a_clone_has_memory_of_its_own():
    x = leaf([1.0, 2.0])
    y = x.clone()
    with mg.no_grad():
        x += 1
    equal(y, [1, 2])
    y.sum().backward()
    equal(x.grad, [1, 1])


def test_parts_are_views():
    x = mg.zeros(4, 2)
    for part in (*x.split(3), *mg.split(x, sections=2, axis=1)):
        part += 1
    equal(x, np.full((4, 2), 2))
    assert [p.shape for p in x.split(3)] == [(3, 2), (1, 2)]
    assert [p.shape for p in x[:0].split(3)] == [(0, 2)]


def test_jit_replays_compositions(rng):
    """Nothing in them reads values on the host."""

    def step(x, y, z, labels):
        ratio = mg.einsum("ij,kj->ik", x.tile(2, 1).std(1, keepdims=True) * x[:1], y.split(2)[0])
        settings = {"weight": mg.constant([1.0, 2, 3]), "ignore_index": 1, "label_smoothing": 0.1}
        loss = mg.softmax_cross_entropy(z, labels, **settings) + z.prod(1).logsumexp()
        loss = loss + mg.softmax_cross_entropy(z, mg.one_hot(labels, 3, "float32"))
        loss = loss + mg.binary_cross_entropy_with_logits(y, (y > 0), pos_weight=2.0)
        return loss, ratio, x.cumsum(0).repeat(2, axis=1).flatten(1).clone()

    jitted = mg.jit(step)
    for _ in range(3):
        xs = [mg.tensor(rng.standard_normal((4, 3)), requires_grad=True) for _ in range(3)]
        labels = mg.tensor(rng.integers(0, 3, 4))
        for a, b in zip(jitted(*xs, labels), step(*xs, labels), strict=True):
            equal(a, b)
    assert len(jitted.graphs) == 1
