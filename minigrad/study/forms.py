"""Batch norm in three forms with the same results: in nine primitive operations, by paths, and in one line.

They compute Algorithm 1 of Ioffe & Szegedy 2015 (arXiv:1502.03167) and the gradient equations of its section 3.
float16 is computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..ops.batch_norm import Axes
from ..tensor import Tensor
from .drawing import Step, Table, html, shown, svg
from .paths import Paths, paths_of, require_paths
from .steps import BACKWARD, FORWARD, problem

RESULTS = "y", "gx", "ggamma", "gbeta"


@dataclass(frozen=True, eq=False)
class Form:
    """The results of a form of batch norm, shaped like x (y, gx) and like gamma (ggamma, gbeta)."""

    y: Tensor
    gx: Tensor
    ggamma: Tensor
    gbeta: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class AtomicForm(Table, Form):
    """Nine primitive operations, by name in ``steps``, and ``inputs``; printed as a table, shown as a picture."""

    steps: dict[str, Step]
    inputs: dict[str, Step]
    paths: Paths

    def rows(self) -> Iterable[tuple[str, ...]]:
        yield "node", "equation", "shape", "value", "gradient", "equation of the gradient"
        for s in (*self.steps.values(), *self.inputs.values()):
            numbers = str(s.shape), shown(s.value), shown(s.gradient)
            yield s.name, s.equation, *numbers, s.gradient_equation

    def svg(self, without: Sequence[str] = ()) -> str:
        """Draw the operations with their values and gradients, and the three paths from y to x, as SVG text.

        Paths in ``without``, out of "direct", "mean" and "var", are faint, and x's gradient is the sum of the others.
        """
        return svg(self.steps | self.inputs, self.paths.parts, require_paths("svg", without))

    def _repr_html_(self) -> str:
        return html(self.steps | self.inputs, self.paths.parts)


@dataclass(frozen=True, eq=False)
class ThreePathForm(Form):
    """gx as the sum of its three ``paths``."""

    paths: Paths


class _Forms(NamedTuple):
    atomic: AtomicForm
    three_path: ThreePathForm
    closed: Form


class Forms(Table, _Forms):
    """One op, three times: ``atomic``, ``three_path`` and ``closed``; printed with the largest differences."""

    __slots__ = ()

    def rows(self) -> Iterable[tuple[str, ...]]:
        yield "form", *RESULTS
        for name, form in zip(self._fields, self, strict=True):
            yield name, *(shown(getattr(form, result)) for result in RESULTS)
        values = ([getattr(form, result).numpy() for form in self] for result in RESULTS)
        yield "differ by", *(f"{np.ptp(v, axis=0).max():.1g}" for v in values)


def batch_norm_forms(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    gy: Tensor,
    axis: Axes = 1,
    eps: float = 1e-3,
) -> Forms:
    """Batch norm and its gradients in three forms that give the same numbers.

    ``atomic`` uses nine primitive operations, ``three_path`` adds up the paths from x to the loss, and ``closed`` is
    the three in one line, which is what ``minigrad.batch_norm`` computes::

        gx = gamma inv_std (gy - mean of gy - xhat mean of (gy xhat)),    inv_std = 1 / sqrt(var + eps)

    Parameters
    ----------
    x : Tensor, at least 2 axes
    gamma, beta : Tensor or None, shape of the kept axes
        None is 1 and 0.
    gy : Tensor, shape and dtype of x
        The gradient of the loss with respect to y.
    axis, eps
        As for ``minigrad.batch_norm``.

    Returns
    -------
    Forms
        Each with y, gx (shape of x), ggamma and gbeta (shape of the kept axes).

    Raises
    ------
    ValueError, TypeError
        As ``minigrad.batch_norm``, and if gy does not fit x.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, gy = mg.tensor([[1], [2], [6]]), mg.tensor([[1], [0], [0]])
    >>> forms = mg.study.batch_norm_forms(x, None, None, gy)
    >>> print(forms.atomic)
    node      equation           shape   value                 gradient               equation of the gradient
    mean      mean of x          (1, 1)  3                     -0.463                 [3] -sum gcentered
    centered  x - mean           (3, 1)  -2, -1, 3             0.331, -0.0661, 0.198  gxhat / std + 2 centered gsquared
    squared   centered centered  (3, 1)  4, 1, 9               0.0331                 gvar / m
    var       mean of squared    (1, 1)  4.67                  0.0992                 [2] gvar_eps
    var_eps   var + eps          (1, 1)  4.67                  0.0992                 gstd / (2 std)
    std       sqrt(var_eps)      (1, 1)  2.16                  0.428                  -sum gxhat xhat / std
    xhat      centered / std     (3, 1)  -0.926, -0.463, 1.39  1, 0, 0                [1] gscaled gamma
    scaled    gamma xhat         (3, 1)  -0.926, -0.463, 1.39  1, 0, 0                gy
    y         scaled + beta      (3, 1)  -0.926, -0.463, 1.39  1, 0, 0                given
    x                            (3, 1)  1, 2, 6               0.176, -0.22, 0.044    [4] gcentered + gmean / m
    gamma                        (1, 1)  1                     -0.926                 [5] sum gscaled xhat
    beta                         (1, 1)  0                     1                      [6] sum gy
    >>> picture = forms.atomic.svg(without=["mean"])  # as SVG text; a notebook shows it with a checkbox for each path
    """
    v = problem("batch_norm_forms", x, gamma, beta, gy, axis, eps)
    parameters = v.narrow(v.ggamma), v.narrow(v.gbeta)
    steps = {}
    for name, (equation, _) in FORWARD.items():
        rule = "given" if name == "y" else BACKWARD[f"g{name}"].equation
        steps[name] = Step(name, equation, getattr(v, name), rule, getattr(v, f"g{name}"))
    inputs = {}
    for name, value in (("x", v.x), ("gamma", v.gamma), ("beta", v.beta)):
        rule, gradient = BACKWARD[f"g{name}"].equation, getattr(v, f"g{name}")
        inputs[name] = Step(name, "", value, rule, gradient)
    paths = paths_of(v)
    atomic = AtomicForm(v.y, v.gx, *parameters, steps, inputs, paths)
    equations = paths.equations
    three_path = ThreePathForm(v.y, paths.total, equations.dl_dgamma, equations.dl_dbeta, paths)

    inv_std = 1 / v.std
    xhat = (v.x - v.mean) * inv_std
    gx = v.gamma * inv_std * (v.gy - v.average(v.gy) - xhat * v.average(v.gy * xhat))
    sums = v.sum(v.gy * xhat), v.sum(v.gy)
    closed = Form(v.gamma * xhat + v.beta, gx, *map(v.narrow, sums))
    return Forms(atomic, three_path, closed)
