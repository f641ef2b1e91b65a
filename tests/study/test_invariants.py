"""The invariants hold for minigrad.batch_norm, exactly or up to eps, and are reported as measured."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, error_table, leaf, normal, refuses

import minigrad as mg
from minigrad.study import invariants as measure

pytestmark = pytest.mark.usefixtures("backend")

SUMS = ["mean of xhat", "var of xhat", "sum of gx", "sum of gx xhat"]
SCALED = ["y of aW", "gu of aW", "gW of aW"]
EXACT = [*SUMS, *(f"{name}, a^2 eps" for name in SCALED)]
LAYOUTS = [((6, 3), 1), ((4, 3, 2), 1), ((3, 2, 2, 3), -1), ((3, 2, 2, 3), (1, 3)), ((2, 5, 3), 0)]


@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
@pytest.mark.parametrize("eps", [1e-3, 0.5])
@pytest.mark.parametrize("affine", [True, False])
def test_they_hold(rng, shape, axis, eps, affine):
    x, gy = 2 * normal(rng, *shape) + 1, normal(rng, *shape)
    gamma = normal(rng, *mg.batch_norm(x, None, None, axis)[1].shape) if affine else None
    found = measure(x, gamma, gy, axis, eps)
    assert list(found) == [*SUMS, *SCALED, *EXACT[4:]]
    for name in EXACT:
        assert found[name].error < 1e-12 * max(1, abs(found[name].expected)), found[name]
    assert all(i.name == name for name, i in found.items())
    assert all(i.error == abs(i.expected - i.received) for i in found.values())


def test_eps_is_what_the_other_three_lack(rng):
    """Their errors are small, and go to 0 in proportion to eps."""
    x, gamma, gy = normal(rng, 20, 3), normal(rng, 3), normal(rng, 20, 3)
    rough, fine = (measure(x, gamma, gy, eps=eps) for eps in (1e-3, 1e-5))
    for name in SCALED:
        assert 1e-6 < rough[name].error < 1e-1
        np.testing.assert_allclose(fine[name].error, rough[name].error / 100, rtol=0.1)


def test_expected_and_received_by_hand():
    """x = -1, 1 in one channel has variance 1. With eps = 1 and gamma = 2, xhat is x / sqrt(2); gy is 1, 0:
    sum gy xhat = -1/sqrt(2), and so 2 (1/sqrt(2)) (1/2) sum gy xhat = -1/2."""
    found = measure(leaf([[-1.0], [1.0]]), leaf([2.0]), leaf([[1.0], [0.0]]), eps=1.0)
    numbers = {name: (i.expected, i.received) for name, i in found.items()}
    close(numbers["mean of xhat"], (0, 0))
    close(numbers["var of xhat"], (0.5, 0.5))
    close(numbers["sum of gx"], (0, 0))
    close(numbers["sum of gx xhat"], (-0.5, -0.5))


def test_the_entry_with_the_largest_error_is_shown(rng):
    """The channel whose variance is smallest feels eps most: a layer in front that is the identity mixes nothing."""

    class Identity:
        def standard_normal(self, shape):
            return np.eye(*shape)

    gy = normal(rng, 8, 2)
    values = normal(rng, 8, 2).numpy() * [1, 0.1]
    for x in (values, -values):  # the largest error is once above and once below 0
        y = [mg.batch_norm(mg.tensor(a * x), None, None)[0].numpy() for a in (1, 10)]
        found = measure(mg.tensor(x), None, gy, rng=Identity())["y of aW"]
        row = np.abs(y[0] - y[1])[:, 1].argmax()
        close((found.expected, found.received), (y[0][row, 1], y[1][row, 1]))


def test_a_wrong_batch_norm_is_found_out(rng, monkeypatch):
    """One that takes its statistics for constants gives gradients that do not add up."""
    right = mg.batch_norm

    def constant(x, gamma, beta, axis=1, eps=1e-3):
        _, mean, var = right(x.detach(), gamma, beta, axis, eps)
        return mg.frozen_batch_norm(x, gamma, beta, mean, var, axis, eps), mean, var

    monkeypatch.setitem(measure.__globals__, "batch_norm", constant)
    found = measure(normal(rng, 6, 3), None, normal(rng, 6, 3))
    assert found["sum of gx"].error > 0.1
    assert found["sum of gx xhat"].error > 0.1
    assert found["mean of xhat"].error < 1e-12


def test_scale_and_rng(rng):
    x, gy = normal(rng, 6, 3), normal(rng, 6, 3)
    default, other = measure(x, None, gy), measure(x, None, gy, rng=np.random.default_rng(0))
    assert default == measure(x, None, gy)
    assert default["gW of aW"] != other["gW of aW"] and default["sum of gx"] == other["sum of gx"]
    assert all(measure(x, None, gy, scale=1)[name].error == 0 for name in SCALED)
    assert measure(x, None, gy, scale=-0.1)["y of aW"].error > 1  # the sign counts
    assert default["gW of aW, a^2 eps"].expected != 0


def test_float32_and_inputs_that_require_gradients(rng):
    x, gamma, gy = (leaf(rng.standard_normal(s), "float32") for s in [(6, 3), 3, (6, 3)])
    found = measure(x, gamma, gy)
    assert max(found[name].error for name in EXACT) < 1e-5
    assert x.grad is None and gamma.grad is None


def ask(**changes):
    return lambda: measure(**{"x": mg.ones((4, 3)), "gamma": None, "gy": mg.ones((4, 3))} | changes)


@error_table(
    {
        "scale": (ValueError, "invariants: expected a scale other than 0, got 0", ask(scale=0)),
        "gamma": (ValueError, "gamma of shape (3,) for x (4, 3) with axis=1, got (4,)", ask(gamma=mg.ones(4))),
        "x": (TypeError, "invariants, argument x: expected a minigrad Tensor, got list", ask(x=[[1.0]])),
        "no gy": (TypeError, "invariants, argument gy: expected a minigrad Tensor, got None", ask(gy=None)),
    }
)  # fmt: skip
def test_errors(error, words, call):
    with refuses(error, words):
        call()
