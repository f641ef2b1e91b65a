"""Randomness: the default generator, and dropout.

A mask takes one draw from a generator, on the host; it is the seed from which the kernels compute the mask by Philox
(Salmon et al. 2011), so that a generator's seed gives the same mask on every backend.
"""

from __future__ import annotations

import os
from threading import local
from typing import Any

import numpy as np

from ..messages import explained, require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .checks import require_floating

_generator = np.random.default_rng()
_next = local()  # several threads may fork at once


def _before_fork() -> None:
    (seed,) = _generator.bit_generator.seed_seq.spawn(1)  # type: ignore[attr-defined,unused-ignore]
    _next.generator = np.random.default_rng(seed)


def _after_fork() -> None:
    global _generator
    _generator = _next.generator


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def manual_seed(seed: int) -> None:
    """Restart the generator that is used wherever none is given, from ``seed``.

    A forked process begins with a generator of its own, spawned from its parent's seed: the first, second, ... child
    since ``manual_seed`` draw other numbers than each other and the parent, and the same ones in every run.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    >>> a = mg.dropout(mg.ones(5))
    >>> mg.manual_seed(0)
    >>> bool((a == mg.dropout(mg.ones(5))).min())
    True
    """
    global _generator
    _generator = np.random.default_rng(seed)


def generator(rng: np.random.Generator | None) -> np.random.Generator:
    """``rng``, or the default generator for None.

    Raises
    ------
    TypeError
        If ``rng`` is neither.
    """
    if rng is None:
        return _generator
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator or None, got {type(rng).__name__}")
    return rng


class DropoutMask(Op):
    """1/(1-p) with probability 1-p, else 0, in the shape of x: a new mask each time."""

    differentiable = False
    __slots__ = ("p", "rng")

    def __init__(self, p: float, rng: np.random.Generator | None) -> None:
        self.p, self.rng = p, rng

    def draw(self) -> int:
        """The seed of the next mask."""
        return int(generator(self.rng).integers(2**63))

    def forward(self, k: Any, x: Any) -> Any:
        return k.dropout_mask(x, self.p, self.draw())


@explained
def dropout(x: Tensor, p: float = 0.5, rng: np.random.Generator | None = None) -> Tensor:
    """Zero each element with probability ``p`` and scale the rest by 1/(1-p), so that the mean stays.

    Parameters
    ----------
    x : Tensor
    p : float in [0, 1)
    rng : numpy.random.Generator, optional
        The default generator, set by ``manual_seed``, if left out.

    Raises
    ------
    ValueError
        If p is outside [0, 1).
    TypeError
        If x is not a Tensor of floating dtype, or rng not a Generator.
    """
    require_floating("dropout", x)
    require_numbers("dropout", p=p)
    if not 0 <= p < 1:
        raise ValueError(f"dropout: expected 0 <= p < 1, got {p}")
    generator(rng)
    return x * apply(DropoutMask(float(p), rng), x)
