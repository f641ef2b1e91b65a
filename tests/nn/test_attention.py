"""Attention: by its equation, masked, and against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, device, error_table, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


def test_by_its_equation(rng):
    layer, x, memory = nn.Attention(4, 2, **F64), normal(rng, 3, 5, 4), normal(rng, 3, 6, 4)
    q, k, v = (
        part(t).numpy().reshape(3, -1, 2, 2)
        for part, t in [(layer.query, x), (layer.key, memory), (layer.value, memory)]
    )
    scores = np.einsum("nthd,nshd->nhts", q, k) / np.sqrt(2)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    found = np.einsum("nhts,nshd->nthd", weights, v).reshape(3, 5, 4)
    close(layer(x, memory), layer.output(mg.tensor(found)))


def test_what_is_masked_is_not_seen(rng):
    layer, values = nn.Attention(4, 2, **F64), rng.standard_normal((2, 5, 4))
    padding = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
    y = layer(mg.tensor(values), mask=device(padding[:, None]))
    close(y[1, :3], layer(mg.tensor(values[1:, :3]))[0])
    past = np.tril(np.ones((5, 5), bool))
    y = layer(mg.tensor(values), mask=device(past))
    for t in range(1, 5):
        close(y[:, t - 1], layer(mg.tensor(values[:, :t]))[:, t - 1])


def test_float16(rng):
    layer = nn.Attention(4, dtype=np.float16)
    y = layer(
        mg.tensor(rng.standard_normal((2, 3, 4)), dtype="float16"), mask=[[True, False, True]]
    )
    assert y.dtype == np.float16 and np.isfinite(y.numpy()).all()


def test_torch(rng, torch):
    layer = nn.Attention(6, 3, **F64)
    other = torch.nn.MultiheadAttention(6, 3, batch_first=True, dtype=torch.float64)
    parts = [layer.query, layer.key, layer.value]
    with torch.no_grad():
        weights = np.concatenate([p.weight.numpy() for p in parts])
        other.in_proj_weight.copy_(torch.tensor(weights))
        other.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.numpy() for p in parts])))
        other.out_proj.weight.copy_(torch.tensor(layer.output.weight.numpy()))
        other.out_proj.bias.copy_(torch.tensor(layer.output.bias.numpy()))
    x, memory = rng.standard_normal((2, 4, 6)), rng.standard_normal((2, 5, 6))
    xs = [torch.tensor(a) for a in (x, memory, memory)]
    expected = other(*xs)[0].detach().numpy()
    close(layer(mg.tensor(x), mg.tensor(memory)), expected, 1e-10)
    expected = other(*[torch.tensor(x)] * 3)[0].detach().numpy()
    close(layer(mg.tensor(x)), expected, 1e-10)
    assert repr(nn.Attention(4, 2)).startswith("Attention(\n  query=Linear(4, 4, bias=True)")


@error_table(
    {
        "heads": (
            ValueError,
            "Attention: expected heads that divide 4 features, got 3",
            lambda: nn.Attention(4, 3),
        ),
        "features": (
            ValueError,
            "Attention: expected shape (n, time, 4), got (2, 5, 3)",
            lambda: nn.Attention(4)(mg.ones((2, 5, 3))),
        ),
        "memory": (
            ValueError,
            "Attention: expected shape (n, time, 4), got (2, 4)",
            lambda: nn.Attention(4)(mg.ones((2, 5, 4)), mg.ones((2, 4))),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
