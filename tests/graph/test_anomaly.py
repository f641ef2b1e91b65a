"""``detect_anomaly``: which op and layer it names, and what it lets pass."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, error_table, refuses

import minigrad as mg
from minigrad import nn
from minigrad.tape import tracing

pytestmark = pytest.mark.usefixtures("backend")


class Root(nn.Module):
    """The square root of numbers that are 0, or of negative ones."""

    def __init__(self, by=0.0):
        self.by = by

    def forward(self, x):
        return mg.sqrt(x * self.by)


def x(value=1.0):
    return mg.tensor([value, 1.0], requires_grad=True)


def overflowing_step():
    p = x()
    (p * 1e20).sum().backward()
    mg.optim.SGD([p], lr=1e30).step()


def written():
    t = mg.ones(2)
    t *= np.nan


FOUND = {
    "forward": (
        "NaN in the result of sqrt, shape (2,), forward pass, in layer '1' (Root); its inputs are finite",
        lambda: nn.Sequential(nn.Sigmoid(), Root(-1.0))(x()),
    ),
    "backward": (
        "Inf in the result of divide, shape (2,), backward pass of sqrt, in layer '1' (Root); its inputs are finite",
        lambda: nn.Sequential(nn.Sigmoid(), Root(0.0))(x()).sum().backward(),
    ),
    "jitted": (
        "backward pass of sqrt, in Root",
        lambda: mg.jit(Root(0.0))(x()).sum().backward(),
    ),
    "captured": (
        "NaN in the result of sqrt",
        lambda: mg.capture(lambda x: mg.sqrt(x), mg.ones(2))(mg.full(2, -1.0)),
    ),
    "no layer": ("Inf in the result of log, shape (2,), forward pass; its", lambda: mg.log(x(0))),
    "data": (
        "NaN in the result of exp, shape (2,), forward pass; input 0 has NaN already",
        lambda: mg.exp(x(np.nan)),
    ),
    "update": ("Inf in the result of update, shape (2,)", overflowing_step),
    "in place": ("NaN in the result of multiply", written),
}


@pytest.mark.parametrize(("words", "call"), FOUND.values(), ids=FOUND)
def test_what_is_named(words, call):
    with refuses(RuntimeError, f"detect_anomaly: {words}" if words[0] in "IN" else words):
        mg.detect_anomaly()(call)()
    assert tracing.get() is None


def test_what_passes():
    """Infinite masks and window borders, whole steps, and what happens outside."""
    mask = mg.tensor([0.0, -np.inf])
    with mg.detect_anomaly(), mg.detect_anomaly():
        equal(mg.softmax(mg.ones(2) + mask, axis=0), np.array([1, 0], "f"))
        nn.MaxPool2d(2, padding=1)(mg.ones(1, 1, 4, 4, requires_grad=True)).sum().backward()
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Dropout(0.5))
        optimizer = mg.optim.RMSprop(model.parameters(), centered=True)
        loss = (model(mg.tensor([[1.0, 2.0], [3.0, 5.0]])) ** 2).sum()
        assert np.isfinite(loss.item())
        loss.backward()
        optimizer.step()
    with np.errstate(all="ignore"):
        assert mg.log(x(0)).numpy()[0] == -np.inf


def inside():
    with mg.detect_anomaly():
        return mg.ones(2)


@error_table(
    {
        "capture": (RuntimeError, "put it around the call", lambda: mg.capture(inside)),
        "jit": (RuntimeError, "detect_anomaly: inside of a captured function", mg.jit(inside)),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
