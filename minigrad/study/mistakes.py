"""The mistakes that are made when batch norm is differentiated by hand: a table of rules gone wrong.

Each names one or two lines of the tables in ``steps`` and what stands there instead; all other lines stay right, so a
mistake made early shows in every value after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, takewhile
from typing import NamedTuple

from ..tensor import Tensor
from .steps import RULES, Values

Changed = dict[str, Callable[[Values], Tensor]]


class Mistake(NamedTuple):
    """Its name, what is right instead, and the lines that it changes."""

    name: str
    instead: str
    changed: Changed
    #: the axes that it sums over, for a mistake made in all lines
    axes: tuple[int, ...] | None = None

    def made_in(self, right: Values) -> Values:
        """The values that come of it."""
        axes = right.axes if self.axes is None else self.axes
        v = Values(right.x, right.gamma, right.beta, right.gy, axes, right.eps, self.changed)
        if self.axes is None:
            for name in takewhile(lambda name: name not in self.changed, RULES):
                setattr(v, name, getattr(right, name))  # as it was before the mistake
        return v


def direct(v: Values) -> Tensor:
    return v.gxhat / v.std


def around(v: Values) -> Tensor:
    """What reaches centered through the variance."""
    return 2 * v.centered * v.gsquared


def one_line(v: Values, sum_gy: Tensor, sum_gy_xhat: Tensor) -> Tensor:
    """gx in closed form, with its two means given."""
    return v.gamma / v.std * (v.gy - sum_gy - v.xhat * sum_gy_xhat)


FORWARD = [
    Mistake("sum for mean", "mean = sum x / m", {"mean": lambda v: v.sum(v.x)}),
    Mistake("sum for mean", "var = sum squared / m", {"var": lambda v: v.sum(v.squared)}),
    Mistake("mean not subtracted", "centered = x - mean", {"centered": lambda v: v.x}),
    Mistake("mean not subtracted", "xhat = (x - mean) / std", {"xhat": lambda v: v.x / v.std}),
    Mistake("eps left out", "std = sqrt(var + eps)", {"var_eps": lambda v: v.var}),
    Mistake(
        "eps outside the square root",
        "std = sqrt(var + eps)",
        {"std": lambda v: v.var.sqrt() + v.eps},
    ),
    Mistake(
        "eps outside the square root",
        "std = sqrt(var + eps)",
        {
            "std": lambda v: v.var.sqrt() + v.eps,
            "gvar_eps": lambda v: v.gstd / (2 * v.var.sqrt()),
        },
    ),
    Mistake("missing square root", "std = sqrt(var + eps)", {"std": lambda v: v.var_eps}),
    Mistake("missing inv_std", "xhat = centered / std", {"xhat": lambda v: v.centered}),
    Mistake("missing gamma", "scaled = gamma xhat", {"scaled": lambda v: v.xhat}),
    Mistake("missing beta", "y = gamma xhat + beta", {"y": lambda v: v.scaled}),
    Mistake(
        "swapped gamma and beta",
        "y = gamma xhat + beta",
        {"scaled": lambda v: v.beta * v.xhat, "y": lambda v: v.scaled + v.gamma},
    ),
]

PATHS = [
    Mistake(
        "missing mean path",
        "x also moves the mean: gx has the term gmean / m",
        {"gx": lambda v: v.gcentered},
    ),
    Mistake(
        "missing variance path",
        "x also moves the variance: gx has the term gvar 2 (x - mean) / m",
        {"gcentered": direct},
    ),
    Mistake(
        "missing mean and variance paths",
        "the statistics are no constants: gx has the terms gmean / m and gvar 2 (x - mean) / m",
        {"gx": direct},
    ),
    Mistake(
        "missing direct path",
        "x moves its own xhat first of all: gx has the term gxhat / std",
        {"gx": lambda v: around(v) + v.gmean / v.m},
    ),
]

FACTORS = [
    Mistake("missing 1/m", "gx has gmean / m", {"gx": lambda v: v.gcentered + v.gmean}),
    Mistake(
        "missing 1/m",
        "var = sum squared / m, so gsquared = gvar / m",
        {"gsquared": lambda v: v.gvar.broadcast_to(v.x.shape)},
    ),
    Mistake(
        "missing 1/m",
        "both statistics are means: gx has gmean / m and gvar 2 (x - mean) / m",
        {
            "gsquared": lambda v: v.gvar.broadcast_to(v.x.shape),
            "gx": lambda v: v.gcentered + v.gmean,
        },
    ),
    Mistake("missing gamma", "gxhat = gy gamma", {"gxhat": lambda v: v.gscaled}),
    Mistake(
        "swapped gamma and inv_std", "gxhat = gy gamma", {"gxhat": lambda v: v.gscaled / v.std}
    ),
    Mistake(
        "swapped gamma and inv_std",
        "gcentered = gxhat / std + ...",
        {"gcentered": lambda v: v.gxhat * v.gamma + around(v)},
    ),
    Mistake(
        "swapped gamma and inv_std",
        "gxhat = gy gamma and gcentered = gxhat / std + ...",
        {
            "gxhat": lambda v: v.gscaled / v.std,
            "gcentered": lambda v: v.gxhat * v.gamma + around(v),
        },
    ),
    Mistake(
        "missing inv_std",
        "gcentered = gxhat / std + ...",
        {"gcentered": lambda v: v.gxhat + around(v)},
    ),
    Mistake(
        "missing factor 2",
        "squared = centered centered: the gradient of centered is 2 centered gsquared",
        {"gcentered": lambda v: direct(v) + v.centered * v.gsquared},
    ),
    Mistake(
        "missing factor 1/2",
        "the derivative of a square root is 1 / (2 std)",
        {"gvar_eps": lambda v: v.gstd / v.std},
    ),
    Mistake(
        "wrong power",
        "gvar has (var + eps)^(-3/2), here it is ^(-1/2)",
        {"gvar": lambda v: -0.5 * v.sum(v.gxhat * v.centered) / v.std},
    ),
    Mistake(
        "wrong power",
        "gvar has (var + eps)^(-3/2), here it is ^(3/2)",
        {"gvar": lambda v: -0.5 * v.sum(v.gxhat * v.centered) * v.var_eps * v.std},
    ),
    Mistake("x for xhat", "ggamma = sum gy xhat", {"ggamma": lambda v: v.sum(v.gscaled * v.x)}),
    Mistake(
        "centered for xhat",
        "ggamma = sum gy xhat",
        {"ggamma": lambda v: v.sum(v.gscaled * v.centered)},
    ),
    Mistake("y for xhat", "ggamma = sum gy xhat", {"ggamma": lambda v: v.sum(v.gscaled * v.y)}),
    Mistake("gxhat for gy", "ggamma = sum gy xhat", {"ggamma": lambda v: v.sum(v.gxhat * v.xhat)}),
]

SUMS = [
    Mistake("mean for sum", "gbeta = sum gy", {"gbeta": lambda v: v.average(v.gy)}),
    Mistake(
        "mean for sum",
        "ggamma = sum gy xhat",
        {"ggamma": lambda v: v.average(v.gscaled * v.xhat)},
    ),
    Mistake(
        "mean for sum",
        "the gradient of std is a sum over all that it divides",
        {"gstd": lambda v: -v.average(v.gxhat * v.xhat) / v.std},
    ),
    Mistake(
        "mean for sum",
        "gmean = -sum gcentered",
        {"gmean": lambda v: -v.average(v.gcentered)},
    ),
    Mistake("missing sum", "gbeta = sum gy", {"gbeta": lambda v: v.gy}),
    Mistake("missing sum", "ggamma = sum gy xhat", {"ggamma": lambda v: v.gscaled * v.xhat}),
    Mistake(
        "missing sum",
        "the gradient of std is a sum over all that it divides",
        {"gstd": lambda v: -v.gxhat * v.xhat / v.std},
    ),
    Mistake("missing sum", "gmean = -sum gcentered", {"gmean": lambda v: -v.gcentered}),
    Mistake("missing sum", "gmean = -sum gxhat / std", {"gmean": lambda v: -direct(v)}),
]

_BIASED = "the biased variance normalizes: its sum is divided by m"
UNBIASED = [
    Mistake("m - 1 for m", _BIASED, {"var": lambda v: v.sum(v.squared) / (v.m - 1)}),
    Mistake(
        "m - 1 for m",
        _BIASED,
        {"gsquared": lambda v: (v.gvar / (v.m - 1)).broadcast_to(v.x.shape)},
    ),
    Mistake(
        "m - 1 for m",
        _BIASED,
        {
            "var": lambda v: v.sum(v.squared) / (v.m - 1),
            "gsquared": lambda v: (v.gvar / (v.m - 1)).broadcast_to(v.x.shape),
        },
    ),
    Mistake("m - 1 for m", "mean = sum x / m", {"gx": lambda v: v.gcentered + v.gmean / (v.m - 1)}),
]


def mistakes(right: Values, name: str) -> Iterator[Mistake]:
    """All that may show in the value called ``name``, the likely ones first."""
    lines = list(RULES)
    until = set(lines[: lines.index(name) + 1])
    for mistake in _all(right):
        if mistake.axes is not None or until.intersection(mistake.changed):
            yield mistake


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
