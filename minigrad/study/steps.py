"""Batch norm's forward and backward pass as two tables: a line per value, with its equation beside its code.

Forward are the nine operations of Algorithm 1 (Ioffe & Szegedy 2015, arXiv:1502.03167). Backward is the rule of each,
from y to x, where gz is d loss / d z; [1] to [6] are the paper's six equations (section 3), which these lines add up
to. Sums and means run over the m values of a channel. What there is one of per channel keeps its averaged axes, with
length 1, so that code and equation read alike. All is Tensor arithmetic, so all can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..creation import full
from ..messages import not_a_tensor
from ..ops.batch_norm import Axes, kept_axes, statistics_dtype
from ..ops.checks import require_dtype, require_floating, require_tensor
from ..tensor import Tensor


class Rule(NamedTuple):
    """An equation, and the same as a function of ``Values``."""

    equation: str
    compute: Callable[[Any], Tensor]


FORWARD = {
    "mean": Rule("mean of x", lambda v: v.average(v.x)),
    "centered": Rule("x - mean", lambda v: v.x - v.mean),
    "squared": Rule("centered centered", lambda v: v.centered * v.centered),
    "var": Rule("mean of squared", lambda v: v.average(v.squared)),
    "var_eps": Rule("var + eps", lambda v: v.var + v.eps),
    "std": Rule("sqrt(var_eps)", lambda v: v.var_eps.sqrt()),
    "xhat": Rule("centered / std", lambda v: v.centered / v.std),
    "scaled": Rule("gamma xhat", lambda v: v.gamma * v.xhat),
    "y": Rule("scaled + beta", lambda v: v.scaled + v.beta),
}

BACKWARD = {
    "gscaled": Rule("gy", lambda v: v.gy),
    "gbeta": Rule("[6] sum gy", lambda v: v.sum(v.gy)),
    "ggamma": Rule("[5] sum gscaled xhat", lambda v: v.sum(v.gscaled * v.xhat)),
    "gxhat": Rule("[1] gscaled gamma", lambda v: v.gscaled * v.gamma),
    "gstd": Rule("-sum gxhat xhat / std", lambda v: -v.sum(v.gxhat * v.xhat) / v.std),
    "gvar_eps": Rule("gstd / (2 std)", lambda v: v.gstd / (2 * v.std)),
    "gvar": Rule("[2] gvar_eps", lambda v: v.gvar_eps),
    "gsquared": Rule("gvar / m", lambda v: (v.gvar / v.m).broadcast_to(v.x.shape)),
    "gcentered": Rule(
        "gxhat / std + 2 centered gsquared",
        lambda v: v.gxhat / v.std + 2 * v.centered * v.gsquared,
    ),
    "gmean": Rule("[3] -sum gcentered", lambda v: -v.sum(v.gcentered)),
    "gx": Rule("[4] gcentered + gmean / m", lambda v: v.gcentered + v.gmean / v.m),
}

RULES = FORWARD | BACKWARD


class Values:
    """All values of one batch norm, by name: ``v.xhat``. Each is computed by its rule at its first use."""

    def __init__(
        self,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        gy: Tensor,
        axes: tuple[int, ...],
        eps: float,
        changed: Mapping[str, Callable[[Any], Tensor]] | None = None,
    ) -> None:
        self.x, self.gamma, self.beta, self.gy = x, gamma, beta, gy
        self.axes, self.eps = axes, eps
        self.m = math.prod(x.shape[i] for i in axes)
        #: rules that replace those of the tables
        self.changed = changed or {}

    def __getattr__(self, name: str) -> Any:
        if name not in RULES:
            raise AttributeError(name)
        value = self.changed.get(name, RULES[name].compute)(self)
        setattr(self, name, value)
        return value

    def sum(self, t: Tensor) -> Tensor:
        return t.sum(self.axes, keepdims=True)

    def average(self, t: Tensor) -> Tensor:
        return t.mean(self.axes, keepdims=True)

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
