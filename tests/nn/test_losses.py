"""Losses as modules: PyTorch's numbers, and weights that move and are saved with the model."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal

import minigrad as mg
from minigrad import nn

Z, W = np.random.default_rng(0).standard_normal((2, 4, 3)), np.array([1.0, 2.0, 0.5])
SOFT = np.exp(Z[1]) / np.exp(Z[1]).sum(1, keepdims=True)
LABELS = np.array([0, 2, 1, 2])
#: the layer, its settings with arrays, and the second argument
LOSSES = [
    ("CrossEntropyLoss", {}, LABELS),
    ("CrossEntropyLoss", {"weight": W}, LABELS),
    ("CrossEntropyLoss", {"weight": W, "label_smoothing": 0.1}, SOFT),
    ("CrossEntropyLoss", {"weight": W, "label_smoothing": 0.1, "ignore_index": 2}, LABELS),
    ("MSELoss", {"reduction": "sum"}, Z[1]),
    ("BCEWithLogitsLoss", {}, SOFT),
    ("BCEWithLogitsLoss", {"pos_weight": W, "reduction": "none"}, SOFT),
]


@pytest.mark.parametrize(("name", "settings", "target"), LOSSES)
def test_as_in_pytorch(torch, name, settings, target):
    theirs = {k: torch.tensor(v) if v is W else v for k, v in settings.items()}
    a, b = torch.tensor(Z[0], requires_grad=True), mg.tensor(Z[0], requires_grad=True)
    expected = getattr(torch.nn, name)(**theirs)(a, torch.tensor(target))
    found = getattr(nn, name)(**settings)(b, target)
    expected.sum().backward()
    found.sum().backward()
    close(found, expected.detach().numpy())
    close(b.grad, a.grad.numpy())


def test_weights_are_state(backend):
    loss = nn.CrossEntropyLoss([1.0, 2.0, 0.5])
    assert list(loss.state_dict()) == ["weight"] and not loss.parameters()
    again = nn.CrossEntropyLoss(np.ones(3, "f"))
    again.load_state_dict(loss.state_dict())
    x = mg.tensor(Z[0].astype("f"))
    equal(again(x, LABELS.tolist()), loss(x, LABELS.tolist()))


def test_positions_have_losses():
    z, labels = np.random.default_rng(1).random((2, 3, 4, 5)), np.arange(40).reshape(2, 4, 5) % 3
    equal(mg.softmax_cross_entropy(mg.tensor(z), labels, "none")[0, 1], mg.softmax_cross_entropy(
        mg.tensor(z[0, :, 1].T), labels[0, 1], "none"))  # fmt: skip
