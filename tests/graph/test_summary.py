"""``summary``: its rows and totals, and that it leaves the model alone."""

from __future__ import annotations

import pytest
from helpers import content, error_table, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


class Net(nn.Module):
    """A scale of its own, a layer that is used twice, a shared weight, and a layer that is not used."""

    def __init__(self):
        self.scale = nn.Parameter([1.0])
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm(4), nn.Dropout(0.5))
        self.twice = nn.Linear(6, 6, bias=False)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.twice.weight
        self.unused = nn.Linear(2, 2)
        self.scale.requires_grad = False

    def forward(self, x):
        return self.tied(self.twice(self.twice(self.conv(x) * self.scale)))


def test_rows_and_totals():
    model = Net()
    before = content(model)
    summary = mg.summary(model, mg.ones(2, 1, 8, 8))
    assert content(model) == before
    shape = (2, 4, 6, 6)
    assert [row[:4] for row in summary.rows] == [
        ("conv.0", "Conv2d", shape, 36),
        ("conv.1", "BatchNorm", shape, 8),
        ("conv.2", "Dropout", shape, 0),
        ("", "Net", shape, 1),
        ("twice", "Linear", shape, 36),
        ("tied", "Linear", shape, 6),
    ]
    assert summary.rows[0].flops == 2 * 2 * 4 * 36 * 9
    assert summary.rows[4].flops == 2 * (2 * 288 * 6)
    assert summary.parameters == sum(p.size for p in model.parameters()) == 36 + 8 + 1 + 36 + 6 + 6
    assert summary.trainable == summary.parameters - 1
    assert summary.flops == sum(row.flops for row in summary.rows)
    text = str(summary)
    assert "conv.0  Conv2d     (2, 4, 6, 6)" in text
    assert text.endswith("1 of the parameters don't require a gradient")


@error_table(
    {
        "no module": (TypeError, "expected summary(model, x), got", lambda: mg.summary(mg.relu)),
        "a shape": (TypeError, "got a shape; pass mg.zeros", lambda: mg.summary(Net(), (2, 1))),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
