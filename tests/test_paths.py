"""How long the path is from a public call to its kernel, and how long the layer is that reads like the paper."""

from __future__ import annotations

import ast
import contextvars
import inspect
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from graph.shared import step_of
from test_budgets import length

import minigrad as mg
from minigrad.backend import get
from minigrad.kernels.numba import NumbaKernels

PACKAGE = str(Path(mg.__file__).parent)


def path(call):
    """The (file, function) pairs of the package that one call enters, once everything is compiled and cached.

    It runs in a new context, where every setting is a plain value: a generator that another test dropped inside a
    ``with`` block leaves an ended block in this one, and looking through that takes two more functions.
    """
    entered = set()

    def enter(frame, event, argument):
        code = frame.f_code
        ours = event == "call" and code.co_filename.startswith(PACKAGE)
        if ours and not code.co_name.startswith("<"):  # comprehensions, which Python 3.12 inlines
            entered.add((code.co_filename, code.co_name))

    context = contextvars.Context()
    for _ in range(4):
        context.run(call)
    sys.setprofile(enter)
    try:
        context.run(call)
    finally:
        sys.setprofile(None)
    return entered


def leaves(*shapes):
    rng = np.random.default_rng(0)
    arrays = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return [mg.tensor(a, requires_grad=True) for a in arrays]


X, W, GAMMA, BETA = leaves((64, 32), (64, 32), 32, 32)
LAYER = mg.nn.BatchNorm(32)
LOSSES = [(X * W).sum() for _ in range(5)]
MODEL = mg.nn.Sequential(mg.nn.Linear(32, 8, bias=False), mg.nn.BatchNorm(8), mg.nn.Sigmoid())
TRAIN = mg.jit(step_of(MODEL, mg.optim.SGD(MODEL.parameters(), lr=0.1)))
BATCH = X.detach(), mg.tensor(np.arange(64) % 8)
COMPILED = isinstance(get("numpy").kernels, NumbaKernels)  # else batch norm is four functions

#: functions and files that a call may pass through; a shorter path lowers its numbers here
LIMITS = {
    "mg.batch_norm": (lambda: mg.batch_norm(X, GAMMA, BETA), 10 if COMPILED else 11, 5),
    "nn.BatchNorm in training": (lambda: LAYER(X), 16, 8),
    "backward of a sum of products": (lambda: LOSSES.pop().backward(), 28, 6),
}
if COMPILED:  # without compiled kernels a replay calls the ops, as eager code does
    LIMITS["replay of a training step"] = (lambda: TRAIN(*BATCH), 20, 10)


@pytest.mark.parametrize(("call", "functions", "files"), LIMITS.values(), ids=LIMITS)
def test_paths_are_short(call, functions, files):
    found = path(call)
    told = "\n".join(sorted(f"{Path(file).relative_to(PACKAGE)} {name}" for file, name in found))
    assert len(found) <= functions, told
    assert len({file for file, _ in found}) <= files, told


def test_batch_norm_reads_like_the_paper():
    """Algorithm 1, Algorithm 2's line 11, and the update of the running statistics in between."""
    sources = map(inspect.getsource, (mg.nn.BatchNorm.forward, mg.nn.BatchNorm.move_statistics))
    assert sum(length(ast.parse(textwrap.dedent(s)).body[0]) for s in sources) <= 25
