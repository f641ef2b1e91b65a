"""PyTorch's numbers in float64, to 1e-10: batch norm in both modes, losses, activations, to second order."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

TOLERANCE = 1e-10


def batch_norm_of(torch, x, gamma, beta, mean=None, var=None):
    frozen = mean is not None
    return torch.nn.functional.batch_norm(x, mean, var, gamma, beta, not frozen, 0.1, 1e-3)


#: ours, PyTorch's, and the shapes of the inputs; "labels" for five classes out of four
ORACLES = {
    **{
        f"batch_norm {shape}": (
            lambda *a: mg.batch_norm(*a)[0],
            batch_norm_of,
            [shape, (3,), (3,)],
        )
        for shape in [(6, 3), (4, 3, 5), (2, 3, 4, 4)]
    },
    "batch_norm without gamma and beta": (
        lambda x: mg.batch_norm(x, None, None)[0],
        lambda torch, x: batch_norm_of(torch, x, None, None),
        [(6, 3)],
    ),
    "sigmoid": (mg.sigmoid, lambda torch, x: torch.sigmoid(x), [(4, 3)]),
    "relu": (mg.relu, lambda torch, x: torch.relu(x), [(4, 3)]),
    "linear": (
        mg.linear,
        lambda torch, *a: torch.nn.functional.linear(*a),
        [(2, 4, 3), (5, 3), (5,)],
    ),
    "softmax": (lambda x: mg.softmax(x, 1), lambda torch, x: x.softmax(1), [(4, 3, 2)]),
    "log_softmax": (lambda x: mg.log_softmax(x, 0), lambda torch, x: x.log_softmax(0), [(4, 3)]),
    "max": (lambda x: x.max(1), lambda torch, x: x.amax(1), [(4, 3, 2)]),
    "var": (lambda x: x.var(0, ddof=1), lambda torch, x: x.var(0), [(4, 3)]),
    "matmul": (mg.matmul, lambda torch, a, b: a @ b, [(2, 4, 3), (3, 5)]),
    "mse_loss": (mg.mse_loss, lambda torch, a, b: torch.nn.functional.mse_loss(a, b), [(4, 3)] * 2),
    **{
        f"softmax_cross_entropy {reduction}": (
            lambda z, r=reduction: mg.softmax_cross_entropy(z, [3, 0, 0, 1, 2], r),
            lambda torch, z, r=reduction: torch.nn.functional.cross_entropy(
                z, torch.tensor([3, 0, 0, 1, 2]), reduction=r
            ),
            [(5, 4)],
        )
        for reduction in ["mean", "sum", "none"]
    },
}


@pytest.mark.parametrize(("ours", "theirs", "shapes"), ORACLES.values(), ids=ORACLES)
def test_to_second_order(torch, rng, ours, theirs, shapes):
    """The output, its gradients g for a random cotangent, and the gradients of <g, w> for random w."""
    arrays = [rng.standard_normal(s) for s in shapes]
    xs = [mg.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ours(*xs), theirs(torch, *ts)
    close(y, expected.detach(), TOLERANCE)
    u, ws = rng.standard_normal(y.shape), [rng.standard_normal(s) for s in shapes]
    u, v = mg.tensor(u, requires_grad=True), torch.tensor(u, requires_grad=True)
    gs = mg.grad(y, xs, u, create_graph=True)
    hs = torch.autograd.grad(expected, ts, v, create_graph=True)
    for g, h in zip(gs, hs, strict=True):
        close(g, h.detach(), TOLERANCE)
    again = mg.grad(gs, [*xs, u], [mg.tensor(w) for w in ws], allow_unused=True)
    oracle = torch.autograd.grad(hs, [*ts, v], [torch.tensor(w) for w in ws], allow_unused=True)
    for gg, hh, t in zip(again, oracle, [*ts, v], strict=True):
        zeros = np.zeros(t.shape)
        close(zeros if gg is None else gg, zeros if hh is None else hh.detach(), TOLERANCE)


def test_frozen_batch_norm(torch, rng):
    """PyTorch differentiates it for x, gamma and beta only."""
    x, gamma, beta, mean, u = (rng.standard_normal(s) for s in [(4, 3, 2), 3, 3, 3, (4, 3, 2)])
    var = rng.uniform(0.5, 2, 3)
    xs = [mg.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    ts = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = mg.frozen_batch_norm(*xs, mg.tensor(mean), mg.tensor(var))
    expected = batch_norm_of(torch, *ts, torch.tensor(mean), torch.tensor(var))
    close(y, expected.detach(), TOLERANCE)
    grads = torch.autograd.grad(expected, ts, torch.tensor(u))
    for g, h in zip(mg.grad(y, xs, mg.tensor(u)), grads, strict=True):
        close(g, h, TOLERANCE)


def test_statistics_of_the_batch(torch, rng):
    """PyTorch's running statistics with momentum 1 are those of the batch, the variance unbiased."""
    x = rng.standard_normal((4, 3, 2))
    running = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    torch.nn.functional.batch_norm(torch.tensor(x), *running, training=True, momentum=1.0)
    _, mean, var = mg.batch_norm(mg.tensor(x), None, None)
    close(mean, running[0], TOLERANCE)
    close(var * (8 / 7), running[1], TOLERANCE)
