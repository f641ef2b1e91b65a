"""What ``mypy --strict`` makes of a user's script in a folder outside of the checkout."""

from __future__ import annotations

import re

import pytest
from helpers import python
from test_layering import ROOT

pytest.importorskip("mypy")

SCRIPT = """
from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import nn, optim


class Classifier(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        self.body = nn.Sequential(nn.Linear(inputs, 8, bias=False), nn.BatchNorm(8), nn.Sigmoid())
        self.head = nn.Linear(8, classes)

    def forward(self, x: mg.Tensor, scale: float = 1.0) -> mg.Tensor:
        return self.head(self.body(x)) * scale


@mg.jit
def step(x: mg.Tensor, t: mg.Tensor) -> mg.Tensor:
    optimizer.zero_grad()
    loss = mg.softmax_cross_entropy(model(x, scale=2.0), t)
    loss.backward()
    optimizer.step()
    return loss


@mg.no_grad()
def accuracy(x: mg.Tensor, t: mg.Tensor) -> float:
    return float((model(x).numpy().argmax(axis=1) == t.numpy()).mean())


@mg.no_grad
def halve(weight: nn.Parameter) -> None:
    weight *= 0.5
    weight -= np.zeros(weight.shape, np.float32)


mg.manual_seed(0)
model = Classifier(4, 3).to("numpy").train()
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
batches = mg.data.DataLoader([np.ones((6, 4), np.float32), np.arange(6) % 3], batch_size=3)
x, t = next(iter(batches))
losses = [step(x, t).item() for x, t in batches]
"""

TYPES = {
    "nn.Linear(3, 4)(x)": "Tensor",
    "nn.Sequential(nn.ReLU())(x)": "Tensor",
    "nn.BatchNorm(3)(x, mask=None)": "Tensor",
    "nn.LSTM(4, 5)(x)": "tuple[Tensor, Any]",
    "model(x)": "Tensor",
    "model.eval()": "Classifier",
    'model.to("numpy").train()': "Classifier",
    'nn.BatchNorm.like("torch", 8).eval()': "BatchNorm",
    "model.head.weight": "Parameter",
    "step(x, t)": "Tensor",
    "accuracy(x, t)": "float",
    "halve(model.head.weight)": "None",
    "2 * x + x @ x": "Tensor",
    "x.sum()": "Tensor",
    "x[0]": "Tensor",
    "mg.grad(x.sum(), x)": "Tensor",
    "mg.grad([x.sum()], [x, x])": "tuple[Tensor, ...]",
    "mg.capture(model, x)": "Graph",
    "mg.__version__": "str",
}

#: mistakes, and the kind of error that each is
MISTAKES = {
    "model('x')": "arg-type",
    "model(x, 1.0, 2.0)": "call-arg",
    "nn.Linear(3, 4)()": "call-arg",
    "step(x)": "call-arg",
    "model.eval().missing": "attr-defined",
}


def test_a_users_script(tmp_path):
    lines = [*(f"reveal_type({expression})" for expression in TYPES), *MISTAKES]
    (tmp_path / "user.py").write_text("\n".join([SCRIPT, *lines]), "utf-8")
    options = "--strict --follow-imports=silent --no-error-summary --no-color-output --no-pretty"
    said = python(
        "-m", "mypy", *options.split(), "user.py", cwd=tmp_path, MYPYPATH=str(ROOT)
    ).stdout
    shown = re.findall(r'note: Revealed type is "(.*)"', said)
    shown = [re.sub(r"\b[a-z_.]+\.(?=[A-Z])", "", kind).replace("builtins.", "") for kind in shown]
    assert dict(zip(TYPES, shown, strict=True)) == TYPES, said
    assert re.findall(r"error: .* \[(.*)\]", said) == list(MISTAKES.values()), said


def test_the_script_runs(tmp_path):
    (tmp_path / "user.py").write_text(f"{SCRIPT}\nprint(len(losses))", "utf-8")
    assert python("user.py", cwd=tmp_path).stdout == "2\n"
