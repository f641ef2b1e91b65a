"""Batch norm's forward and backward pass as two tables: a line per value, with its equation beside its code.

Forward are the nine operations of Algorithm 1 (Ioffe & Szegedy 2015, arXiv:1502.03167). Backward is the rule of each,
from y to x, where gz is d loss / d z; [1] to [6] are the paper's six equations (section 3), which these lines add up
to. Sums and means run over the m values of a channel. What there is one of per channel keeps its averaged axes, with
length 1, so that code and equation read alike. All is Tensor arithmetic, so all can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import CodeType
from typing import Any, NamedTuple

from ..creation import full
from ..messages import not_a_tensor
from ..ops.batch_norm import Axes, kept_axes, statistics_dtype
from ..ops.checks import require_dtype, require_floating, require_tensor
from ..tensor import Tensor


class Rule(NamedTuple):
    """An equation in words, and the same as code in the names of ``Values``."""

    equation: str
    code: str


FORWARD = {
    "mean": Rule("mean of x", "average(x)"),
    "centered": Rule("x - mean", "x - mean"),
    "squared": Rule("centered centered", "centered * centered"),
    "var": Rule("mean of squared", "sum(squared) / n"),
    "var_eps": Rule("var + eps", "var + eps"),
    "std": Rule("sqrt(var_eps)", "sqrt(var_eps)"),
    "xhat": Rule("centered / std", "centered / std"),
    "scaled": Rule("gamma xhat", "gamma * xhat"),
    "y": Rule("scaled + beta", "scaled + beta"),
}

BACKWARD = {
    "gscaled": Rule("gy", "gy"),
    "gbeta": Rule("[6] sum gy", "total(gy)"),
    "ggamma": Rule("[5] sum gscaled xhat", "total(gscaled * xhat)"),
    "gxhat": Rule("[1] gscaled gamma", "gscaled * gamma"),
    "gstd": Rule("-sum gxhat xhat / std", "-sum(gxhat * xhat) / std"),
    "gvar_eps": Rule("gstd / (2 std)", "gstd / (2 * std)"),
    "gvar": Rule("[2] gvar_eps", "gvar_eps"),
    "gsquared": Rule("gvar / m", "spread(gvar / n)"),
    "gcentered": Rule("gxhat / std + 2 centered gsquared", "gxhat / std + 2 * centered * gsquared"),
    "gmean": Rule("[3] -sum gcentered", "-sum(gcentered)"),
    "gx": Rule("[4] gcentered + gmean / m", "gcentered + gmean / m"),
}

#: what many derivations divide by in place of std
INVERSE = {
    "inv_std": Rule("1 / std", "1 / std"),
    "ginv_std": Rule("sum gxhat centered", "sum(gxhat * centered)"),
}

RULES = FORWARD | INVERSE | BACKWARD
CODE = {name: compile(rule.code, name, "eval") for name, rule in RULES.items()}


class Values:
    """All values of one batch norm, by name: ``v.xhat``. Each is computed by its rule at its first use."""

    def __init__(
        self, x: Any, gamma: Any, beta: Any, gy: Any, axes: tuple[int, ...], eps: float
    ) -> None:
        self.x, self.gamma, self.beta, self.gy = x, gamma, beta, gy
        self.axes, self.eps = axes, eps
        #: what the variance is divided by is called n, in derivations that may use the unbiased one
        self.m = self.n = math.prod(x.shape[i] for i in axes)

    def __getattr__(self, name: str) -> Any:
        if name not in CODE:
            raise AttributeError(name)
        value = vars(self)[name] = self.compute(CODE[name])
        return value

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def compute(self, code: CodeType) -> Any:
        names: Any = self
        return eval(code, {}, names)

    def sum(self, t: Any) -> Any:
        return t.sum(self.axes, keepdims=True)

    def average(self, t: Any) -> Any:
        return t.mean(self.axes, keepdims=True)

    #: the sum over all but gamma's axes, which is another one in layer norm
    total = sum

    def sqrt(self, t: Any) -> Any:
        return t.sqrt()

    def spread(self, t: Any) -> Any:
        return t.broadcast_to(self.x.shape)

    def narrow(self, t: Tensor) -> Tensor:
        """Without the averaged axes, the shape of gamma, if it is a value per channel."""
        if t.shape == self.x.shape:
            return t
        return t.reshape(tuple(n for i, n in enumerate(t.shape) if i not in self.axes))


def problem(
    name: str,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    gy: Tensor,
    axis: Axes,
    eps: float,
    dtype: Any = None,
) -> Values:
    """Check the arguments and return the values of a batch norm; gamma None is 1, beta None is 0.

    They are computed in ``dtype``, by default that of x and at least float32. ``name`` is the function the user called.

    Raises
    ------
    ValueError
        For fewer than two axes, fewer than two values per channel, a wrong shape, a bad axis, or eps <= 0.
    TypeError
        If an argument is no Tensor, or the dtypes do not fit.
    """
    require_floating(name, x)
    kept, channels, m = kept_axes(name, x.shape, axis)
    if m < 2:
        raise ValueError(
            f"{name}: expected at least 2 values per channel, got {m} from shape {x.shape} with axis={axis}"
        )
    if not eps > 0:
        raise ValueError(f"{name}: expected eps > 0, got {eps}")
    if gy is None:
        raise TypeError(f"{name}, argument gy: {not_a_tensor(gy)}")
    require_tensor(name, gamma=gamma, beta=beta, gy=gy)
    require_dtype(name, x, gy=gy)
    require_dtype(name, x, statistics_dtype, gamma=gamma, beta=beta)
    expected = {"gamma": (gamma, channels), "beta": (beta, channels), "gy": (gy, x.shape)}
    for argument, (value, shape) in expected.items():
        if value is not None and value.shape != shape:
            raise ValueError(
                f"{name}: expected {argument} of shape {shape} for x {x.shape} with axis={axis}, "
                f"got {value.shape}"
            )
    dtype = statistics_dtype(x.dtype) if dtype is None else dtype
    wide = tuple(n if i in kept else 1 for i, n in enumerate(x.shape))
    gamma, beta = (
        full(wide, default, dtype=dtype, backend=x.backend)
        if t is None
        else t.astype(dtype).reshape(wide)
        for t, default in ((gamma, 1), (beta, 0))
    )
    axes = tuple(i for i in range(x.ndim) if i not in kept)
    return Values(x.astype(dtype), gamma, beta, gy.astype(dtype), axes, float(eps))


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Format rows of words as aligned columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
