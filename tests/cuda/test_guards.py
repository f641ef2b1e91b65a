"""The kernel tests find planted mistakes: missing barriers, and accesses beside arrays."""

from __future__ import annotations

import numpy as np
import pytest
from cuda import emulator, templates
from cuda.shared import ORDERS, close, kernels, needs_compiler

from minigrad.kernels.cuda import source

pytestmark = needs_compiler
BARRIERS = {
    "before another merge": "    __syncthreads();  // of an earlier call",
    "between two steps": "        __syncthreads();\n        if",
    "before the result": "    __syncthreads();\n    return",
}
ACCESSES = [
    ("stride(s.channels * s.size)", "stride(s.channels * s.size + 1)", "wrote"),
    ("lane + v < shape.channels", "lane + v <= shape.channels", "wrote"),
    ("end = part.end;\n        i =", "end = part.end + 1;\n        i =", "wrote"),
    ("end = has(0) ? part.end", "end = has(0) ? part.end + 1", "wrote"),
    ("load(x + at)", "load(x + at + 1)", "nan location"),
    ("load(x + at)", "load(x + at - 1)", "nan location"),
]


@pytest.fixture
def plant(monkeypatch):
    """Replaces a text in the source, of the float kernels alone."""

    def plant(right, wrong):
        text, instances = source("batch_norm.cu"), templates.instances
        assert right in text

        def plain(kernel):
            return [p for p in instances(kernel) if p[0] == "float"]

        monkeypatch.setattr(emulator, "source", lambda file: text.replace(right, wrong))
        monkeypatch.setattr(templates, "instances", plain)

    return plant


def batch_norm(x, order=(0, 1)):
    k = kernels(order)
    found = k.batch_norm(k.xp.place(x), None, None, (1,), 1e-3, 0)
    k.xp.check()
    return [array.hidden for array in found]


@pytest.mark.parametrize("barrier", BARRIERS)
def test_a_missing_barrier(rng, plant, barrier):
    line = BARRIERS[barrier]
    plant(line, line.replace("__syncthreads();", ""))
    x = rng.normal(size=(400, 64)).astype(np.float32)
    first, last = (batch_norm(x, order) for order in ORDERS[:2])
    assert any((a != b).any() for a, b in zip(first, last, strict=True))


@pytest.mark.parametrize(("right", "wrong", "error"), ACCESSES)
def test_an_access_beside_an_array(rng, plant, right, wrong, error):
    plant(right, wrong)
    with pytest.raises(AssertionError, match=error):
        for shape in (3, 5, 7), (4, 37):
            x = rng.normal(size=shape).astype(np.float32)
            y, axes = batch_norm(x)[0], (0, *range(2, len(shape)))
            d = x - x.mean(axes, keepdims=True)
            close(y, d / np.sqrt((d * d).mean(axes, keepdims=True) + 1e-3))
