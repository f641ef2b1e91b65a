"""Attention: by its equation, masked, and against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, normal, refuses

import minigrad as mg
from models.attention import Attention

pytestmark = pytest.mark.usefixtures("backend")


def test_by_its_equation(rng):
    layer, x, memory = Attention(4, 2, dtype="float64"), normal(rng, 3, 5, 4), normal(rng, 3, 6, 4)
    maps = (layer.query, x), (layer.key, memory), (layer.value, memory)
    q, k, v = (linear(t).numpy().reshape(3, -1, 2, 2) for linear, t in maps)
    weights = np.exp(np.einsum("nthd,nshd->nhts", q, k) / np.sqrt(2))
    weights /= weights.sum(-1, keepdims=True)
    found = np.einsum("nhts,nshd->nthd", weights, v).reshape(3, 5, 4)
    close(layer(x, memory), layer.output(mg.tensor(found)))


def test_masked_elements_have_no_effect(rng):
    layer, values = Attention(4, 2, dtype="float64"), rng.standard_normal((2, 5, 4))
    padding = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
    y = layer(mg.tensor(values), mask=device(padding[:, None]))
    close(y[1, :3], layer(mg.tensor(values[1:, :3]))[0])
    y = layer(mg.tensor(values), mask=device(np.tril(np.ones((5, 5), bool))))
    for t in range(1, 5):
        close(y[:, t - 1], layer(mg.tensor(values[:, :t]))[:, t - 1])


def test_float16(rng):
    x = mg.tensor(rng.standard_normal((2, 3, 4)), dtype="float16")
    y = Attention(4, dtype="float16")(x, mask=[[True, False, True]])
    assert y.dtype == np.float16 and np.isfinite(y.numpy()).all()


@pytest.mark.parametrize(
    ("words", "call"),
    {
        "expected heads that divide 4 features, got 3": lambda: Attention(4, 3),
        "expected shape (n, time, 4), got (2, 5, 3)": lambda: Attention(4)(mg.ones((2, 5, 3))),
        "expected shape (n, time, 4), got (2, 4)": lambda: Attention(4)(
            mg.ones((2, 5, 4)), mg.ones((2, 4))
        ),
    }.items(),
)
def test_errors(words, call):
    with refuses(ValueError, f"Attention: {words}"):
        call()
