"""check_step names each planted mistake. x is (m, C).

On NumPy alone, for time: test_lesson compares with all mistakes on every backend.
"""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.study import mistakes, steps
from minigrad.study.steps import RULES

EPS = 1e-3


@pytest.fixture
def numbers(rng):
    """x, gamma, beta, gy as arrays."""
    x, gy = rng.normal(1, 2, (7, 3)), rng.standard_normal((7, 3))
    return x, rng.uniform(0.5, 2, 3), rng.standard_normal(3), gy


def check(name, mine, numbers):
    return mg.study.check_step(name, mine, *(mg.tensor(a) for a in numbers))


def std(x, ddof=0):
    return np.sqrt(x.var(0, ddof=ddof) + EPS)


def xhat(x, scale=None):
    return (x - x.mean(0)) / (std(x) if scale is None else scale)


def gx(x, gamma, gy, mean_gy=None, mean_gyxhat=None, scale=None):
    """The closed form, with other means and another standard deviation in it."""
    scale = std(x) if scale is None else scale
    h = xhat(x, scale)
    mean_gy = gy.mean(0) if mean_gy is None else mean_gy
    mean_gyxhat = (gy * h).mean(0) if mean_gyxhat is None else mean_gyxhat
    return gamma / scale * (gy - mean_gy - h * mean_gyxhat)


def gvar(x, gamma, gy, power=-1.5, factor=-0.5):
    return (gy * gamma * (x - x.mean(0))).sum(0) * factor * (x.var(0) + EPS) ** power


def by_equations(x, gy, gxhat=None, gvar=None, gmean=None, inv_std=None, m=None):
    """gx by the paper's fourth equation, from what is given or right (for gamma = 1)."""
    m = len(x) if m is None else m
    d = x - x.mean(0)
    inv_std = 1 / std(x) if inv_std is None else inv_std
    gxhat = gy if gxhat is None else gxhat
    gvar = (gxhat * d).sum(0) * -0.5 / std(x) ** 3 if gvar is None else gvar
    gmean = -(gxhat * inv_std).sum(0) if gmean is None else gmean
    return gxhat * inv_std + gvar * 2 * d / m + gmean / m


def eps_outside(x):
    return x.std(0) + EPS


#: name | mistake | expression of x, g (gamma), b (beta) and gy
PLANTED = """
mean | sum for mean | x.sum(0)
mean | wrong axis | x.mean(1)
mean | wrong axis | x.mean()
mean | wrong sign | -x.mean(0)
centered | mean not subtracted | x
centered | wrong sign | x.mean(0) - x
centered | sum for mean | x - x.sum(0)
centered | wrong axis | x - x.mean(1, keepdims=True)
squared | mean not subtracted | x ** 2
var | m - 1 for m | x.var(0, ddof=1)
var | sum for mean | ((x - x.mean(0)) ** 2).sum(0)
var | mean not subtracted | (x ** 2).mean(0)
var | wrong axis | x.var(1)
var | wrong axis | x.var()
var_eps | eps left out | x.var(0)
std | eps outside the square root | eps_outside(x)
std | eps left out | x.std(0)
std | missing square root | x.var(0) + EPS
std | m - 1 for m | std(x, ddof=1)
xhat | eps outside the square root | xhat(x, eps_outside(x))
xhat | eps left out | xhat(x, x.std(0))
xhat | missing square root | xhat(x, x.var(0) + EPS)
xhat | m - 1 for m | xhat(x, std(x, ddof=1))
xhat | mean not subtracted | x / std(x)
xhat | missing inv_std | x - x.mean(0)
xhat | wrong axis | xhat(x.T).T
xhat | wrong sign | -xhat(x)
scaled | missing gamma | xhat(x)
y | missing gamma | xhat(x) + b
y | missing beta | g * xhat(x)
y | swapped gamma and beta | b * xhat(x) + g
y | eps outside the square root | g * xhat(x, eps_outside(x)) + b
y | m - 1 for m | g * xhat(x, std(x, ddof=1)) + b
gbeta | mean for sum | gy.mean(0)
gbeta | wrong axis | gy.sum(1)
gbeta | wrong axis | gy.sum()
gbeta | missing sum | gy
gbeta | wrong sign | -gy.sum(0)
ggamma | mean for sum | (gy * xhat(x)).mean(0)
ggamma | missing sum | gy * xhat(x)
ggamma | wrong axis | (gy * xhat(x)).sum(1)
ggamma | x for xhat | (gy * x).sum(0)
ggamma | centered for xhat | (gy * (x - x.mean(0))).sum(0)
ggamma | y for xhat | (gy * (g * xhat(x) + b)).sum(0)
ggamma | gxhat for gy | (gy * g * xhat(x)).sum(0)
ggamma | wrong sign | -(gy * xhat(x)).sum(0)
ggamma | eps outside the square root | (gy * xhat(x, eps_outside(x))).sum(0)
gxhat | missing gamma | gy
gxhat | swapped gamma and inv_std | gy / std(x)
gxhat | wrong sign | -gy * g
gstd | wrong sign | (gy * g * xhat(x)).sum(0) / std(x)
gstd | mean for sum | -(gy * g * xhat(x)).mean(0) / std(x)
gvar | missing gamma | gvar(x, 1, gy)
gvar | swapped gamma and inv_std | gvar(x, 1 / std(x), gy)
gvar | wrong sign | gvar(x, g, gy, factor=0.5)
gvar | missing factor 1/2 | gvar(x, g, gy, factor=-1)
gvar | wrong power | gvar(x, g, gy, power=-0.5)
gvar | wrong power | gvar(x, g, gy, power=1.5)
gvar | mean for sum | gvar(x, g, gy) / len(x)
gvar | missing sum | gy * g * (x - x.mean(0)) * -0.5 / std(x) ** 3
gvar | wrong axis | (gy * g * (x - x.mean(0))).sum(1, keepdims=True) * -0.5 * std(x) ** (-3)
gvar | wrong axis | (gy * g * xhat(x)).sum(1, keepdims=True) * -0.5 / std(x) ** 2
gvar | eps outside the square root | (gy * g * (x - x.mean(0))).sum(0) * -0.5 / (eps_outside(x) ** 2 * x.std(0))
gsquared | missing 1/m | np.tile(gvar(x, g, gy), (7, 1))
gsquared | m - 1 for m | np.tile(gvar(x, g, gy) / 6, (7, 1))
gmean | mean for sum | -(gy * g / std(x)).mean(0)
gmean | missing sum | -gy * g / std(x)
gmean | missing sum | -gx(x, g, gy, mean_gy=0)
gmean | wrong axis | -(gy * g).sum(1, keepdims=True) / std(x)
gmean | wrong axis | -gx(x, g, gy, mean_gy=0).sum(1)
gmean | wrong sign | (gy * g / std(x)).sum(0)
gmean | missing gamma | -(gy / std(x)).sum(0)
gmean | missing inv_std | -(gy * g).sum(0)
gmean | swapped gamma and inv_std | -(gy * g * g).sum(0)
gmean | eps left out | -(gy * g / x.std(0)).sum(0)
gcentered | missing variance path | gy * g / std(x)
gcentered | missing factor 2 | gy * g / std(x) + gvar(x, g, gy) * (x - x.mean(0)) / len(x)
gx | missing mean path | gx(x, g, gy, mean_gy=0)
gx | missing variance path | gx(x, g, gy, mean_gyxhat=0)
gx | missing mean and variance paths | g * gy / std(x)
gx | missing direct path | gx(x, g, gy) - g * gy / std(x)
gx | missing 1/m | gx(x, g, gy, gy.sum(0), (gy * xhat(x)).sum(0))
gx | missing 1/m | gx(x, g, gy, gy.sum(0))
gx | missing 1/m | gx(x, g, gy, None, (gy * xhat(x)).sum(0))
gx | m - 1 for m | gx(x, g, gy, None, (gy * xhat(x)).sum(0) / 6)
gx | m - 1 for m | gx(x, g, gy, gy.sum(0) / 6)
gx | m - 1 for m | gx(x, g, gy, scale=std(x, ddof=1))
gx | m - 1 for m | gx(x, g, gy, None, (gy * xhat(x, std(x, 1))).sum(0) / 6, scale=std(x, ddof=1))
gx | eps outside the square root | gx(x, g, gy, scale=eps_outside(x))
gx | eps left out | gx(x, g, gy, scale=x.std(0))
gx | missing square root | gx(x, g, gy, scale=x.var(0) + EPS)
gx | missing gamma | gx(x, 1, gy)
gx | wrong sign | -gx(x, g, gy)
gx | wrong sign | gx(x, g, gy, -gy.mean(0))
gx | wrong sign | gx(x, g, gy, None, -(gy * xhat(x)).mean(0))
gx | wrong axis | gx(x, g, gy, gy.mean(1, keepdims=True))
gx | wrong axis | gx(x, g, gy, None, (gy * xhat(x)).mean(1, keepdims=True))
gx | wrong axis | gx(x, g, gy, gy.mean(1, keepdims=True), (gy * xhat(x)).mean(1, keepdims=True))
gx | wrong axis | gx(x, g, gy, gy.mean())
gx | missing factor 2 | gx(x, g, gy, None, (gy * xhat(x)).mean(0) / 2)
gx | missing factor 1/2 | by_equations(x, gy * g, gvar=gvar(x, g, gy, factor=-1))
gx | wrong power | by_equations(x, gy * g, gvar=gvar(x, g, gy, -0.5))
gx | mean for sum | by_equations(x, gy * g, gvar=gvar(x, g, gy) / 7)
gx | mean for sum | by_equations(x, gy * g, gmean=-(gy * g / std(x)).mean(0))
gx | missing inv_std | by_equations(x, gy * g, inv_std=1)
gx | swapped gamma and inv_std | by_equations(x, gy / std(x))
gx | swapped gamma and inv_std | by_equations(x, gy * g, inv_std=g)
gx | swapped gamma and inv_std | by_equations(x, gy / std(x), inv_std=g)
"""
PLANTED = [tuple(row.split(" | ")) for row in PLANTED.strip().splitlines()]


def made(code, numbers):
    return eval(code, globals() | dict(zip(["x", "g", "b", "gy"], numbers, strict=True)))


@pytest.mark.parametrize(("name", "mistake", "code"), PLANTED)
def test_planted_mistakes_are_named(numbers, name, mistake, code):
    mine = made(code, numbers)
    verdict = check(name, mine, numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", mistake)
    assert f"Likely mistake: {mistake}. Remember: " in str(verdict)
    assert str(verdict).startswith(f"{name} is wrong")


def test_planted_mistakes_are_named_in_float32(numbers):
    for name, mistake, code in PLANTED[::9]:
        mine = np.asarray(made(code, numbers), np.float32)
        assert check(name, mine, numbers).mistake == mistake


def test_every_known_mistake_is_planted(numbers):
    tensors = [mg.tensor(a) for a in numbers]
    right = steps.problem("test", *tensors, 1, EPS)
    names = {m.name for name in RULES for m in mistakes.mistakes(right, name)}
    assert names == {mistake for _, mistake, _ in PLANTED}


def test_the_sign_that_is_asked_for_is_named(numbers):
    """A wrong sign of gscaled, say, would give the same."""
    x, gamma, _, gy = numbers
    for name, mine in (("gx", -gx(x, gamma, gy)), ("gvar", -gvar(x, gamma, gy))):
        for answer in (mine, mine.astype(np.float32)):
            words = f"Remember: {name} has the other sign."
            assert str(check(name, answer, numbers)).endswith(words)
