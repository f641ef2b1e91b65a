"""Typical mistakes in differentiating batch norm by hand: a table of wrong rules.

Each replaces one or two lines of the tables in ``steps``; all other lines stay right, so a mistake made early shows in
every value after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, takewhile
from typing import NamedTuple

from ..tensor import Tensor
from .steps import RULES, Values

Changed = dict[str, Callable[[Values], Tensor]]


class Mistake(NamedTuple):
    """The name of a mistake, the right equation, and the rules that it replaces."""

    name: str
    instead: str
    changed: Changed
    #: the axes that it sums over, for a mistake made in all lines
    axes: tuple[int, ...] | None = None

    def made_in(self, right: Values) -> Values:
        """The values with this mistake."""
        axes = right.axes if self.axes is None else self.axes
        v = Values(right.x, right.gamma, right.beta, right.gy, axes, right.eps, self.changed)
        if self.axes is None:
            for name in takewhile(lambda name: name not in self.changed, RULES):
                setattr(v, name, getattr(right, name))  # not affected
        return v


def direct(v: Values) -> Tensor:
    return v.gxhat / v.std


def around(v: Values) -> Tensor:
    """What reaches centered through the variance."""
    return 2 * v.centered * v.gsquared


def one_line(v: Values, sum_gy: Tensor, sum_gy_xhat: Tensor) -> Tensor:
    """gx in closed form, with its two means given."""
    return v.gamma / v.std * (v.gy - sum_gy - v.xhat * sum_gy_xhat)


def mistake(name: str, instead: str, **changed: Callable[[Values], Tensor]) -> Mistake:
    return Mistake(name, instead, changed)


def undivided(v: Values) -> Tensor:
    return v.gvar.broadcast_to(v.x.shape)


def by_m_minus_1(v: Values) -> Tensor:
    return (v.gvar / (v.m - 1)).broadcast_to(v.x.shape)


STD, XHAT, Y = "std = sqrt(var + eps)", "xhat = (x - mean) / std", "y = gamma xhat + beta"
FORWARD = [
    mistake("sum for mean", "mean = sum x / m", mean=lambda v: v.sum(v.x)),
    mistake("sum for mean", "var = sum squared / m", var=lambda v: v.sum(v.squared)),
    mistake("mean not subtracted", "centered = x - mean", centered=lambda v: v.x),
    mistake("mean not subtracted", XHAT, xhat=lambda v: v.x / v.std),
    mistake("eps left out", STD, var_eps=lambda v: v.var),
    mistake("eps outside the square root", STD, std=lambda v: v.var.sqrt() + v.eps),
    mistake(
        "eps outside the square root",
        STD,
        std=lambda v: v.var.sqrt() + v.eps,
        gvar_eps=lambda v: v.gstd / (2 * v.var.sqrt()),
    ),
    mistake("missing square root", STD, std=lambda v: v.var_eps),
    mistake("missing inv_std", "xhat = centered / std", xhat=lambda v: v.centered),
    mistake("missing gamma", "scaled = gamma xhat", scaled=lambda v: v.xhat),
    mistake("missing beta", Y, y=lambda v: v.scaled),
    mistake(
        "swapped gamma and beta",
        Y,
        scaled=lambda v: v.beta * v.xhat,
        y=lambda v: v.scaled + v.gamma,
    ),
]

BY_MEAN, BY_VAR = "gmean / m", "gvar 2 (x - mean) / m"
PATHS = [
    mistake(
        "missing mean path",
        f"x also moves the mean: gx has the term {BY_MEAN}",
        gx=lambda v: v.gcentered,
    ),
    mistake(
        "missing variance path",
        f"x also moves the variance: gx has the term {BY_VAR}",
        gcentered=direct,
    ),
    mistake(
        "missing mean and variance paths",
        f"the statistics are no constants: gx has the terms {BY_MEAN} and {BY_VAR}",
        gx=direct,
    ),
    mistake(
        "missing direct path",
        "x moves its own xhat first of all: gx has the term gxhat / std",
        gx=lambda v: around(v) + v.gmean / v.m,
    ),
]

GXHAT, GCENTERED = "gxhat = gy gamma", "gcentered = gxhat / std + ..."
GGAMMA, SWAPPED = "ggamma = sum gy xhat", "swapped gamma and inv_std"
FACTORS = [
    mistake("missing 1/m", "gx has gmean / m", gx=lambda v: v.gcentered + v.gmean),
    mistake("missing 1/m", "var = sum squared / m, so gsquared = gvar / m", gsquared=undivided),
    mistake(
        "missing 1/m",
        f"both statistics are means: gx has {BY_MEAN} and {BY_VAR}",
        gsquared=undivided,
        gx=lambda v: v.gcentered + v.gmean,
    ),
    mistake("missing gamma", GXHAT, gxhat=lambda v: v.gscaled),
    mistake(SWAPPED, GXHAT, gxhat=lambda v: v.gscaled / v.std),
    mistake(SWAPPED, GCENTERED, gcentered=lambda v: v.gxhat * v.gamma + around(v)),
    mistake(
        SWAPPED,
        f"{GXHAT} and {GCENTERED}",
        gxhat=lambda v: v.gscaled / v.std,
        gcentered=lambda v: v.gxhat * v.gamma + around(v),
    ),
    mistake("missing inv_std", GCENTERED, gcentered=lambda v: v.gxhat + around(v)),
    mistake(
        "missing factor 2",
        "squared = centered centered: the gradient of centered is 2 centered gsquared",
        gcentered=lambda v: direct(v) + v.centered * v.gsquared,
    ),
    mistake(
        "missing factor 1/2",
        "the derivative of a square root is 1 / (2 std)",
        gvar_eps=lambda v: v.gstd / v.std,
    ),
    mistake(
        "wrong power",
        "gvar has (var + eps)^(-3/2), here it is ^(-1/2)",
        gvar=lambda v: -0.5 * v.sum(v.gxhat * v.centered) / v.std,
    ),
    mistake(
        "wrong power",
        "gvar has (var + eps)^(-3/2), here it is ^(3/2)",
        gvar=lambda v: -0.5 * v.sum(v.gxhat * v.centered) * v.var_eps * v.std,
    ),
    mistake("x for xhat", GGAMMA, ggamma=lambda v: v.sum(v.gscaled * v.x)),
    mistake("centered for xhat", GGAMMA, ggamma=lambda v: v.sum(v.gscaled * v.centered)),
    mistake("y for xhat", GGAMMA, ggamma=lambda v: v.sum(v.gscaled * v.y)),
    mistake("gxhat for gy", GGAMMA, ggamma=lambda v: v.sum(v.gxhat * v.xhat)),
]

GBETA, GMEAN = "gbeta = sum gy", "gmean = -sum gcentered"
GSTD = "the gradient of std is a sum over all that it divides"
SUMS = [
    mistake("mean for sum", GBETA, gbeta=lambda v: v.average(v.gy)),
    mistake("mean for sum", GGAMMA, ggamma=lambda v: v.average(v.gscaled * v.xhat)),
    mistake("mean for sum", GSTD, gstd=lambda v: -v.average(v.gxhat * v.xhat) / v.std),
    mistake("mean for sum", GMEAN, gmean=lambda v: -v.average(v.gcentered)),
    mistake("missing sum", GBETA, gbeta=lambda v: v.gy),
    mistake("missing sum", GGAMMA, ggamma=lambda v: v.gscaled * v.xhat),
    mistake("missing sum", GSTD, gstd=lambda v: -v.gxhat * v.xhat / v.std),
    mistake("missing sum", GMEAN, gmean=lambda v: -v.gcentered),
    mistake("missing sum", "gmean = -sum gxhat / std", gmean=lambda v: -direct(v)),
]

BIASED = "the biased variance normalizes: its sum is divided by m"
UNBIASED = [
    mistake("m - 1 for m", BIASED, var=lambda v: v.sum(v.squared) / (v.m - 1)),
    mistake("m - 1 for m", BIASED, gsquared=by_m_minus_1),
    mistake(
        "m - 1 for m", BIASED, var=lambda v: v.sum(v.squared) / (v.m - 1), gsquared=by_m_minus_1
    ),
    mistake("m - 1 for m", "mean = sum x / m", gx=lambda v: v.gcentered + v.gmean / (v.m - 1)),
]


def mistakes(right: Values, name: str) -> Iterator[Mistake]:
    """All mistakes that may show in the value called ``name``, the likely ones first."""
    lines = list(RULES)
    until = set(lines[: lines.index(name) + 1])
    for m in _all(right):
        if m.axes is not None or until.intersection(m.changed):
            yield m


def _all(right: Values) -> Iterator[Mistake]:
    yield from (*PATHS, *FACTORS, *FORWARD, *SUMS, *UNBIASED)
    # The sign of the value that is asked for comes before those of the values it follows from.
    for name in reversed(RULES):
        yield Mistake("wrong sign", f"{name} has the other sign", {name: _minus(name)})
    ndim = right.x.ndim
    for n in range(1, ndim + 1):
        for axes in combinations(range(ndim), n):
            if axes != right.axes:
                yield from _over(axes, right.axes)


def _minus(name: str) -> Callable[[Values], Tensor]:
    return lambda v: -RULES[name].compute(v)


def _over(axes: tuple[int, ...], instead: tuple[int, ...]) -> Iterator[Mistake]:
    """Sums and means over ``axes``: in one line, or in all."""

    def total(t: Tensor) -> Tensor:
        return t.sum(axes, keepdims=True)

    def average(t: Tensor) -> Tensor:
        return t.mean(axes, keepdims=True)

    lines: list[Changed] = [
        {"mean": lambda v: average(v.x)},
        {"var": lambda v: average(v.squared)},
        {"gbeta": lambda v: total(v.gy)},
        {"ggamma": lambda v: total(v.gscaled * v.xhat)},
        {"gstd": lambda v: -total(v.gxhat * v.xhat) / v.std},
        {"gvar": lambda v: -0.5 * total(v.gxhat * v.centered) / v.std**3},
        {"gmean": lambda v: -total(v.gcentered)},
        {"gmean": lambda v: -total(v.gxhat) / v.std},
        {"gx": lambda v: one_line(v, average(v.gy), v.average(v.gy * v.xhat))},
        {"gx": lambda v: one_line(v, v.average(v.gy), average(v.gy * v.xhat))},
        {"gx": lambda v: one_line(v, average(v.gy), average(v.gy * v.xhat))},
    ]
    says = f"sums and means run over axes {instead}, not {axes}"
    for changed in lines:
        yield Mistake("wrong axis", says, changed)
    yield Mistake("wrong axis", says, {}, axes)
