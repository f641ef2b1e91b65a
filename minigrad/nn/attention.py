"""Attention: each element of a sequence is a weighted mean of the others' values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops.activation import softmax
from ..ops.arithmetic import where
from ..ops.checks import require_floating
from ..ops.random import generator
from ..tensor import Tensor
from . import init
from .layers import Linear
from .module import Module


class Attention(Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2)::

        softmax(Q K^T / sqrt(d)) V,   with Q, K, V three linear maps of the inputs, cut into heads of d features

    Parameters
    ----------
    features : int
        Of each element, in and out.
    heads : int
        Must divide the features; 1 by default.
    rng : numpy.random.Generator, optional
        By default the one that ``minigrad.manual_seed`` seeds.
    dtype : NumPy dtype
        float32 by default.

    Attributes
    ----------
    query, key, value, output : Linear

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.nn.Attention(8, heads=2)(mg.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        features: int,
        heads: int = 1,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        init.require_positive("Attention", features=features, heads=heads)
        if features % heads:
            raise ValueError(
                f"Attention: expected heads that divide {features} features, got {heads}"
            )
        rng = generator(rng)
        self.features, self.heads = features, heads
        maps = [Linear(features, features, rng=rng, dtype=dtype) for _ in range(4)]
        self.query, self.key, self.value, self.output = maps

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Any = None) -> Tensor:
        """Attend from each element of x to those of ``memory``, x itself by default.

        Parameters
        ----------
        x : Tensor, shape (n, time, features)
        memory : Tensor, shape (n, steps, features), optional
        mask : Tensor or array of booleans, optional
            True where attention is allowed: (time, steps), or (n, 1, steps) to exclude padding, or any shape that
            broadcasts against (n, time, steps). Each element must be allowed to attend to at least one.
        """
        memory = x if memory is None else memory
        for t in (x, memory):
            require_floating(self.title(), t)
            if t.ndim != 3 or t.shape[2] != self.features:
                raise ValueError(
                    f"{self.title()}: expected shape (n, time, {self.features}), got {t.shape}"
                )
        maps = (self.query, x), (self.key, memory), (self.value, memory)
        q, k, v = (self._heads(linear(t)) for linear, t in maps)
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(self.features // self.heads)
        if mask is not None:
            allowed = x.lift_index(mask, self.title())
            if allowed.ndim == 3:
                allowed = allowed.reshape(allowed.shape[0], 1, *allowed.shape[1:])
            scores = where(allowed, scores, -1e9 if scores.dtype.itemsize > 2 else -6e4)
        found = softmax(scores) @ v
        return self.output(found.transpose(0, 2, 1, 3).reshape(x.shape))

    def _heads(self, t: Tensor) -> Tensor:
        """(n, time, features) as (n, heads, time, features of a head)."""
        n, time, features = t.shape
        return t.reshape(n, time, self.heads, features // self.heads).transpose(0, 2, 1, 3)

    def extra_repr(self) -> str:
        return f"{self.features}, heads={self.heads}"
