"""Each mistake that check_step knows, planted and named. x is (m, C); all is written out, without the tables in study.

On NumPy alone, for time: test_lesson runs all mistakes on every backend, where no answer is one of them.
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


PLANTED = [
    ("mean", "sum for mean", lambda x, g, b, gy: x.sum(0)),
    ("mean", "wrong axis", lambda x, g, b, gy: x.mean(1)),
    ("mean", "wrong axis", lambda x, g, b, gy: x.mean()),
    ("mean", "wrong sign", lambda x, g, b, gy: -x.mean(0)),
    ("centered", "mean not subtracted", lambda x, g, b, gy: x),
    ("centered", "wrong sign", lambda x, g, b, gy: x.mean(0) - x),
    ("centered", "sum for mean", lambda x, g, b, gy: x - x.sum(0)),
    ("centered", "wrong axis", lambda x, g, b, gy: x - x.mean(1, keepdims=True)),
    ("squared", "mean not subtracted", lambda x, g, b, gy: x**2),
    ("var", "m - 1 for m", lambda x, g, b, gy: x.var(0, ddof=1)),
    ("var", "sum for mean", lambda x, g, b, gy: ((x - x.mean(0)) ** 2).sum(0)),
    ("var", "mean not subtracted", lambda x, g, b, gy: (x**2).mean(0)),
    ("var", "wrong axis", lambda x, g, b, gy: x.var(1)),
    ("var", "wrong axis", lambda x, g, b, gy: x.var()),
    ("var_eps", "eps left out", lambda x, g, b, gy: x.var(0)),
    ("std", "eps outside the square root", lambda x, g, b, gy: eps_outside(x)),
    ("std", "eps left out", lambda x, g, b, gy: x.std(0)),
    ("std", "missing square root", lambda x, g, b, gy: x.var(0) + EPS),
    ("std", "m - 1 for m", lambda x, g, b, gy: std(x, ddof=1)),
    ("xhat", "eps outside the square root", lambda x, g, b, gy: xhat(x, eps_outside(x))),
    ("xhat", "eps left out", lambda x, g, b, gy: xhat(x, x.std(0))),
    ("xhat", "missing square root", lambda x, g, b, gy: xhat(x, x.var(0) + EPS)),
    ("xhat", "m - 1 for m", lambda x, g, b, gy: xhat(x, std(x, ddof=1))),
    ("xhat", "mean not subtracted", lambda x, g, b, gy: x / std(x)),
    ("xhat", "missing inv_std", lambda x, g, b, gy: x - x.mean(0)),
    ("xhat", "wrong axis", lambda x, g, b, gy: xhat(x.T).T),
    ("xhat", "wrong sign", lambda x, g, b, gy: -xhat(x)),
    ("scaled", "missing gamma", lambda x, g, b, gy: xhat(x)),
    ("y", "missing gamma", lambda x, g, b, gy: xhat(x) + b),
    ("y", "missing beta", lambda x, g, b, gy: g * xhat(x)),
    ("y", "swapped gamma and beta", lambda x, g, b, gy: b * xhat(x) + g),
    ("y", "eps outside the square root", lambda x, g, b, gy: g * xhat(x, eps_outside(x)) + b),
    ("y", "m - 1 for m", lambda x, g, b, gy: g * xhat(x, std(x, ddof=1)) + b),
    ("gbeta", "mean for sum", lambda x, g, b, gy: gy.mean(0)),
    ("gbeta", "wrong axis", lambda x, g, b, gy: gy.sum(1)),
    ("gbeta", "wrong axis", lambda x, g, b, gy: gy.sum()),
    ("gbeta", "missing sum", lambda x, g, b, gy: gy),
    ("gbeta", "wrong sign", lambda x, g, b, gy: -gy.sum(0)),
    ("ggamma", "mean for sum", lambda x, g, b, gy: (gy * xhat(x)).mean(0)),
    ("ggamma", "missing sum", lambda x, g, b, gy: gy * xhat(x)),
    ("ggamma", "wrong axis", lambda x, g, b, gy: (gy * xhat(x)).sum(1)),
    ("ggamma", "x for xhat", lambda x, g, b, gy: (gy * x).sum(0)),
    ("ggamma", "centered for xhat", lambda x, g, b, gy: (gy * (x - x.mean(0))).sum(0)),
    ("ggamma", "y for xhat", lambda x, g, b, gy: (gy * (g * xhat(x) + b)).sum(0)),
    ("ggamma", "gxhat for gy", lambda x, g, b, gy: (gy * g * xhat(x)).sum(0)),
    ("ggamma", "wrong sign", lambda x, g, b, gy: -(gy * xhat(x)).sum(0)),
    (
        "ggamma",
        "eps outside the square root",
        lambda x, g, b, gy: (gy * xhat(x, eps_outside(x))).sum(0),
    ),
    ("gxhat", "missing gamma", lambda x, g, b, gy: gy),
    ("gxhat", "swapped gamma and inv_std", lambda x, g, b, gy: gy / std(x)),
    ("gxhat", "wrong sign", lambda x, g, b, gy: -gy * g),
    ("gstd", "wrong sign", lambda x, g, b, gy: (gy * g * xhat(x)).sum(0) / std(x)),
    ("gstd", "mean for sum", lambda x, g, b, gy: -(gy * g * xhat(x)).mean(0) / std(x)),
    ("gvar", "missing gamma", lambda x, g, b, gy: gvar(x, 1, gy)),
    ("gvar", "swapped gamma and inv_std", lambda x, g, b, gy: gvar(x, 1 / std(x), gy)),
    ("gvar", "wrong sign", lambda x, g, b, gy: gvar(x, g, gy, factor=0.5)),
    ("gvar", "missing factor 1/2", lambda x, g, b, gy: gvar(x, g, gy, factor=-1)),
    ("gvar", "wrong power", lambda x, g, b, gy: gvar(x, g, gy, power=-0.5)),
    ("gvar", "wrong power", lambda x, g, b, gy: gvar(x, g, gy, power=1.5)),
    ("gvar", "mean for sum", lambda x, g, b, gy: gvar(x, g, gy) / len(x)),
    ("gvar", "missing sum", lambda x, g, b, gy: gy * g * (x - x.mean(0)) * -0.5 / std(x) ** 3),
    (
        "gvar",
        "wrong axis",
        lambda x, g, b, gy: (gy * g * (x - x.mean(0))).sum(1, keepdims=True) * -0.5 * std(x) ** -3,
    ),
    (
        "gvar",
        "wrong axis",
        lambda x, g, b, gy: (gy * g * xhat(x)).sum(1, keepdims=True) * -0.5 / std(x) ** 2,
    ),
    (
        "gvar",
        "eps outside the square root",
        lambda x, g, b, gy: (
            (gy * g * (x - x.mean(0))).sum(0) * -0.5 / (eps_outside(x) ** 2 * x.std(0))
        ),
    ),
    ("gsquared", "missing 1/m", lambda x, g, b, gy: np.tile(gvar(x, g, gy), (7, 1))),
    ("gsquared", "m - 1 for m", lambda x, g, b, gy: np.tile(gvar(x, g, gy) / 6, (7, 1))),
    ("gmean", "mean for sum", lambda x, g, b, gy: -(gy * g / std(x)).mean(0)),
    ("gmean", "missing sum", lambda x, g, b, gy: -gy * g / std(x)),
    ("gmean", "missing sum", lambda x, g, b, gy: -gx(x, g, gy, mean_gy=0)),
    ("gmean", "wrong axis", lambda x, g, b, gy: -(gy * g).sum(1, keepdims=True) / std(x)),
    ("gmean", "wrong axis", lambda x, g, b, gy: -gx(x, g, gy, mean_gy=0).sum(1)),
    ("gmean", "wrong sign", lambda x, g, b, gy: (gy * g / std(x)).sum(0)),
    ("gmean", "missing gamma", lambda x, g, b, gy: -(gy / std(x)).sum(0)),
    ("gmean", "missing inv_std", lambda x, g, b, gy: -(gy * g).sum(0)),
    ("gmean", "swapped gamma and inv_std", lambda x, g, b, gy: -(gy * g * g).sum(0)),
    ("gmean", "eps left out", lambda x, g, b, gy: -(gy * g / x.std(0)).sum(0)),
    ("gcentered", "missing variance path", lambda x, g, b, gy: gy * g / std(x)),
    (
        "gcentered",
        "missing factor 2",
        lambda x, g, b, gy: gy * g / std(x) + gvar(x, g, gy) * (x - x.mean(0)) / len(x),
    ),
    ("gx", "missing mean path", lambda x, g, b, gy: gx(x, g, gy, mean_gy=0)),
    ("gx", "missing variance path", lambda x, g, b, gy: gx(x, g, gy, mean_gyxhat=0)),
    ("gx", "missing mean and variance paths", lambda x, g, b, gy: g * gy / std(x)),
    ("gx", "missing direct path", lambda x, g, b, gy: gx(x, g, gy) - g * gy / std(x)),
    ("gx", "missing 1/m", lambda x, g, b, gy: gx(x, g, gy, gy.sum(0), (gy * xhat(x)).sum(0))),
    ("gx", "missing 1/m", lambda x, g, b, gy: gx(x, g, gy, gy.sum(0))),
    ("gx", "missing 1/m", lambda x, g, b, gy: gx(x, g, gy, None, (gy * xhat(x)).sum(0))),
    ("gx", "m - 1 for m", lambda x, g, b, gy: gx(x, g, gy, None, (gy * xhat(x)).sum(0) / 6)),
    ("gx", "m - 1 for m", lambda x, g, b, gy: gx(x, g, gy, gy.sum(0) / 6)),
    ("gx", "m - 1 for m", lambda x, g, b, gy: gx(x, g, gy, scale=std(x, ddof=1))),
    (
        "gx",
        "m - 1 for m",
        lambda x, g, b, gy: gx(
            x, g, gy, None, (gy * xhat(x, std(x, 1))).sum(0) / 6, scale=std(x, ddof=1)
        ),
    ),
    ("gx", "eps outside the square root", lambda x, g, b, gy: gx(x, g, gy, scale=eps_outside(x))),
    ("gx", "eps left out", lambda x, g, b, gy: gx(x, g, gy, scale=x.std(0))),
    ("gx", "missing square root", lambda x, g, b, gy: gx(x, g, gy, scale=x.var(0) + EPS)),
    ("gx", "missing gamma", lambda x, g, b, gy: gx(x, 1, gy)),
    ("gx", "wrong sign", lambda x, g, b, gy: -gx(x, g, gy)),
    ("gx", "wrong sign", lambda x, g, b, gy: gx(x, g, gy, -gy.mean(0))),
    ("gx", "wrong sign", lambda x, g, b, gy: gx(x, g, gy, None, -(gy * xhat(x)).mean(0))),
    ("gx", "wrong axis", lambda x, g, b, gy: gx(x, g, gy, gy.mean(1, keepdims=True))),
    (
        "gx",
        "wrong axis",
        lambda x, g, b, gy: gx(x, g, gy, None, (gy * xhat(x)).mean(1, keepdims=True)),
    ),
    (
        "gx",
        "wrong axis",
        lambda x, g, b, gy: gx(
            x, g, gy, gy.mean(1, keepdims=True), (gy * xhat(x)).mean(1, keepdims=True)
        ),
    ),
    ("gx", "wrong axis", lambda x, g, b, gy: gx(x, g, gy, gy.mean())),
    ("gx", "missing factor 2", lambda x, g, b, gy: gx(x, g, gy, None, (gy * xhat(x)).mean(0) / 2)),
    (
        "gx",
        "missing factor 1/2",
        lambda x, g, b, gy: by_equations(x, gy * g, gvar=gvar(x, g, gy, factor=-1)),
    ),
    ("gx", "wrong power", lambda x, g, b, gy: by_equations(x, gy * g, gvar=gvar(x, g, gy, -0.5))),
    ("gx", "mean for sum", lambda x, g, b, gy: by_equations(x, gy * g, gvar=gvar(x, g, gy) / 7)),
    (
        "gx",
        "mean for sum",
        lambda x, g, b, gy: by_equations(x, gy * g, gmean=-(gy * g / std(x)).mean(0)),
    ),
    ("gx", "missing inv_std", lambda x, g, b, gy: by_equations(x, gy * g, inv_std=1)),
    ("gx", "swapped gamma and inv_std", lambda x, g, b, gy: by_equations(x, gy / std(x))),
    ("gx", "swapped gamma and inv_std", lambda x, g, b, gy: by_equations(x, gy * g, inv_std=g)),
    (
        "gx",
        "swapped gamma and inv_std",
        lambda x, g, b, gy: by_equations(x, gy / std(x), inv_std=g),
    ),
]
planted = pytest.mark.parametrize(
    ("name", "mistake", "make"), PLANTED, ids=[f"{n}: {m}" for n, m, _ in PLANTED]
)


@planted
def test_planted_mistakes_are_named(numbers, name, mistake, make):
    mine = make(*numbers)
    verdict = check(name, mine, numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", mistake)
    assert f"Likely mistake: {mistake}. Remember: " in str(verdict)
    assert str(verdict).startswith(f"{name} is wrong")


def test_planted_mistakes_are_named_in_float32(numbers):
    for name, mistake, make in PLANTED[::9]:
        mine = np.asarray(make(*numbers), np.float32)
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
