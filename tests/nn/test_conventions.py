"""Twenty steps of other frameworks' batch norm with their own defaults, as BatchNorm.like computes them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "framework_vectors.json").read_text("utf-8"))
#: what was recorded, and how to ask for it
ROWS = {
    "torch": lambda: nn.BatchNorm.like("torch", 3),
    "keras": lambda: nn.BatchNorm.like("keras", 3),
    "flax": lambda: nn.BatchNorm.like("flax", 3),
    "chainer": lambda: nn.BatchNorm.like("chainer", 3),
    "onnx": lambda: nn.BatchNorm.like("onnx", 3),
    "tf1": lambda: nn.BatchNorm.like("tf1", 3),
    "tf1_fused": lambda: nn.BatchNorm.like("tf1", 3, ddof_running=1),
}


@pytest.fixture(scope="module")
def made_by():
    """The script that made the vectors: it has the inputs."""
    script = FOLDER / "framework_vectors.py"
    scope = {"__file__": str(script), "__name__": script.stem}
    exec(script.read_text("utf-8"), scope)
    return SimpleNamespace(**scope)


def agree(t, expected):
    """To 1e-6 of the largest number: what float32 leaves of formulas that sum in another order."""
    expected = np.array(expected)
    close(t / np.abs(expected).max(), expected / np.abs(expected).max(), 1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_twenty_steps(made_by, name):
    bn, vectors = ROWS[name](), VECTORS[name]
    bn.gamma.data = mg.tensor(made_by.GAMMA).data
    bn.beta.data = mg.tensor(made_by.BETA).data
    assert len(vectors["steps"]) == 20
    for x, step in zip(made_by.batches(), vectors["steps"], strict=True):
        agree(bn(mg.tensor(x)), step["y"])
        agree(bn.running_mean, step["running_mean"])
        agree(bn.running_var, step["running_var"])
    agree(bn.eval()(mg.tensor(made_by.batches()[0])), vectors["eval_y"])


def test_every_row_is_recorded():
    assert set(VECTORS) == set(ROWS)
    assert set(nn.CONVENTIONS) - set(ROWS) == {"paper"}  # which is no software
    paper = nn.BatchNorm.like("paper", 3)
    assert (paper.momentum, paper.ddof_running) == (None, 1)  # averages of all batches


def test_eps_is_still_taken_under_its_old_name():
    """By layers, subclasses, and ``like``; as an attribute too. The warning points at the line that says it."""
    for make in [
        lambda **eps: nn.BatchNorm(3, **eps),
        lambda **eps: nn.GhostBatchNorm(3, 2, **eps),
        lambda **eps: nn.FrozenBatchNorm(3, **eps),
        lambda **eps: nn.BatchNorm.like("torch", 3, **eps),
        lambda **eps: nn.LayerNorm(3, **eps),
        lambda **eps: nn.GroupNorm(1, 3, **eps),
        lambda **eps: nn.InstanceNorm(3, **eps),
    ]:
        with pytest.warns(DeprecationWarning, match="epsilon is called eps now") as caught:
            layer = make(epsilon=0.5)
        assert layer.eps == 0.5 and caught[0].filename == __file__
        with pytest.raises(TypeError, match="epsilon is the old name of eps"):
            make(epsilon=0.5, eps=0.5)
    bn = nn.BatchNorm(3)
    with pytest.warns(DeprecationWarning, match="epsilon is called eps now") as caught:
        bn.epsilon = 0.25
        assert bn.epsilon == bn.eps == 0.25
        assert nn.CONVENTIONS["torch"].epsilon == 1e-5
    assert {w.filename for w in caught} == {__file__}
