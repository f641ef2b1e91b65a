"""The gradient of x as three paths, and batch norm without some of them.

Every x_i moves its own xhat_i, and also the mean and the variance that normalize all the others. So the gradient of x
has three parts (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3, the fourth of its equations)::

    gx_i = gxhat_i / sqrt(var + eps)           direct
         + gmean / m                           through the mean
         + gvar 2 (x_i - mean) / m             through the variance

Treating the statistics as constants gives the first alone: its components along a shift and along xhat are undone by
the next forward pass (section 2 of the paper). float16 is computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..bn.hooks import Normalized, forward
from ..nn.batch_norm import BatchNorm
from ..ops.batch_norm import Axes, batch_norm, frozen_batch_norm
from ..tensor import Tensor
from .drawing import Table, shown
from .steps import Values, problem

PATHS = ("direct", "mean", "var")
#: as printed
EQUATIONS = {
    "direct": "dl_dxhat / std", "mean": "dl_dmean / m", "var": "dl_dvar 2 (x - mean) / m",
    "total": "[4] direct + mean + var", "dl_dxhat": "[1] gy gamma",
    "dl_dvar": "[2] -1/2 sum dl_dxhat (x - mean) / std^3", "dl_dmean": "[3] -sum dl_dxhat / std",
    "dl_dgamma": "[5] sum gy xhat", "dl_dbeta": "[6] sum gy",
}  # fmt: skip


class Equations(NamedTuple):
    """The paper's six gradient equations (section 3), in its order and by its names::

        dl_dxhat_i = dl/dy_i gamma
        dl_dvar    = sum dl/dxhat_i (x_i - mean) (-1/2) (var + eps)^(-3/2)
        dl_dmean   = sum dl/dxhat_i (-1) / sqrt(var + eps) + dl/dvar sum -2 (x_i - mean) / m
        dl_dx_i    = dl/dxhat_i / sqrt(var + eps) + dl/dvar 2 (x_i - mean) / m + dl/dmean / m
        dl_dgamma  = sum dl/dy_i xhat_i
        dl_dbeta   = sum dl/dy_i

    l is the loss; sums run over the m values of a channel. The second sum in dl_dmean, over x_i - mean, is 0.
    """

    dl_dxhat: Tensor
    dl_dvar: Tensor
    dl_dmean: Tensor
    dl_dx: Tensor
    dl_dgamma: Tensor
    dl_dbeta: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Paths(Table):
    """The gradient of x in three parts of its shape, and the six equations that they come from; printed as a table."""

    direct: Tensor
    mean: Tensor
    var: Tensor
    equations: Equations

    @property
    def total(self) -> Tensor:
        """gx: the three together."""
        return self.equations.dl_dx

    @property
    def parts(self) -> dict[str, Tensor]:
        """The three, by name."""
        return {path: getattr(self, path) for path in PATHS}

    def rows(self) -> Iterable[tuple[str, ...]]:
        yield "gradient", "equation", "value"
        for name, equation in EQUATIONS.items():
            owner = self.equations if name in Equations._fields else self
            yield name, equation, shown(getattr(owner, name))


def batch_norm_paths(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    gy: Tensor,
    axis: Axes = 1,
    eps: float = 1e-3,
) -> Paths:
    """Compute the gradient of x as its three paths, by the paper's six equations (arXiv:1502.03167, section 3).

    Parameters
    ----------
    x, gamma, beta, gy, axis, eps
        As for ``batch_norm_forms``.

    Returns
    -------
    Paths
        ``direct``, ``mean`` and ``var``, of x's shape, which add up to ``total``; and ``equations``, see ``Equations``:
        of x's shape, or of gamma's for those per channel.

    Raises
    ------
    ValueError, TypeError
        As ``batch_norm_forms``.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, gy = mg.tensor([[1], [3]]), mg.tensor([[1], [0]])
    >>> paths = mg.study.batch_norm_paths(x, None, None, gy, eps=1e-12)
    >>> paths.direct.T, paths.equations.dl_dvar
    (Tensor([[1., 0.]]), Tensor([0.5]))
    >>> paths
    gradient   equation                                  value
    direct     dl_dxhat / std                            1, 0
    mean       dl_dmean / m                              -0.5
    var        dl_dvar 2 (x - mean) / m                  -0.5, 0.5
    total      [4] direct + mean + var                   0
    dl_dxhat   [1] gy gamma                              1, 0
    dl_dvar    [2] -1/2 sum dl_dxhat (x - mean) / std^3  0.5
    dl_dmean   [3] -sum dl_dxhat / std                   -1
    dl_dgamma  [5] sum gy xhat                           -1
    dl_dbeta   [6] sum gy                                1
    """
    return paths_of(problem("batch_norm_paths", x, gamma, beta, gy, axis, eps))


def ablated_batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    axis: Axes = 1,
    eps: float = 1e-3,
    without: Sequence[str] = ("mean",),
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm with the right values and a wrong gradient, in which y lacks paths to x.

    Train with it to see what each path is for. Without "mean" and "var" the statistics are treated as constants.

    Parameters
    ----------
    x, gamma, beta, axis, eps
        As for ``minigrad.batch_norm``.
    without : sequence of {"direct", "mean", "var"}
        The paths that y's gradient does not take. Those of gamma and beta are whole.

    Returns
    -------
    y, mean, var : Tensors
        mean and var have their own gradients, whole.

    Raises
    ------
    ValueError
        For a path of another name, and as ``minigrad.batch_norm``.
    TypeError
        As ``minigrad.batch_norm``.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, gy = mg.tensor([[1], [3]], requires_grad=True), mg.tensor([[1], [0]])
    >>> y, mean, var = mg.study.ablated_batch_norm(x, None, None, without=("mean", "var"), eps=1e-12)
    >>> mg.grad(y, x, gy).T
    Tensor([[1., 0.]])
    """
    require_paths("ablated_batch_norm", without)
    _, mean, var = batch_norm(x, gamma, beta, axis, eps)
    inputs = {"direct": x, "mean": mean, "var": var}
    ways = {path: t.detach() if path in without else t for path, t in inputs.items()}
    y = frozen_batch_norm(ways["direct"], gamma, beta, ways["mean"], ways["var"], axis, eps)
    return y, mean, var


class AblatedBatchNorm(BatchNorm):
    """A BatchNorm that trains with ``ablated_batch_norm``.

    Parameters
    ----------
    num_features : int or tuple of ints
    without : sequence of {"direct", "mean", "var"}
        The paths that the gradient of x does not take.
    **settings
        As for ``minigrad.nn.BatchNorm``; masks and weights are not supported.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.study.AblatedBatchNorm(1, without=("mean", "var"), eps=1e-12)
    >>> x = mg.tensor([[1], [3]], requires_grad=True)
    >>> mg.grad(bn(x), x, mg.tensor([[1], [0]])).T, bn.num_batches
    (Tensor([[1., 0.]]), Tensor(1, dtype=int64))
    """

    def __init__(
        self,
        num_features: int | tuple[int, ...],
        without: Sequence[str] = ("mean",),
        **settings: Any,
    ) -> None:
        super().__init__(num_features, **settings)
        self.without = tuple(without)

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        return forward(self, x, mask, weight, self._ablated)

    def _ablated(self, x: Tensor, weight: Any) -> Normalized:
        if weight is not None:
            raise ValueError("expected neither mask nor weight")
        y, mean, var = ablated_batch_norm(
            x, self.gamma, self.beta, self.axis, self.eps, self.without
        )
        return y, [(mean, var, x.size // mean.size)]


def require_paths(name: str, without: Sequence[str]) -> Sequence[str]:
    """Return ``without`` if it consists of paths; ``name`` is the function the user called."""
    if not all(path in PATHS for path in without):
        raise ValueError(
            f"{name}: expected without to name some of {', '.join(PATHS)}, got {without!r}"
        )
    return without


def paths_of(v: Values) -> Paths:
    """The paths, by the six equations."""
    inv_std, centered = 1 / (v.var + v.eps).sqrt(), v.x - v.mean
    dl_dxhat = v.gy * v.gamma
    dl_dvar = v.sum(dl_dxhat * centered) * -0.5 * (v.var + v.eps) ** -1.5
    dl_dmean = -v.sum(dl_dxhat) * inv_std + dl_dvar * v.sum(-2 * centered) / v.m
    direct = dl_dxhat * inv_std
    through_mean = (dl_dmean / v.m).broadcast_to(v.x.shape)
    through_var = dl_dvar * 2 * centered / v.m
    dl_dx = direct + through_var + through_mean
    dl_dgamma, dl_dbeta = v.sum(v.gy * centered * inv_std), v.sum(v.gy)
    equations = (dl_dxhat, dl_dvar, dl_dmean, dl_dx, dl_dgamma, dl_dbeta)
    return Paths(direct, through_mean, through_var, Equations(*map(v.narrow, equations)))
