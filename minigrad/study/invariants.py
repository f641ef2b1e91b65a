"""Invariants of batch norm, measured: sums of its output and of its gradient, and invariance to the weights' scale.

Shifting a channel of x does not change y, so the gradient of x has no component along a shift: it adds up to 0.
Scaling it changes y only through eps, so the component along xhat nearly vanishes too. Hence the scale of the weights
before a batch norm does not matter, and the larger they are the smaller their gradient (Ioffe & Szegedy 2015,
arXiv:1502.03167, section 3.3)::

    BN((aW)u) = BN(Wu)      d BN((aW)u) / du = d BN(Wu) / du      d BN((aW)u) / d(aW) = 1/a d BN(Wu) / dW

Scaling by a scales the variance by a^2, but not eps. So these three hold exactly if eps becomes a^2 eps, and else up to
the share of eps in var + eps. Both are measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..autograd import grad
from ..ops.batch_norm import Axes, batch_norm
from ..ops.linear import linear
from ..tape import no_grad
from ..tensor import Tensor, tensor
from .drawing import Table
from .gradcheck import own_stream
from .steps import Values, problem


@dataclass(frozen=True)
class Invariant:
    """An equation, and its two sides where they differ most."""

    name: str
    equation: str
    expected: float
    received: float

    @property
    def error(self) -> float:
        return abs(self.expected - self.received)


class Invariants(Table, dict[str, Invariant]):
    """Invariants by name; printed as a table."""

    def rows(self) -> Iterable[tuple[str, ...]]:
        yield "invariant", "equation", "expected", "received", "error"
        for i in self.values():
            yield i.name, i.equation, f"{i.expected:.6g}", f"{i.received:.6g}", f"{i.error:.1e}"


def invariants(
    x: Tensor,
    gamma: Tensor | None,
    gy: Tensor,
    axis: Axes = 1,
    eps: float = 1e-3,
    scale: float = 10.0,
    rng: np.random.Generator | None = None,
) -> Invariants:
    """Measure the invariants of ``minigrad.batch_norm`` and its gradients at x.

    Parameters
    ----------
    x : Tensor, at least 2 axes
        Also the input u of the linear layer in the scale invariance: a row per position of x, a column per channel.
    gamma : Tensor or None, shape of the kept axes
    gy : Tensor, shape and dtype of x
        The gradient of the loss with respect to y.
    axis, eps
        As for ``minigrad.batch_norm``.
    scale : float
        The a of aW.
    rng : numpy.random.Generator, optional
        Draws the weight W of the linear layer, shape (C, C); by default one that depends on the shape of x alone.

    Returns
    -------
    Invariants
        By name: "mean of xhat", "var of xhat", "sum of gx", "sum of gx xhat"; "y of aW", "gu of aW", "gW of aW", up to
        eps; and the same three with "a^2 eps", exact but for rounding.

    Raises
    ------
    ValueError
        If ``scale`` is 0; as ``batch_norm_forms``.
    TypeError
        As ``batch_norm_forms``.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, gy = mg.tensor([[1], [2], [6]]), mg.tensor([[1], [0], [0]])
    >>> found = mg.study.invariants(x, None, gy)
    >>> found["var of xhat"].equation
    'var / (var + eps)'
    >>> found["sum of gx"].error < 1e-6
    True
    """
    if scale == 0:
        raise ValueError("invariants: expected a scale other than 0, got 0")
    v = problem("invariants", x, gamma, None, gy, axis, eps)
    leaf = tensor(v.x, requires_grad=True, backend=x.backend)
    y, _, _ = batch_norm(leaf, gamma, None, axis, eps)
    gx = grad(y, leaf, v.gy)
    with no_grad():
        xhat, _, _ = batch_norm(v.x, None, None, axis, eps)
        left = v.gamma / v.std * v.eps / v.var_eps * v.sum(v.gy * xhat)
        spread = v.average(xhat**2) - v.average(xhat) ** 2
        found = [
            _worst("mean of xhat", "0", v.var * 0, v.average(xhat)),
            _worst("var of xhat", "var / (var + eps)", v.var / v.var_eps, spread),
            _worst("sum of gx", "0", v.var * 0, v.sum(gx)),
            _worst(
                "sum of gx xhat",
                "gamma inv_std eps / (var + eps) sum gy xhat",
                left,
                v.sum(gx * xhat),
            ),
        ]
    found += _scaled(v, scale, own_stream(x.shape) if rng is None else rng)
    return Invariants({i.name: i for i in found})


def _scaled(v: Values, a: float, rng: np.random.Generator) -> list[Invariant]:
    """Scale invariance, with the rows of x as u."""
    u, gy = _rows(v, v.x), _rows(v, v.gy)
    channels = u.shape[1]
    gamma = v.gamma.reshape(channels).detach()
    values = rng.standard_normal((channels, channels))
    weight = tensor(values, dtype=u.dtype, backend=u.backend)

    def run(a: float, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        inputs = [tensor(t, requires_grad=True, backend=u.backend) for t in (u, a * weight)]
        y, _, _ = batch_norm(linear(*inputs), gamma, None, eps=eps)
        gu, gw = grad(y, inputs, gy)
        return y.detach(), gu, gw

    y, gu, gw = run(1, v.eps)
    equations = {"y": ("BN(Wu)", y), "gu": ("dL/du", gu), "gW": ("1/a dL/dW", gw / a)}
    found = []
    for note, eps in (("", v.eps), (", a^2 eps", a * a * v.eps)):
        pairs = zip(run(a, eps), equations.items(), strict=True)
        for received, (name, (equation, expected)) in pairs:
            found.append(_worst(f"{name} of aW{note}", equation, expected, received))
    return found


def _rows(v: Values, t: Tensor) -> Tensor:
    """A row for each position, a column for each channel."""
    kept = tuple(i for i in range(t.ndim) if i not in v.axes)
    return t.detach().transpose((*v.axes, *kept)).reshape(v.m, -1)


def _worst(name: str, equation: str, expected: Tensor, received: Tensor) -> Invariant:
    i = int((expected - received).abs().reshape(-1).argmax().item())
    pair = (float(t.reshape(-1)[i].item()) for t in (expected, received))
    return Invariant(name, equation, *pair)
