"""Check batch norm's forward and backward pass, derived by hand, step by step.

A wrong answer is compared with those of all mistakes in ``mistakes``, so the verdict can name the likely one; a right
one as well, for the problem may be one on which a mistake does not show.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ..ops.batch_norm import Axes
from ..tape import no_grad
from ..tensor import tensor
from .edits import compiled
from .factors import explain, fits
from .mistakes import STEPS, Arrays, Layout, Mistake, is_likely, space, terms, wide_space
from .steps import RULES, problem

#: Rounding errors relative to the size of a value's terms: some thousand roundings of float64, some ten of the others.
EXACT, CLOSE = 1e-12, {"float32": 1e-6, "float16": 1e-2, "bfloat16": 1e-2}
#: the rules with every minus a plus: the sizes of their terms
SIZES = {name: compiled(code.replace("-", "+")) for name, code in STEPS.items()}
ALIASES = {
    "out": "y", "mu": "mean", "sample_mean": "mean", "xmu": "centered", "sq": "squared", "sample_var": "var",
    "x_hat": "xhat", "x_norm": "xhat", "ivar": "inv_std", "invstd": "inv_std", "sqrtvar": "std",
}  # fmt: skip
OTHER_EPS = (1e-3, 1e-5, 1e-8, 1e-6, 1e-4, 2e-5, 1e-7, 1e-2, 1e-12, 0.1)
#: elements up to which a problem is searched for all mistakes, and not only for the first
LARGE = 50_000


@dataclass(frozen=True)
class Verdict:
    """The result of ``check_step``; ``str`` gives it as a sentence or two.

    Attributes
    ----------
    verdict : {"exact", "close", "wrong"}
        As good as float64 allows, as good as float32 allows, or neither.
    difference : float
        The largest distance from the right values; NaN if the shape is wrong.
    mistake : str or None
        The likely mistake, for a wrong answer.
    sentence : str
    hidden : tuple of str
        For a right answer: mistakes that would have given the same numbers on this problem.
    """

    verdict: str
    difference: float
    mistake: str | None
    sentence: str
    hidden: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        colour = {"exact": "#2a7", "close": "#a80"}.get(self.verdict, "#c33")
        return f'<span style="color:{colour}">&#9679;</span> {html.escape(str(self))}'


def canonical(name: str) -> str | None:
    """The name in ``steps`` of a value that is also called ``name``: dx, dl_dx and gx are one."""
    for prefix in ("dl_d", "d"):
        rest = name.removeprefix(prefix)
        if rest != name and name not in RULES:
            rest = ALIASES.get(rest, rest)
            return f"g{rest}" if f"g{rest}" in RULES else None
    name = ALIASES.get(name, name)
    return name if name in RULES else None


@no_grad()
def check_step(
    name: str,
    mine: Any,
    x: Any,
    gamma: Any,
    beta: Any,
    gy: Any,
    axis: Axes = 1,
    eps: float = 1e-3,
    ddof: int = 0,
) -> Verdict:
    """Check whether ``mine`` is the value or gradient called ``name``; if not, name the likely mistake.

    Parameters
    ----------
    name : str
        A value of Algorithm 1 (arXiv:1502.03167): mean, centered, squared, var, var_eps, std, inv_std, xhat, scaled, y;
        or the gradient of the loss with respect to it: gscaled, gbeta [6], ggamma [5], gxhat [1], ginv_std, gstd,
        gvar_eps, gvar [2], gsquared, gcentered, gmean [3], gx [4], with the numbers of the paper's six equations
        (section 3). dx and dl_dx are gx, and so on; mu, x_hat and out are mean, xhat and y.
    mine : array or Tensor
        The answer: of x's shape, or of gamma's for values per channel, with or without axes of length 1. One of
        another shape is wrong, and the verdict says so. How close is close depends on its dtype.
    x, gamma, beta, gy : arrays or Tensors
        As for ``batch_norm_forms``.
    axis, eps
        As for ``batch_norm_forms``.
    ddof : int
        1 for the unbiased variance, in the normalization itself.

    Returns
    -------
    Verdict
        An answer that is right with another eps is right, and the verdict says which. It warns of mistakes that the
        problem cannot show: with gamma = 1, a missing gamma.

    Raises
    ------
    ValueError
        For an unknown name; as ``batch_norm_forms``.
    TypeError
        If ``mine`` holds no numbers; as ``batch_norm_forms``.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> x, gy = np.array([[1.0, 3.0], [2.0, 0.0], [6.0, 5.0]]), np.array([[1.0, 0.5], [0.0, 2.0], [0.3, 0.0]])
    >>> problem = x, None, None, gy
    >>> print(mg.study.check_step("var", x.var(axis=0), *problem))
    var is exact: it is right to the last digits of float64.
    >>> print(mg.study.check_step("std", np.sqrt(x.var(axis=0)) + 1e-3, *problem))
    std is wrong by up to 0.00077. Likely mistake: eps outside the square root, std = sqrt(var) + eps.
    Right is: std = sqrt(var + eps).
    """
    known = canonical(name)
    if known is None:
        raise ValueError(f"check_step: expected a name out of {', '.join(RULES)}, got {name!r}")
    x, gamma, beta, gy = (
        tensor(a) if isinstance(a, np.ndarray) else a for a in (x, gamma, beta, gy)
    )
    right = problem("check_step", x, gamma, beta, gy, axis, eps, dtype=np.float64)
    numbers = [t.numpy() for t in (right.x, right.gamma, right.beta, right.gy)]
    v = Arrays(*numbers, right.axes, right.eps, ddof=ddof)
    return judge(name, mine, v, affine=gamma is not None)


def judge(said: str, mine: Any, v: Arrays, affine: bool = True, warn: bool = True) -> Verdict:
    """The verdict on ``mine`` as the value of ``v`` that the user calls ``said``."""
    name, dtype = canonical(said) or said, str(getattr(mine, "dtype", "float64"))
    answer, right, near = _numbers(mine, v[name], v), v[name], CLOSE.get(dtype, 1e-6)
    layout = Layout(v.x.ndim, v.axes, v.shared, v.ddof, affine)
    shaped, difference = fits(answer.shape, right.shape), math.nan
    with np.errstate(all="ignore"):
        if shaped:
            difference = float(abs(answer.reshape(right.shape) - right).max())
        word, says = _right(name, answer, v, dtype, (EXACT,))
        # A mistake may be a small one: what it gives to the last digit is no right answer that was rounded.
        found = [] if word else _named(name, answer, v, space(name, layout), EXACT)
        if not word and not found:
            word, says = _right(name, answer, v, dtype, (EXACT, near))
        if word:
            hidden = _hidden(name, v, layout) if warn and v.x.size <= LARGE else ()
            says = f"{said} is {word}{says.format(difference)}"
            if hidden:
                says += f" But some mistakes do not show on this problem: {', '.join(hidden[:3])}."
            return Verdict(word, difference, None, says, hidden)
        if not np.isfinite(answer).all():
            found = [("not finite", "NaN or infinity, of a division by 0: eps left out?")]
        elif shaped and not answer.any():
            found = [("zero", f"zero everywhere. Right is: {layout.line(name)}.")]
        found = found or _named(name, answer, v, space(name, layout), near)
        rarely = _rarely(name, answer, v, layout, near if dtype in CLOSE else 1e-10)
        found = found or next(filter(None, rarely), [])
    far = f" by up to {difference:.2g}" if np.isfinite(difference) else ""
    if not shaped:
        shape = v.x.shape if right.shape == v.x.shape else tuple(n for n in right.shape if n != 1)
        far = f": expected shape {shape}, got {answer.shape}"
    if not found:
        mistake, says = (
            (None, " It looks like no known mistake.") if shaped else ("wrong shape", "")
        )
        says = f"{said} is wrong{far}.{says} Right is: {layout.line(name)}."
        return Verdict("wrong", difference, mistake, says)
    others = [f" Or: {says}" for mistake, says in found[1:] if is_likely(mistake)]
    says = f"{said} is wrong{far}. Likely mistake: {found[0][1]}{''.join(others[:1])}"
    return Verdict("wrong", difference, found[0][0], says)


def _hidden(name: str, v: Arrays, layout: Layout) -> tuple[str, ...]:
    """Likely mistakes that would have given the right numbers on this problem."""
    same = _named(name, v[name], v, space(name, layout), EXACT)
    return tuple(dict.fromkeys(mistake for mistake, _ in same if is_likely(mistake)))


def _numbers(mine: Any, right: Any, v: Arrays) -> Any:
    """An answer in float64; gsquared, which is the same in all of a channel, may be given once."""
    answer = tensor(mine, dtype=np.float64).numpy()
    if (
        right.shape != v.x.shape
        or not fits(answer.shape, v.mean.shape)
        or np.ptp(right, v.axes).any()
    ):
        return answer
    return np.broadcast_to(answer.reshape(v.mean.shape), v.x.shape)


def _right(
    name: str, answer: Any, v: Arrays, dtype: str, tolerances: Iterable[float]
) -> tuple[str, str]:
    """Close or exact, and in what way, for an answer that is right but for rounding or for eps."""
    for tolerance in tolerances:
        word = "exact" if tolerance == EXACT else "close"
        if _equal(answer, v[name], name, v, tolerance):
            if word == "exact":
                return word, ": it is right to the last digits of float64."
            left = (
                "more than float64 leaves: finite differences, float32 on the way, or eps left out?"
            )
            left = f"one that {dtype} leaves." if dtype in CLOSE else left
            return word, f": the largest difference, {{:.2g}}, is {left}"
        # a smaller eps than rounding shows is one left out
        others = {eps: v.again(eps=eps)[name] for eps in (0, *OTHER_EPS)}
        if fits(answer.shape, v[name].shape):
            far = {eps: abs(answer.reshape(a.shape) - a).max() for eps, a in others.items()}
            eps = min(far, key=lambda eps: far[eps])
            if far[eps] < far[0] / 2 and _equal(answer, others[eps], name, v, tolerance):
                return word, f" with eps = {eps:g}, not {v.eps:g}."
    return "", ""


def _named(
    name: str, answer: Any, v: Arrays, mistakes: Iterable[Mistake], tolerance: float
) -> list[tuple[str, str]]:
    """The mistakes that give the answer, and the same as sentences."""
    same = (m for m in mistakes if _equal(answer, m.value(v, name), name, v, tolerance))
    some = islice(same, 1 if v.x.size > LARGE else None)
    says = {f"{m.name}, {m.wrong}. Right is: {m.right}.": m.name for m in some}
    return [(mistake, sentence) for sentence, mistake in says.items()]


def _rarely(
    name: str, answer: Any, v: Arrays, layout: Layout, tolerance: float
) -> Iterator[list[tuple[str, str]]]:
    """What ``_named`` gives for factors at the answer's terms, any value for any other, and a mistake with factors."""
    words = explain(name, answer, terms(name, v), v, tolerance)
    factors = [(words, f"{words}. Right is: {layout.line(name)}.")] if words else []
    if words and "wrong factor" not in words:
        yield factors
    if v.x.size <= LARGE:
        yield from (_named(name, answer, v, [m], tolerance) for m in wide_space(name, layout))
        for m in space(name, layout):
            made = m.made(v)
            if isinstance(made, Arrays):
                words = explain(name, answer, terms(name, made), v, tolerance)
                if words and "wrong factor" not in words:
                    says = f"{m.name}, {m.wrong}, and {words}. Right is: {m.right}."
                    yield [(f"{m.name}, {words}", says)]
    yield factors


def _equal(answer: Any, other: Any, name: str, v: Arrays, tolerance: float) -> bool:
    """Whether two values are equal but for rounding."""
    answer, other = np.asarray(answer), np.asarray(other)
    if not fits(answer.shape, other.shape) or not np.isfinite(other).all():
        return False
    far, size = abs(answer.reshape(other.shape) - other), abs(other)
    known = vars(v).setdefault("rounding", {})
    if (name, tolerance) not in known:
        known[name, tolerance] = _rounding(name, v, tolerance)
    allowed = known[name, tolerance]
    allowed = tolerance * size + allowed if allowed.shape == other.shape else tolerance * size.max()
    return bool((far <= allowed).all())


def _rounding(name: str, v: Arrays, tolerance: float) -> Any:
    """The error of an answer whose every step had the relative error ``tolerance``.

    It is proportional to the size of a value's terms. A centered value has the rounding error of x as well, which stays
    when the mean is subtracted.
    """
    positive: dict[str, Any] = {k: abs(v[k]) for k in ("x", "gamma", "beta", "gy")}
    positive["running"] = tuple(map(abs, v.running))
    sizes = []
    for off in (0.0, tolerance / 4):
        terms = v.again(**positive).by(SIZES)
        centered = abs(v.centered) + off * positive["x"].max(v.axes, keepdims=True)
        vars(terms).update(centered=centered, std=v.std)
        sizes.append(terms[name])
    return tolerance * sizes[0] + sizes[1] - sizes[0]
