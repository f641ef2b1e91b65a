"""Batch norm in three forms with the same results: in nine primitive operations, by paths, and in one line.

They compute Algorithm 1 of Ioffe & Szegedy 2015 (arXiv:1502.03167) and the gradient equations of its section 3.
float16 is computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..ops.batch_norm import Axes
from ..tensor import Tensor
from .paths import Paths, paths_of
from .steps import BACKWARD, FORWARD, problem, table


@dataclass(frozen=True, eq=False)
class Form:
    """The results of a form of batch norm, shaped like x (y, gx) and like gamma (ggamma, gbeta)."""

    y: Tensor
    gx: Tensor
    ggamma: Tensor
    gbeta: Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """A primitive operation: its name, value and gradient, and the equations of both.

    Values per channel keep the averaged axes, with length 1.
    """

    name: str
    equation: str
    value: Tensor
    gradient_equation: str
    gradient: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape


@dataclass(frozen=True, eq=False)
class AtomicForm(Form):
    """Nine primitive operations, by name in ``steps``; ``print`` shows them as a table."""

    steps: dict[str, Step]

    def __str__(self) -> str:
        rows = [("node", "equation", "shape", "value", "gradient", "equation of the gradient")]
        for step in self.steps.values():
            ranges = _range(step.value), _range(step.gradient)
            rows.append(
                (step.name, step.equation, str(step.shape), *ranges, step.gradient_equation)
            )
        for name in ("x", "gamma", "beta"):
            gradient = getattr(self, f"g{name}")
            equation = BACKWARD[f"g{name}"].equation
            rows.append((name, "", str(gradient.shape), "", _range(gradient), equation))
        return table(rows)


@dataclass(frozen=True, eq=False)
class ThreePathForm(Form):
    """gx as the sum of its three ``paths``."""

    paths: Paths


class Forms(NamedTuple):
    """One op, three times: ``atomic``, ``three_path`` and ``closed``."""

    atomic: AtomicForm
    three_path: ThreePathForm
    closed: Form


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
    node      equation           shape   value           gradient          equation of the gradient
    mean      mean of x          (1, 1)  3               -0.463            [3] -sum gcentered
    centered  x - mean           (3, 1)  -2 to 3         -0.0661 to 0.331  gxhat / std + 2 centered gsquared
    squared   centered centered  (3, 1)  1 to 9          0.0331            gvar / m
    var       mean of squared    (1, 1)  4.67            0.0992            [2] gvar_eps
    var_eps   var + eps          (1, 1)  4.67            0.0992            gstd / (2 std)
    std       sqrt(var_eps)      (1, 1)  2.16            0.428             -sum gxhat xhat / std
    xhat      centered / std     (3, 1)  -0.926 to 1.39  0 to 1            [1] gscaled gamma
    scaled    gamma xhat         (3, 1)  -0.926 to 1.39  0 to 1            gy
    y         scaled + beta      (3, 1)  -0.926 to 1.39  0 to 1            given
    x                            (3, 1)                  -0.22 to 0.176    [4] gcentered + gmean / m
    gamma                        (1,)                    -0.926            [5] sum gscaled xhat
    beta                         (1,)                    1                 [6] sum gy
    """
    v = problem("batch_norm_forms", x, gamma, beta, gy, axis, eps)
    parameters = v.narrow(v.ggamma), v.narrow(v.gbeta)
    steps = {}
    for name, (equation, _) in FORWARD.items():
        rule = "given" if name == "y" else BACKWARD[f"g{name}"].equation
        steps[name] = Step(name, equation, getattr(v, name), rule, getattr(v, f"g{name}"))
    atomic = AtomicForm(v.y, v.gx, *parameters, steps)

    paths = paths_of(v)
    equations = paths.equations
    three_path = ThreePathForm(v.y, paths.total, equations.dl_dgamma, equations.dl_dbeta, paths)

    inv_std = 1 / v.std
    xhat = (v.x - v.mean) * inv_std
    gx = v.gamma * inv_std * (v.gy - v.average(v.gy) - xhat * v.average(v.gy * xhat))
    sums = v.sum(v.gy * xhat), v.sum(v.gy)
    closed = Form(v.gamma * xhat + v.beta, gx, *map(v.narrow, sums))
    return Forms(atomic, three_path, closed)


def _range(t: Tensor) -> str:
    low, high = (f"{float(end.item()) + 0.0:.3g}" for end in (t.min(), t.max()))  # no -0
    return low if low == high else f"{low} to {high}"
