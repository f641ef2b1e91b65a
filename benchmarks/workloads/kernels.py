"""Each kernel of the GPU alone, beside generic array code and, where there is one, CuPy's own way to write it.

A source has to be worth its lines: it stays if it is 1.2 times faster than array code, and not slower than what CuPy's
``ElementwiseKernel`` makes of the same formula. Convolutions that cuDNN computes are measured without it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from minigrad import backend
from minigrad.kernels.convolution import Window
from minigrad.kernels.generic import Kernels

from ..agreement import OURS, Peer
from ..harness import Workload
from .bn import remembered

GENERIC, WITHOUT, OWN = "generic", "without cuDNN", "ElementwiseKernel"
#: channels
KEPT = (1,)
WINDOW = Window((3, 3), (1, 1), ((1, 1), (1, 1)))
POOL = Window((2, 2), (2, 2), ((0, 0), (0, 0)))


def generic(kernels: Any) -> Any:
    return Kernels(kernels.xp)


def without_cudnn(kernels: Any) -> Any:
    return type(kernels)(kernels.xp, kernels.launch)


def made_by(choose: Callable[[Any], Any], call: Callable[..., Any], arrays: list[Any]) -> Peer:
    """The results of a kernel set."""
    device = backend.default()
    kernels, held = choose(device.kernels), list(map(device.from_numpy, arrays))
    return remembered(lambda: call(kernels, *held), device.to_numpy)


def by_formula(inputs: str, statement: str, arrays: list[Any]) -> Peer:
    """What CuPy makes of a statement that sets z."""
    device = backend.default()
    named = ", ".join(f"T {name}" for name in inputs.split())
    kernel = device.xp.ElementwiseKernel(named, "T z", statement, "by_formula")
    held = list(map(device.from_numpy, arrays))
    return remembered(lambda: [kernel(*held)], device.to_numpy)


def kernel(
    name: str,
    call: Callable[..., Any],
    *arrays: Callable[[np.random.Generator], Any],
    formula: tuple[str, str] | None = None,
) -> Workload:
    """What a kernel set makes of arrays: ``call`` of both returns the results that are compared.

    A formula is the names of the arrays, and a statement; see ``by_formula``.
    """
    makers: dict[str, Callable[..., Peer]] = {
        OURS: partial(made_by, lambda kernels: kernels, call),
        GENERIC: partial(made_by, generic, call),
    }
    targets = {GENERIC: 1 / 1.2}
    if formula is not None:
        makers[OWN], targets[OWN] = partial(by_formula, *formula), 1.0
    if name.startswith("conv2d"):
        makers[WITHOUT] = partial(made_by, without_cudnn, call)

    def build() -> list[Any]:
        rng = np.random.default_rng(0)
        return [make(rng) for make in arrays]

    return Workload(
        name=f"kernel-{name}",
        about=f"the kernel {name} alone",
        build=build,
        makers=makers,
        check_steps=2,
        tolerance=1e-3,
        block=20,
        targets=targets,
        pause=0,
    )


def normal(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.standard_normal(shape, np.float32)


def positive(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: 1 + np.abs(rng.standard_normal(shape, np.float32))


def integers(high: int, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.integers(high, size=shape)


def pooled(k: Any, x: Any, gy: Any, more: Any) -> Any:
    y, place = k.max_pool2d(x, POOL)
    return y, k.max_pool2d_grad(gy, place, POOL, x.shape[2:]), k.pick(more, place, POOL)


def summed(k: Any, x: Any, gy: Any) -> Any:
    return k.sum_pool2d(x, POOL), k.sum_pool2d_grad(gy, POOL, x.shape[2:])


def convolved_back(k: Any, x: Any, weight: Any, gy: Any) -> Any:
    gx = k.conv2d_input_grad(gy, weight, WINDOW, x.shape[2:])
    return k.conv2d_weight_grad(x, gy, WINDOW), gx


def moved(k: Any, mean: Any, var: Any, batches: Any, batch_mean: Any, batch_var: Any) -> Any:
    k.move_statistics(mean, var, batches, batch_mean, batch_var, 0.99, 1.0, False, True)
    return mean, var


def sgd(k: Any, p: Any, velocity: Any, g: Any) -> Any:
    k.sgd((p,), (velocity,), (g,), lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4)
    return p, velocity


def adam(k: Any, p: Any, first: Any, second: Any, g: Any, steps: Any) -> Any:
    settings = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    k.adam((p,), (first,), (second,), (g,), steps=steps, **settings)
    return p, first, second


def kernels(
    n: int = 4096, batch: int = 128, side: int = 56, rows: int = 16384, classes: int = 1000
) -> Iterator[Workload]:
    """All of them; but for dropout's and running statistics, arrays of these sizes do not fit into a cache."""
    flat, images, halved = (n, n), (batch, 64, side, side), (batch, 64, side // 2, side // 2)
    weight, channels = (64, 64, 3, 3), (64,)
    yield kernel(
        "sigmoid",
        lambda k, x: [k.sigmoid(x)],
        normal(*flat),
        formula=("x", "z = 1 / (1 + exp(-x))"),
    )
    yield kernel(
        "sigmoid_grad",
        lambda k, y, gy: [k.sigmoid_grad(y, gy)],
        normal(*flat),
        normal(*flat),
        formula=("y gy", "z = (y - y * y) * gy"),
    )
    yield kernel("relu", lambda k, x: [k.relu(x)], normal(*flat), formula=("x", "z = max(x, T(0))"))
    yield kernel(
        "relu_grad",
        lambda k, x, gy: [k.relu_grad(x, gy)],
        normal(*flat),
        normal(*flat),
        formula=("x gy", "z = gy * (x > T(0))"),
    )
    yield kernel(
        "linear",
        lambda k, x, weight, bias: [k.linear(x, weight, bias)],
        normal(n, 256),
        normal(n, 256),
        normal(n),
    )
    yield kernel("dropout_mask", lambda k, x: [k.dropout_mask(x, 0.5, 7)], normal(n, 256))
    yield kernel(
        "softmax_cross_entropy",
        lambda k, logits, labels: k.softmax_cross_entropy(logits, labels, 1 / rows),
        normal(rows, classes),
        integers(classes, rows),
    )
    yield kernel(
        "softmax_cross_entropy_grad",
        lambda k, p, labels, gy: [k.softmax_cross_entropy_grad(p, labels, gy, None)],
        positive(rows, classes),
        integers(classes, rows),
        normal(rows),
    )
    yield kernel("max_pool2d", pooled, normal(*images), normal(*halved), normal(*images))
    yield kernel("sum_pool2d", summed, normal(*images), normal(*halved))
    yield kernel(
        "conv2d",
        lambda k, x, weight: [k.conv2d(x, weight, None, WINDOW)],
        normal(*images),
        normal(*weight),
    )
    yield kernel("conv2d_back", convolved_back, normal(*images), normal(*weight), normal(*images))
    yield kernel(
        "batch_norm",
        lambda k, x, gamma, beta: k.batch_norm(x, gamma, beta, KEPT, 1e-3, 0),
        normal(*images),
        normal(*channels),
        normal(*channels),
    )
    yield kernel(
        "batch_norm_grad",
        lambda k, x, gamma, mean, inv, gy: k.batch_norm_grad(x, gamma, mean, inv, gy, KEPT, 0),
        normal(*images),
        normal(*channels),
        normal(*channels),
        positive(*channels),
        normal(*images),
    )
    yield kernel(
        "frozen_batch_norm",
        lambda k, x, *channels: [k.frozen_batch_norm(x, *channels, KEPT, 1e-3)],
        normal(*images),
        *[positive(*channels)] * 4,
    )
    yield kernel(
        "moments",
        lambda k, x, weights: k.moments(x, weights, KEPT),
        normal(*images),
        positive(batch, 1, side, side),
    )
    yield kernel(
        "move_statistics",
        moved,
        normal(n),
        positive(n),
        lambda rng: np.array(0),
        normal(n),
        positive(n),
    )
    yield kernel("sgd", sgd, *[normal(*flat)] * 3)
    yield kernel(
        "adam",
        adam,
        normal(*flat),
        normal(*flat),
        positive(*flat),
        normal(*flat),
        lambda rng: np.array([3]),
    )
