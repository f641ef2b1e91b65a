"""The Jacobian of batch norm for one feature: every output by every input.

With m values x_1 ... x_m of a feature (Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithm 1)::

    dy_i / dx_j = gamma inv_std ((i == j) - 1/m - xhat_i xhat_j / m),    inv_std = 1 / sqrt(var + eps)

The first term alone would be right if the statistics were constants; 1/m comes through the mean and xhat_i xhat_j / m
through the variance. The two project out the directions 1 (a shift) and xhat, and leave all others as they are:
m - 2 singular values are gamma inv_std, one is 0, and one is gamma inv_std eps / (var + eps), which vanishes with eps.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd import grad
from ..creation import full
from ..ops.batch_norm import batch_norm
from ..tensor import Tensor, tensor
from .drawing import Table, shown

#: values to a row when printed
MOST = 8


@dataclass(frozen=True, eq=False, repr=False)
class Jacobian(Table):
    """dy/dx for one feature of m values; printed as a table.

    Attributes
    ----------
    matrix : Tensor, shape (m, m)
        dy_i / dx_j in row i, column j, in float64.
    xhat : Tensor, shape (m,)
    scale : float
        |gamma| inv_std: the factor of all directions but two.
    """

    matrix: Tensor
    xhat: Tensor
    scale: float

    @property
    def singular_values(self) -> np.ndarray:
        """All m singular values, the largest first."""
        return np.linalg.svd(self.matrix.numpy(), compute_uv=False)

    @property
    def rank(self) -> int:
        """The number of singular values above 1e-8 of ``scale``: m - 2, or m - 1 for a large eps."""
        return int((self.singular_values > 1e-8 * self.scale).sum())

    @property
    def null_space(self) -> tuple[Tensor, Tensor]:
        """A basis of the null space as eps goes to 0: ones, and xhat (which is 0 if all values are equal)."""
        return self.xhat.filled(1), self.xhat

    def rows(self) -> Iterable[tuple[str, ...]]:
        m, rank = len(self.xhat), self.rank
        found = Counter(f"{v:.3g}" for v in [*self.singular_values[:rank], *[0] * (m - rank)])
        yield f"dy_i / dx_j, {m} x {m}", "value"
        for i in range(m if m <= MOST else 0):
            yield f"y_{i + 1} by x_1 ... x_{m}", shown(self.matrix[i], MOST)
        yield "rank", str(rank)
        yield "singular values", ", ".join(f"{n} of {word}" for word, n in found.items())
        yield "|gamma| inv_std", f"{self.scale:.3g}"
        yield "xhat", shown(self.xhat, MOST)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw a heat map of the matrix, a matplotlib Figure, and save it to ``path`` in the format of its name."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(
                'Jacobian.plot needs matplotlib: install it with pip install "minigrad-bn[examples]"'
            ) from error
        matrix = self.matrix.numpy()
        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.subplots()
        most = float(np.abs(matrix).max())  # so that 0 is the middle of the colours
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        axes.set(xlabel="j, of x", ylabel="i, of y", title=f"dy_i / dx_j, rank {self.rank}")
        figure.colorbar(image)
        if path is not None:
            figure.savefig(path)
        return figure


def jacobian(x: Any, gamma: float = 1.0, eps: float = 1e-12) -> Jacobian:
    """Compute the m x m Jacobian of batch norm for m values of one feature, by one backward pass, in float64.

    The feature is repeated in m channels, and the loss takes y_i of channel i alone: the gradient of that channel is
    row i.

    Parameters
    ----------
    x : Tensor, array or list, shape (m,)
    gamma : float
    eps : float
        The default has no visible effect.

    Returns
    -------
    Jacobian

    Raises
    ------
    ValueError
        If x is not a vector of at least two values, or eps <= 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> found = mg.study.jacobian([1, 2, 3, 6], eps=1e-12)
    >>> found.rank, found.singular_values.round(4)
    (2, array([0.5345, 0.5345, 0.    , 0.    ]))
    >>> found
    dy_i / dx_j, 4 x 4  value
    y_1 by x_1 ... x_4  0.248, -0.21, -0.134, 0.0955
    y_2 by x_1 ... x_4  -0.21, 0.363, -0.134, -0.0191
    y_3 by x_1 ... x_4  -0.134, -0.134, 0.401, -0.134
    y_4 by x_1 ... x_4  0.0955, -0.0191, -0.134, 0.0573
    rank                2
    singular values     2 of 0.535, 2 of 0
    |gamma| inv_std     0.535
    xhat                -1.07, -0.535, 0, 1.6
    """
    x = x.detach().astype(np.float64) if isinstance(x, Tensor) else tensor(x, dtype=np.float64)
    if x.ndim != 1 or x.size < 2:
        raise ValueError(f"jacobian: expected a vector of at least 2 values, got shape {x.shape}")
    if not eps > 0:
        raise ValueError(f"jacobian: expected eps > 0, got {eps}")
    m = x.size
    column = x.reshape(m, 1)
    channels = tensor(column.broadcast_to((m, m)), requires_grad=True, backend=x.backend)
    gammas = full(m, gamma, dtype=np.float64, backend=x.backend)
    y, _, _ = batch_norm(channels, gammas, None, eps=eps)
    matrix = grad(y, channels, tensor(np.eye(m), backend=x.backend)).T
    xhat, _, var = batch_norm(column, None, None, eps=eps)
    return Jacobian(matrix, xhat.reshape(m), abs(gamma) / math.sqrt(var.item() + eps))
