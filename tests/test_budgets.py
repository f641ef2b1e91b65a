"""Budgets: lines of the package, of its engine and of the tests, and lengths of functions.

The numbers of lines are a ratchet: they fall. They have risen by the names that users of PyTorch look for, by what
``study`` needs to name a mistake in a derivation, by ``distributed``, by the tests of it and of the page, by results of
replays that are lent and know what shares their memory, by CUDA kernels that take whole channels and several loads at
once, and by the tests of what is measured on a GPU.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from test_layering import MODULES, OURS, ROOT

#: modules and packages that are not the engine; all others are, new ones too. In ``kernels`` only those count that any
#: array module can run.
OPTIONAL = (
    "bn checkpoint command data distributed graph info interop kernels layers onnx study "
    "dlpack nn.activation nn.containers nn.conventions nn.convolution nn.embedding nn.losses nn.normalization "
    "nn.recurrent ops.accumulation ops.einsum ops.losses ops.rearrange ops.rectifiers "
    "optim.adaptive optim.clipping optim.schedules sampling"
)
ARRAYS = "kernels.arrays kernels.windows kernels.generic kernels.convolution kernels.updates"

#: optional modules that the engine cannot be imported without yet
NEEDED = "checkpoint kernels"

#: what is counted: (lines at most today, lines at most in the end)
LINES = {
    "minigrad": (25_888, 12_000),
    "engine": (8_091, 4_000),
    "tests": (28_857, 15_000),
}


def optional(name):
    return not within(name, ARRAYS) and within(name, OPTIONAL)


def within(name, rooms):
    """Whether a module is one of these below ``minigrad``, or in one."""
    return any(f"{name}.".startswith(f"minigrad.{room}.") for room in rooms.split())


def sources(what):
    """The files that a budget counts."""
    if what == "engine":
        return [MODULES[name] for name in OURS if not optional(name)]
    return [p for p in (ROOT / what).rglob("*") if p.suffix in (".py", ".cu", ".cuh", ".h")]


def lines(path):
    return len(path.read_text("utf-8").splitlines())


@pytest.mark.parametrize("what", LINES)
def test_lines(what):
    most, _ = LINES[what]
    found = sum(map(lines, sources(what)))
    assert found <= most, f"{what}: {found} lines, the budget is {most}"


TRAINS = """
import minigrad as mg
mg.manual_seed(0)
model = mg.nn.Sequential(
    mg.nn.Linear(4, 8, bias=False), mg.nn.BatchNorm(8), mg.nn.Sigmoid(), mg.nn.Linear(8, 2)
)
optimizer = mg.optim.SGD(model.parameters(), lr=1.0)
x = mg.arange(32).reshape(8, 4)
losses = []
for _ in range(30):
    loss = mg.softmax_cross_entropy(model(x), mg.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype="int64"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < losses[0] / 4, losses
"""


def test_engine_trains_alone(tmp_path):
    """In a copy of the package without the optional rooms, but for those that it still needs."""
    for name, path in MODULES.items():
        if name in OURS and (not optional(name) or within(name, NEEDED)):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    settings = {"PYTHONPATH": str(tmp_path), "MINIGRAD_KERNELS": "numpy"}
    subprocess.run(
        [sys.executable, "-c", TRAINS], env=os.environ | settings, check=True, cwd=tmp_path
    )


def functions(tree, prefix):
    """All functions in a tree with their dotted names."""
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}.{node.name}" if hasattr(node, "name") else prefix
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield name, node
        yield from functions(node, name)


def length(function):
    """Lines from ``def`` on, without the docstring."""
    first, documented = function.body[0], ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_lengths_of_functions():
    found = {
        name: length(function)
        for module in OURS
        for name, function in functions(
            ast.parse(MODULES[module].read_text("utf-8")), module.removeprefix("minigrad.")
        )
    }
    long = {name: n for name, n in found.items() if n > 40}
    assert long == {}, "longer than 40 lines without their docstring"
