"""Grade a batch norm's forward and backward pass, written in NumPy by hand, on problems that tell mistakes apart."""

from __future__ import annotations

import html
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .lesson import EXACT, OTHER_EPS, Verdict, _equal, judge
from .mistakes import Arrays
from .steps import table

#: by norm: shapes, the axes of the statistics, and those that gamma's gradient sums over
NORMS: dict[str, tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...]]] = {
    "batch": ([(11, 7), (6, 13)], (0,), (0,)),
    "image": ([(5, 3, 2, 7), (3, 5, 2, 2)], (0, 2, 3), (0, 2, 3)),
    "layer": ([(7, 11), (13, 6)], (1,), (0,)),
}


@dataclass(frozen=True)
class Grade:
    """The result of ``grade``; ``str`` gives it as a table.

    Attributes
    ----------
    verdicts : dict of str to Verdict
        By output: out, dbeta, dgamma, dx; and for running statistics running_mean, running_var and test.
    notes : tuple of str
        What is right in its own way: another eps, the unbiased variance.
    """

    verdicts: dict[str, Verdict]
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return self.first is None

    @property
    def first(self) -> str | None:
        """The output that is wrong first."""
        return next((name for name, v in self.verdicts.items() if v.verdict == "wrong"), None)

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        rows = [(name, v.verdict, v.mistake or "") for name, v in self.verdicts.items()]
        first = [str(self.verdicts[self.first])] if self.first else []
        return "\n".join([table(rows), *first, *self.notes])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def grade(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    norm: str = "batch",
    eps: float = 1e-3,
) -> Grade:
    """Grade the forward and backward pass of a batch norm in NumPy, with the names and calls of cs231n's assignment.

    ::

        out, cache = forward(x, gamma, beta, bn_param)
        dx, dgamma, dbeta = backward(dout, cache)

    ``bn_param`` is a dict with mode, eps, momentum, running_mean and running_var. If the forward pass updates the last
    two, they are graded as well, and so is the mode "test".

    Parameters
    ----------
    forward, backward : callables
    norm : {"batch", "image", "layer"}
        Batch norm of (N, D), of images (N, C, H, W), or layer norm of (N, D).
    eps : float
        The eps in ``bn_param``.

    Returns
    -------
    Grade
        False, and says so, if an output is wrong: which first, by how much, and the likely mistake. A variance with
        m - 1 for m is right if the gradients agree with it.

    Raises
    ------
    ValueError
        For a norm of another name.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> def forward(x, gamma, beta, bn_param):
    ...     std = np.sqrt(x.var(0) + bn_param["eps"])
    ...     xhat = (x - x.mean(0)) / std
    ...     return gamma * xhat + beta, (xhat, gamma, std)
    >>> def backward(dout, cache):
    ...     xhat, gamma, std = cache
    ...     dx = gamma / std * (dout - dout.mean(0))
    ...     return dx, (dout * xhat).sum(0), dout.sum(0)
    >>> print(mg.study.grade(forward, backward))
    out     exact
    dbeta   exact
    dgamma  exact
    dx      wrong  missing variance path
    dx is wrong by up to 1.3. Likely mistake: missing variance path, gcentered = gxhat / std.
    Right is: gcentered = gxhat / std + 2 * centered * gsquared.
    No running statistics are kept.
    """
    if norm not in NORMS:
        raise ValueError(f"grade: expected a norm out of {', '.join(NORMS)}, got {norm!r}")
    shapes, axes, shared = NORMS[norm]
    problems = [_problem(shape, axes, shared, eps, seed) for seed, shape in enumerate(shapes)]
    with np.errstate(all="ignore"):  # the verdicts tell of NaN
        graded = [_graded(forward, backward, v, norm) for v in problems]
    return min(graded, key=lambda g: g.right)  # the first that is wrong


def _problem(shape: Any, axes: Any, shared: Any, eps: float, seed: int) -> Arrays:
    rng = np.random.default_rng(100 + seed)
    wide = [1 if i in shared else n for i, n in enumerate(shape)]
    gamma, beta = rng.uniform(0.5, 2, wide), rng.normal(0.5, 1, wide)
    x, gy = rng.normal(1, 2, shape), rng.normal(0.3, 1, shape)
    if seed:
        x[tuple(slice(None) if i in axes else 0 for i in range(x.ndim))] = 0.3  # var = 0
    old_mean = x.mean(axes, keepdims=True) + 1
    running = 0.7, old_mean, old_mean**2 + 2
    return Arrays(x, gamma, beta, gy, axes, eps, shared=shared, running=running)


def _graded(forward: Any, backward: Any, v: Arrays, norm: str) -> Grade:
    """The grade on one problem."""
    momentum, *old = v.running
    before = dict(zip(("running_mean", "running_var"), map(np.ravel, old), strict=True))
    before = {} if norm == "layer" else before
    settings: dict[str, Any] = {"mode": "train", "eps": v.eps, "momentum": momentum}
    param = settings | {k: a.copy() for k, a in before.items()}
    given = v.x.copy(), v.gamma.ravel(), v.beta.ravel()
    try:
        out, cache = forward(*given, param)
    except Exception as error:
        return Grade({"out": _raised("out", error)})
    v, notes = _variant(out, v)
    notes += ["forward changes x."] * (not np.array_equal(given[0], v.x))
    verdicts = {"out": _judged("out", out, v)}
    try:
        grads = dict(zip(("dx", "dgamma", "dbeta"), backward(v.gy.copy(), cache), strict=True))
    except Exception as error:
        return Grade(verdicts | {"dx": _raised("dx", error)}, tuple(notes))
    for name in ("dbeta", "dgamma", "dx"):
        verdicts[name] = _judged(name, grads[name], v)
    kept = any(not np.array_equal(param.get(k, a), a) for k, a in before.items())
    if before and not kept:
        notes.append("No running statistics are kept.")
    for name in before if kept else ():
        each = [_judged(name, param.get(name), v.again(ddof=n)) for n in (0, 1)]
        verdicts[name] = min(each, key=lambda found: (found.verdict == "wrong", not found.mistake))
        if name == "running_var" and verdicts[name].verdict != "wrong":
            kind = ("biased, as in cs231n", "unbiased, as in the paper")[each.index(verdicts[name])]
            notes.append(f"running_var is {kind}.")
    if kept:
        try:
            test, _ = forward(*given, settings | {"mode": "test"} | before)
            verdicts["test"] = _judged("test", test, v)
        except Exception as error:
            verdicts["test"] = _raised("test", error)
    return Grade(verdicts, tuple(notes))


def _variant(out: Any, v: Arrays) -> tuple[Arrays, list[str]]:
    """The problem with the eps and the variance that the forward pass uses, if it is right with them."""
    for ddof in (0, 1):
        for eps in (v.eps, *OTHER_EPS):
            other = v.again(ddof=ddof, eps=eps)
            if np.shape(out) == v.x.shape and _equal(out, other.y, "y", other, EXACT):
                notes = ["Normalizes by the unbiased variance, m - 1 for m."] * ddof
                return other, notes + [f"eps is {eps:g}, not {v.eps:g}."] * (eps != v.eps)
    return v, []


def _judged(name: str, mine: Any, v: Arrays) -> Verdict:
    try:
        return judge(name, mine, v, warn=False)
    except (TypeError, ValueError) as error:  # no numbers
        says = f"{name} is missing: {str(error).removeprefix('tensor: ')}."
        return Verdict("wrong", np.nan, "no numbers", says)


def _raised(name: str, error: Exception) -> Verdict:
    """The verdict on what a function did not return: where in it an error was raised, or what it has to return."""
    where, words = traceback.extract_tb(error.__traceback__)[-1], f"{type(error).__name__}: {error}"
    place = f"line {where.lineno}, {where.line or where.name}"
    if where.filename == __file__:
        place = f"expected {'dx, dgamma, dbeta' if name == 'dx' else 'out, cache'} to be returned"
    return Verdict("wrong", np.nan, words, f"{name} is missing: {place}: {words}.")
