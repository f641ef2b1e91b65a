"""Check batch norm's backward pass, derived by hand, step by step.

A wrong answer is compared with the results of known mistakes, so the verdict can name the likely one. The right answer
is computed in float64, by the tables in ``steps``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.batch_norm import Axes
from ..tape import no_grad
from ..tensor import Tensor, tensor
from .mistakes import Mistake, mistakes
from .steps import RULES, Values, problem

# Rounding errors of float64 and float32, relative to the size of a value's terms: some thousand and some ten roundings.
EXACT, CLOSE = 1e-12, 1e-6


@dataclass(frozen=True)
class Verdict:
    """The result of ``check_step``; ``str`` gives it as a sentence.

    Attributes
    ----------
    verdict : {"exact", "close", "wrong"}
        As good as float64 allows, as good as float32 allows, or neither.
    difference : float
        The largest distance from the right values; NaN if the shape is wrong.
    mistake : str or None
        The likely mistake, for a wrong answer.
    """

    verdict: str
    difference: float
    mistake: str | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@no_grad()
def check_step(
    name: str,
    mine: Any,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    gy: Tensor,
    axis: Axes = 1,
    eps: float = 1e-3,
) -> Verdict:
    """Check whether ``mine`` is the value or gradient called ``name``; if not, name the likely mistake.

    Parameters
    ----------
    name : str
        A value of Algorithm 1 (arXiv:1502.03167): mean, centered, squared, var, var_eps, std, xhat, scaled, y; or the
        gradient of the loss with respect to it: gscaled, gbeta [6], ggamma [5], gxhat [1], gstd, gvar_eps, gvar [2],
        gsquared, gcentered, gmean [3], gx [4], with the numbers of the paper's six equations (section 3).
    mine : array or Tensor
        The answer: of x's shape, or of gamma's for values per channel, with or without axes of length 1. One of
        another shape is wrong, and the verdict says so.
    x, gamma, beta, gy, axis, eps
        As for ``batch_norm_forms``.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        For an unknown name; as ``batch_norm_forms``.
    TypeError
        If ``mine`` holds no numbers; as ``batch_norm_forms``.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> x, gy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> problem = mg.tensor(x), None, None, mg.tensor(gy)
    >>> print(mg.study.check_step("var", x.var(axis=0), *problem))
    var is exact: it is right to the last digits of float64.
    >>> print(mg.study.check_step("std", np.sqrt(x.var(axis=0)) + 1e-3, *problem))
    std is wrong by up to 0.00077. Likely mistake: eps outside the square root. Remember: std = sqrt(var + eps).
    """
    if name not in RULES:
        raise ValueError(f"check_step: expected a name out of {', '.join(RULES)}, got {name!r}")
    right = problem("check_step", x, gamma, beta, gy, axis, eps, dtype=np.float64)
    value = getattr(right, name)
    answer = tensor(mine, dtype=np.float64, backend=x.backend)
    shape = answer.shape
    fits = _squeezed(shape) == _squeezed(value.shape)
    exact, close = (_rounding(name, right, tolerance) for tolerance in (EXACT, CLOSE))
    difference = math.nan
    if fits:
        answer = answer.reshape(value.shape)
        difference = float((answer - value).abs().max().item())
        if _within(exact, answer, value):
            says = f"{name} is exact: it is right to the last digits of float64."
            return Verdict("exact", difference, None, says)
    exactly, roughly = _likely(name, answer, right, exact, close)
    # A mistake may be a small one: what it gives to the last digit is no right answer that was rounded.
    if exactly is None and fits and _within(close, answer, value):
        says = f"{name} is close: the largest difference, {difference:.2g}, is one that float32 leaves."
        return Verdict("close", difference, None, says)
    found = exactly or roughly
    if fits:
        says = f"{name} is wrong by up to {difference:.2g}."
    else:
        says = f"{name} is wrong: expected shape {right.narrow(value).shape}, got {shape}."
    if found is None:
        says += f" It looks like no known mistake. Right is: {name} = {RULES[name].equation}."
    else:
        says += f" Likely mistake: {found.name}. Remember: {found.instead}."
    return Verdict("wrong", difference, found and found.name, says)


def _likely(
    name: str, answer: Tensor, right: Values, exact: Tensor, close: Tensor
) -> tuple[Mistake | None, Mistake | None]:
    """The first mistake that gives the answer exactly, and the first that gives it up to rounding."""
    roughly = None
    for mistake in mistakes(right, name):
        with np.errstate(all="ignore"):  # one may well divide by zero
            wrong = getattr(mistake.made_in(right), name)
            if _squeezed(wrong.shape) != _squeezed(answer.shape):
                continue
            given, size = answer.reshape(wrong.shape), wrong.abs()
            if wrong.shape == exact.shape:
                allowed = CLOSE * size + close, EXACT * size + exact
            else:
                allowed = CLOSE * size.max(), EXACT * size.max()
            if _within(allowed[0], given, wrong):
                if _within(allowed[1], given, wrong):
                    return mistake, roughly
                roughly = roughly or mistake
    return None, roughly


def _rounding(name: str, right: Values, tolerance: float) -> Tensor:
    """The error of an answer whose every step had the relative error ``tolerance``.

    It is proportional to the size of a value's terms: the values of the same rules with every minus a plus. A centered
    value has the rounding error of x as well, which stays when the mean is subtracted.
    """

    def size(off: float) -> Tensor:
        most = right.x.abs().max(axis=right.axes, keepdims=True)
        changed = {
            "centered": lambda v: right.centered.abs() + off * most,
            "std": lambda v: right.std,
            "gstd": lambda v: v.sum(v.gxhat * v.xhat) / v.std,
            "gmean": lambda v: v.sum(v.gcentered),
        }
        x, gamma, beta, gy = right.x.abs(), right.gamma.abs(), right.beta.abs(), right.gy.abs()
        return getattr(Values(x, gamma, beta, gy, right.axes, right.eps, changed), name)

    still = size(0)
    return tolerance * still + (size(tolerance / 4) - still)


def _within(allowed: Tensor, a: Tensor, b: Tensor) -> bool:
    return float(((a - b).abs() - allowed).max().item()) <= 0


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1."""
    return tuple(n for n in shape if n != 1)
