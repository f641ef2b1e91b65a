"""bfloat16: Tensors hold it, and Python numbers do not widen it."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from graph.shared import step_of
from helpers import equal, refuses

import minigrad as mg
from minigrad import nn, optim

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.usefixtures("backend")
BF16 = np.dtype(ml_dtypes.bfloat16)


def test_it_is_a_dtype_of_tensors():
    x = mg.tensor([1, 2.5, -3.14159], dtype="bfloat16", requires_grad=True)
    assert x.dtype == BF16 and x.requires_grad
    assert x.numpy().dtype == BF16
    assert "[ 1.      ,  2.5     , -3.140625], dtype=bfloat16" in repr(x)
    assert mg.zeros(3, dtype="bfloat16").dtype == mg.tensor(x.numpy()).dtype == BF16


def test_casts_are_ml_dtypes(rng):
    values = rng.normal(0, 100, 1000).astype(np.float32)
    x = mg.tensor(values, requires_grad=True)
    narrow = x.astype("bfloat16")
    equal(narrow.astype("float32"), values.astype(BF16).astype(np.float32))
    (g,) = mg.grad([(narrow * 3).sum()], [x])
    assert g.dtype == np.float32
    equal(g, np.full(1000, 3, np.float32))


def test_numbers_do_not_widen_it_and_wider_arrays_do():
    x = mg.tensor([1, 2], dtype="bfloat16")
    for y in (x + 1, 2.5 * x, x / 3, x**2, x**0.5, -x, mg.clip(x, 0.0, 1.5), mg.maximum(x, 1.5)):
        assert y.dtype == BF16
    assert (x + mg.ones(2)).dtype == np.float32
    assert (x * mg.tensor([1, 2]).astype("int64")).dtype == BF16
    assert (x > 1).dtype == bool


def test_a_network_trains(rng):
    model = nn.Sequential(
        nn.Linear(6, 16, bias=False), nn.BatchNorm(16), nn.Sigmoid(), nn.Linear(16, 3)
    )
    for p in (model[0].weight, model[3].weight, model[3].bias):
        p._data = p.astype("bfloat16")._data
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    x = mg.tensor(rng.standard_normal((30, 6)), dtype="bfloat16")
    t = mg.tensor(np.arange(30) % 3)

    step = step_of(model, optimizer)
    losses = [step(x, t).item() for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    assert {p.dtype for p in model.parameters()} == {BF16, np.dtype(np.float32)}
    assert {b.dtype for b in model[1].buffers()} == {np.dtype(np.float32), np.dtype(np.int64)}
    state, moving = model.state_dict(), optimizer.state_dict()
    eager = [step(x, t).numpy() for _ in range(4)]
    model.load_state_dict(state)
    optimizer.load_state_dict(moving)
    graph = mg.capture(step, x, t)
    for expected in eager:
        np.testing.assert_array_equal(graph(x, t).numpy(), expected)


def test_files_do_not_hold_it(tmp_path):
    pytest.importorskip("safetensors")
    with refuses(TypeError, "got bfloat16"):
        mg.save(tmp_path / "x.safetensors", {"x": mg.ones(2, dtype="bfloat16")})


def test_without_ml_dtypes(monkeypatch):
    found = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "ml_dtypes":
            raise ImportError("No module named 'ml_dtypes'")
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "minigrad-bn\[bfloat16\]"'):
        mg.ones(2).astype("bfloat16")
