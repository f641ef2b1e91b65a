"""One channel of m values, computed by minigrad in float64; ``offline.js`` computes the same for the exported page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.study.paths import PATHS

Numbers = Sequence[float]


def column(values: Numbers) -> mg.Tensor:
    return mg.tensor(np.array(values, dtype=float)[:, None])


def listed(t: mg.Tensor) -> list[float]:
    return (t.numpy().ravel() + 0.0).tolist()  # no -0


def channel(
    x: Numbers, gy: Numbers, gamma: float, beta: float, eps: float, lr: float,
    paths: Sequence[str] = PATHS,
) -> dict[str, Any]:  # fmt: skip
    """The nine operations with their gradients, the paths to x with sums, and a step along those that are on."""
    given = column(x), *(mg.tensor(np.array([float(v)])) for v in (gamma, beta)), column(gy)
    form = mg.study.batch_norm_forms(*given, eps=eps).atomic
    xhat, parts = form.steps["xhat"].value, form.paths.parts

    def summed(part: mg.Tensor) -> dict[str, Any]:
        """A gradient, and how much of it shifts all of x, and stretches x."""
        sums = {"sum": part.sum().item(), "along": (part * xhat).sum().item()}
        return {"values": listed(part), **sums}

    total = sum((parts[path] for path in PATHS if path in paths), given[0] * 0)
    moved = mg.tensor(given[0].numpy(), requires_grad=True)
    moved.grad = total
    mg.optim.SGD([moved], lr).step()

    def state(at: mg.Tensor) -> dict[str, float]:
        """Statistics, and the loss sum gy y, whose gradient is gy."""
        y, mean, var = mg.batch_norm(at, *given[1:3], eps=eps)
        found = {"mean": mean, "var": var, "std": mg.sqrt(var + eps), "loss": (given[3] * y).sum()}
        return {name: value.item() for name, value in found.items()}

    return {
        "nodes": {
            step.name: {"value": listed(step.value), "gradient": listed(step.gradient)}
            for step in (*form.steps.values(), *form.inputs.values())
        },
        "paths": {path: summed(part) for path, part in parts.items()},
        "total": summed(total),
        "step": {"x": listed(moved), "before": state(given[0]), "after": state(moved.detach())},
    }


def drawing() -> tuple[str, list[list[str]]]:
    """The picture of the operations, whose numbers the page fills in, and their names and equations."""
    x, gy = column([-1.234, 2, 3, 4, -5.678, 6]), column([1, 2, 3, 4, 5, 7])
    form = mg.study.batch_norm_forms(x, None, None, gy).atomic
    steps = (*form.steps.values(), *form.inputs.values())
    equations = [[s.name, s.equation, s.gradient_equation.rpartition("] ")[2]] for s in steps]
    return form.svg().replace(' style="max-width:100%"', ""), equations
