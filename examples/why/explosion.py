"""Batch norm makes gradients explode at initialization: by 1.21 for each layer of rectifiers.

Yang et al. 2019 (arXiv:1902.08129, Theorems 3.9 and 3.10) compute it for wide networks, and show simulations beside:
backwards through a layer, the squared norm of the gradient grows by E[f'(z)^2] / Var[f(z)], z a standard normal, in the
limit of large batches: pi / (pi - 1) = 1.467 for rectifiers, the square of 1.21; no scale of the initial weights avoids
it, as batch norm undoes that. Derived in a few lines: a random layer of unit variance keeps norms, the activation
multiplies by f', and batch norm divides by the deviation of what the layer before passes on, Var[f(z)] over a batch
whose examples have become uncorrelated.

Measured: the norms of the weights' gradients of a network that was not trained, on random labels. Its growth from layer
to layer is the slope of a line through the logarithms of the middle layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from examples.why import common as why
from examples.why.common import Row, Settings
from minigrad import nn

PAPER = "Yang et al. 2019, arXiv:1902.08129, Theorem 3.10: pi / (pi - 1) = 1.467 = 1.21^2 for the squared norm."
#: the steps are layers: nothing is trained
DEFAULT, FULL, SECONDS = Settings(steps=40), Settings(steps=100, seeds=5), 30
WIDTH, BATCH = 256, 256
#: activation, its layer, whether there is batch norm
CASES = {
    "ReLU, no batch norm": (nn.ReLU, lambda z: np.maximum(z, 0), None),
    "ReLU": (nn.ReLU, lambda z: np.maximum(z, 0), nn.BatchNorm),
    "tanh": (nn.Tanh, np.tanh, nn.BatchNorm),
    "sigmoid": (nn.Sigmoid, lambda z: 1 / (1 + np.exp(-z)), nn.BatchNorm),
}


def theory(f: Callable[[np.ndarray], np.ndarray], normalized: bool) -> float:
    """The growth of the norm for each layer, of wide networks and large batches."""
    z = np.linspace(-9, 9, 100_001)
    weight = np.exp(-(z**2) / 2)
    weight, y, slope = weight / weight.sum(), f(z), np.gradient(f(z), z)
    variance = weight @ y**2 - (weight @ y) ** 2
    return float(np.sqrt(weight @ slope**2 / (variance if normalized else weight @ y**2)))


def gradients(layers: int, case: Any, seed: int) -> list[float]:
    """The norms of the gradients of all weights but the last layer's, from the first on."""
    activation, _, norm = case
    sizes = [WIDTH] * (layers + 1) + [10]
    model = why.network(sizes, norm and (lambda n: norm(n, eps=1e-8)), seed, activation)
    rng = np.random.default_rng([seed, 1])
    x, labels = rng.normal(size=(BATCH, WIDTH)), rng.integers(0, 10, BATCH)
    mg.softmax_cross_entropy(model(mg.tensor(x, dtype="float32")), mg.tensor(labels)).backward()
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    return [float(np.linalg.norm(w.grad.numpy().astype(float))) for w in weights[:-1]]


def run(settings: Settings) -> list[Row]:
    rows = []
    for seed, name in settings.runs(CASES):
        norms = np.array(gradients(settings.steps, CASES[name], seed))
        middle = slice(len(norms) // 4, len(norms) - len(norms) // 8)
        slope = np.polyfit(np.arange(len(norms))[middle], np.log(norms[middle]), 1)[0]
        found = {
            "growth": np.exp(-slope),
            "theory": theory(CASES[name][1], CASES[name][2] is not None),
        }
        for layer, norm in enumerate(norms, 1):
            relative = norm / norms[-1]
            rows.append({"seed": seed, "network": name, "layer": layer, "norm": relative} | found)
    return rows


def finding(rows: list[Row]) -> tuple[bool, str]:
    relu, plain = (why.mean(rows, "growth", network=n) for n in ("ReLU", "ReLU, no batch norm"))
    ideal = why.mean(rows, "theory", network="ReLU")
    text = f"{relu:.3f} for each layer of rectifiers, {ideal:.3f} by theory, and {plain:.3f} without batch norm."
    return abs(relu / ideal - 1) < 0.03 and plain < 1.05, text


def table(rows: list[Row]) -> str:
    lines = [
        f"{'growth for each layer':<24}{'measured':>10}{'theory':>10}{'first / last layer':>21}"
    ]
    for name in CASES:
        growth, ideal = (
            why.mean(rows, "growth", network=name),
            why.mean(rows, "theory", network=name),
        )
        whole = why.mean(rows, "norm", network=name, layer=1)
        lines.append(f"{name:<24}{growth:>10.3f}{ideal:>10.3f}{whole:>21,.1f}")
    return "\n".join(lines)


def draw(figure: Any, rows: list[Row]) -> None:
    panel, layers = figure.subplots(), why.values(rows, "layer")
    for name, color in zip(
        CASES, (*list(why.COLORS.values())[:1], why.PALETTE[0], *why.PALETTE[2:]), strict=False
    ):
        why.curve(panel, rows, "layer", "norm", color, name, network=name)
        ideal = why.mean(rows, "theory", network=name)
        label = "by theory" if name == "sigmoid" else None
        expected = ideal ** (layers[-1] - np.array(layers))
        panel.plot(layers, expected, "--", color=color, linewidth=1, label=label)
    labels = {
        "xlabel": "layer, from the input on",
        "ylabel": "norm of gradient / that of last layer",
    }
    why.finish(panel, 5, log=True, **labels)
    panel.yaxis.set_major_formatter("{x:g}")
