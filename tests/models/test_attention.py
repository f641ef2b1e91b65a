"""The transformer's encoder: positions, and PyTorch's layer."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad.interop import from_torch
from models.attention import EncoderLayer, positions, transformer_encoder


def test_positions():
    """Section 3.5, number by number."""
    table = positions(7, 6)
    assert table.shape == (7, 6)
    for pos in range(7):
        for i in range(3):
            angle = pos / 10_000 ** (2 * i / 6)
            close(table[pos, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)])
    assert positions(4, 5).shape == (4, 5)


def test_parameters_of_a_layer_of_the_base_model():
    """Section 3: four maps of 512 features, and 2,048 units between two more."""
    attention, network, norms = 4 * 512 * 513, 2048 * 513 + 512 * 2049, 4 * 512
    layer = EncoderLayer(512, 8, 2048, 0.1)
    assert sum(p.size for p in layer.parameters()) == attention + network + norms


def test_order_matters(rng):
    """Without positions a mean over attention would not see it."""
    model = transformer_encoder(classes=3, features=4, width=8, heads=2).eval()
    x = rng.standard_normal((2, 5, 4)).astype(np.float32)
    forward, backward = (model(mg.tensor(np.ascontiguousarray(a))).numpy() for a in (x, x[:, ::-1]))
    assert abs(forward - backward).max() > 1e-3


def test_what_stands_around_the_layers(rng):
    """An embedding with positions added before them, the mean over positions after them."""
    model = transformer_encoder(classes=3, features=4, width=8, layers=0).eval()
    x = mg.tensor(rng.standard_normal((2, 5, 4)), dtype="float32")
    embedded = model.embedding(x).numpy() + positions(5, 8)
    close(model(x), model.fc(mg.tensor(embedded.mean(1), dtype="float32")), 1e-5)


@pytest.mark.parametrize("time", [1, 9])
def test_sequences_of_any_length(rng, time):
    model = transformer_encoder(classes=3, features=4, width=8, heads=2)
    assert model(mg.tensor(rng.standard_normal((2, time, 4)), dtype="float32")).shape == (2, 3)


def test_a_layer_is_that_of_torch(torch, rng):
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    ours = EncoderLayer(8, 2, 16, 0.1).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(p.shape)))
        state = theirs.state_dict()
        for kind in ("weight", "bias"):
            maps = state.pop(f"self_attn.in_proj_{kind}").reshape(3, 8, -1)
            for name, part in zip(("query", "key", "value"), maps, strict=True):
                state[f"attention.{name}.{kind}"] = part if kind == "weight" else part[:, 0]
            state[f"attention.output.{kind}"] = state.pop(f"self_attn.out_proj.{kind}")
        from_torch(ours, state)
        x = rng.standard_normal((3, 5, 8)).astype(np.float32)
        close(ours(mg.tensor(x)), theirs(torch.from_numpy(x)).numpy(), 1e-5)
