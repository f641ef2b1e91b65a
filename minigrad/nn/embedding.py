"""Embedding: a table of vectors, one for each index."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..ops.arithmetic import where
from ..ops.checks import require_tensor
from ..ops.random import generator
from ..tape import untraced
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

STANDARD_NORMAL = partial(init.normal, std=1.0)


class Embedding(Module):
    """``weight[indices]``: the row of each index; rows that are picked more than once collect their gradients.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        An index whose row starts as zeros and gets no gradient.
    weight_init
        Standard normal by default.
    rng, dtype
        As for ``Linear``.

    Attributes
    ----------
    weight : Parameter, shape (num_embeddings, embedding_dim)

    Examples
    --------
    >>> import minigrad as mg
    >>> words = mg.tensor([[0, 2, 2], [1, 0, 3]], dtype="int64")
    >>> mg.nn.Embedding(4, 5)(words).shape
    (2, 3, 5)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        weight_init: init.Init = STANDARD_NORMAL,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        init.require_positive(
            "Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim
        )
        n, i = num_embeddings, padding_idx
        if i is not None and not (hasattr(i, "__index__") and -n <= i < n):
            raise ValueError(
                f"Embedding: expected padding_idx as an index of {n} embeddings or None, got {i!r}"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if i is None else i % n
        dtype = init.floating_dtype("Embedding", dtype)
        shape = n, embedding_dim
        rows = init.drawn("Embedding", weight_init, shape, generator(rng), dtype).numpy()
        if self.padding_idx is not None:
            rows[self.padding_idx] = 0
        self.weight = Parameter(rows)

    def forward(self, indices: Tensor) -> Tensor:
        require_tensor("Embedding", indices=indices)
        if indices.dtype.kind not in "iu":
            raise TypeError(
                f"{self.title()}: expected indices of an integer dtype, got {indices.dtype}; cast them with "
                ".astype('int64')"
            )
        n, indices = self.num_embeddings, indices.astype("int64")
        try:
            y = self.weight[where(indices < 0, n, indices)]  # which would count from the end
        except IndexError:
            with untraced():
                got = min(indices.min().item(), 0) or indices.max().item()
            raise IndexError(f"{self.title()}: expected indices 0 ... {n - 1}, got {got}") from None
        if self.padding_idx is None:
            return y
        padding = (indices == self.padding_idx).reshape(*indices.shape, 1)
        return where(padding, y.detach(), y)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
