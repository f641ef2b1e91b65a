"""Variants of batch norm: other statistics, the same ops."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..messages import kind_of, old_name, renamed, require_numbers
from ..nn import init
from ..nn.batch_norm import BatchNorm
from ..nn.module import Buffer, Module
from ..ops.batch_norm import MoveStatistics, PerChannel, frozen_batch_norm, kept_axes
from ..ops.shape import concatenate
from ..tape import decided, no_grad
from ..tensor import Tensor
from .hooks import Normalized, accepts, current, forward, normalize

Schedule = Callable[[int], float]


class DebiasedBatchNorm(BatchNorm):
    """BatchNorm whose running statistics do not depend on their initial values.

    After n batches an exponential average has weight 1 - momentum^n, and the rest is still its initial value: with
    momentum 0.99, more than a third after 100 batches. Divided by that weight, as in Adam (Kingma & Ba 2015,
    arXiv:1412.6980, section 3), it is an average of batches from the first one on.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = DebiasedBatchNorm(1, momentum=0.99)
    >>> y = bn(mg.tensor([[1.0], [3.0]]))
    >>> bn.running_mean, bn.running_var
    (Tensor([2.]), Tensor([2.]))
    """

    move_op = staticmethod(lru_cache(maxsize=1024)(partial(MoveStatistics, debiased=True)))

    def __init__(self, num_features: int | tuple[int, ...], **settings: Any) -> None:
        super().__init__(num_features, **settings)
        if self.momentum == 1:
            raise ValueError("DebiasedBatchNorm: expected momentum < 1, which gathers no weight")


class GhostBatchNorm(BatchNorm):
    """Batch norm by virtual batches: large batches with the noise of small ones (Hoffer et al. 2017, arXiv:1705.08741).

    Each ``virtual_batch_size`` examples are normalized by their own statistics; the remainder is a smaller virtual
    batch, which must have a variance. The running statistics are updated once for each, in order (Algorithm 1 there).
    They cannot be merged: micro-batches of whole virtual batches need no merging.

    Parameters
    ----------
    num_features : int or tuple of ints
    virtual_batch_size : int
    **settings
        As for ``BatchNorm``; axis 0 is the batch.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = GhostBatchNorm(1, virtual_batch_size=2)
    >>> bn(mg.tensor([[1.0], [3.0], [10.0], [30.0]])).T.detach().clip(-1, 1)
    Tensor([[-0.9995004,  0.9995004, -0.999995 ,  0.999995 ]])
    """

    def __init__(
        self, num_features: int | tuple[int, ...], virtual_batch_size: int, **settings: Any
    ) -> None:
        super().__init__(num_features, **settings)
        init.require_positive(type(self).__name__, virtual_batch_size=virtual_batch_size)
        self.virtual_batch_size = virtual_batch_size

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        return forward(self, x, mask, weight, self._by_virtual_batches)

    def _by_virtual_batches(self, x: Tensor, weight: Any) -> Normalized:
        if current().merge is not None:
            raise ValueError("virtual batches have statistics of their own, which are not merged")
        if 0 in kept_axes("batch_norm", x.shape, self.axis)[0]:
            raise ValueError(f"axis 0 is the batch, and cannot be kept, got axis={self.axis}")
        if weight is not None:
            weight = x.lift_index(weight, "batch_norm")
        size, found = self.virtual_batch_size, []
        for i in range(0, max(len(x), 1), size):
            w = None if weight is None else weight[i : i + size]
            found.append(normalize(self, x[i : i + size], w, self.gamma, self.beta))
        statistics = [own for _, own in found]
        if self.training and self.moving:  # all of them or, if one raises, none
            statistics = [s for s in statistics if accepts(self, *s)]
        return concatenate([y for y, _ in found]), statistics

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"


class BatchRenorm(BatchNorm):
    """Batch renormalization (Ioffe 2017, arXiv:1702.03275): the same function in training and inference.

    The batch's normalized values are corrected towards those by the running statistics::

        y = gamma (xhat r + d) + beta,    r = sigma / sigma_running      clipped to [1 / r_max, r_max]
                                          d = (mean - mean_running) / sigma_running     to [-d_max, d_max]

    r and d are constants to the gradient. Unclipped, the output is that of eval mode; with r_max = 1 and d_max = 0 it
    is plain batch norm, with which training should start.

    Parameters
    ----------
    num_features : int or tuple of ints
    r_max, d_max : float >= 1 and >= 0, or callable of the number of batches so far
        Bounds of the correction. By default the paper's schedules: 1 for 5,000 batches, then linearly to 3 at 40,000;
        and 0, then linearly to 5 at 25,000.
    **settings
        As for ``BatchNorm``.
    """

    def __init__(
        self,
        num_features: int | tuple[int, ...],
        r_max: float | Schedule | None = None,
        d_max: float | Schedule | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(num_features, **settings)
        if self.statistics == "population":
            raise ValueError("BatchRenorm: corrects towards running statistics, which must move")
        self.r_max = ramp(1, 3, 5_000, 40_000) if r_max is None else r_max
        self.d_max = ramp(0, 5, 5_000, 25_000) if d_max is None else d_max
        self.bounds()

    def bounds(self) -> tuple[float, float]:
        """Current r_max and d_max."""
        bounds = self.r_max, self.d_max
        r, d = (b(int(self.num_batches.item())) if callable(b) else b for b in bounds)
        require_numbers("BatchRenorm", r_max=r, d_max=d)
        if not r >= 1 or not d >= 0:
            raise ValueError(f"BatchRenorm: expected r_max >= 1 and d_max >= 0, got {r} and {d}")
        return r, d

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        return forward(self, x, mask, weight, self._renormalized)

    def _renormalized(self, x: Tensor, weight: Any) -> Normalized:
        r_max, d_max = self.bounds()
        xhat, (mean, var, m) = normalize(self, x.widened(), weight, None, None)
        with no_grad():
            running = (self.running_var + self.eps).sqrt()
            r = ((var + self.eps).sqrt() / running).clip(1 / r_max, r_max)
            d = ((mean - self.running_mean) / running).clip(-d_max, d_max)
        scale = r if self.gamma is None else self.gamma * r
        shift = d if self.gamma is None else self.gamma * d
        shift = shift if self.beta is None else shift + self.beta
        channels = PerChannel(kept_axes("batch_norm", x.shape, self.axis)[0])
        y = (channels.wide(scale, x) * xhat + channels.wide(shift, x)).astype(x.dtype)
        return y, [(mean, var, m)]


def ramp(start: float, stop: float, begin: int, end: int) -> Schedule:
    """A schedule: ``start`` until ``begin`` batches, ``stop`` from ``end`` batches on, linear in between.

    Examples
    --------
    >>> r_max = ramp(1, 3, 5_000, 40_000)
    >>> r_max(0), r_max(22_500), r_max(50_000)
    (1.0, 2.0, 3.0)
    """

    def schedule(batches: int) -> float:
        return start + (stop - start) * min(max((batches - begin) / (end - begin), 0.0), 1.0)

    return schedule


class FrozenBatchNorm(Module):
    """Batch norm with everything frozen: one affine op without parameters or updates, in training and eval alike.

    For fine-tuning on batches too small to have statistics. Its buffers have the names of ``BatchNorm``'s parameters
    and buffers, so that a state of one loads into it (``strict=False`` ignores ``num_batches``).

    Parameters
    ----------
    num_features : int or tuple of ints
    axis : int or tuple of ints
    eps : float
    dtype : NumPy dtype

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm(2)
    >>> y = bn(mg.tensor([[1, 10], [3, 30]]))
    >>> frozen = FrozenBatchNorm.of(bn)
    >>> frozen.parameters()
    []
    >>> bool((frozen(y) == bn.eval()(y)).min())
    True
    """

    epsilon = old_name("epsilon", "eps")

    @renamed("epsilon", "eps")
    def __init__(
        self,
        num_features: int | tuple[int, ...],
        axis: int | tuple[int, ...] = 1,
        eps: float = 1e-3,
        dtype: Any = np.float32,
    ) -> None:
        like = BatchNorm(num_features, axis, eps=eps, dtype=dtype)
        self.num_features, self.axis, self.eps = num_features, like.axis, eps
        self.gamma, self.beta = (Buffer(p) for p in like.parameters())
        self.running_mean, self.running_var = like.running_mean, like.running_var

    @classmethod
    def of(cls, layer: BatchNorm) -> FrozenBatchNorm:
        """Freeze what ``layer`` computes in eval now, on the same backend; ValueError if that is not affine."""
        if not isinstance(layer, BatchNorm):
            raise TypeError(f"FrozenBatchNorm.of: expected a BatchNorm, got {kind_of(layer)}")
        if layer.statistics == "batch":
            raise ValueError(
                "FrozenBatchNorm.of: expected statistics to freeze, got statistics='batch'"
            )
        dtype, backend = layer.running_mean.dtype, layer.running_mean.backend
        frozen = cls(layer.num_features, layer.axis, layer.eps, dtype)
        frozen.load_state_dict(layer.state_dict(), strict=False)
        return frozen.to(backend)

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        try:
            return frozen_batch_norm(x, self.gamma, self.beta, *statistics, self.axis, self.eps)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.title()}: {error}") from error

    def extra_repr(self) -> str:
        return f"{self.num_features}, axis={self.axis}, eps={self.eps}"


class RecurrentBatchNorm(Module):
    """Batch norm in a recurrent network: statistics for each time step, one gamma and one beta (Cooijmans et al. 2017).

    Activations of the first steps differ much from later ones, so each of ``max_steps`` steps keeps its own statistics
    (arXiv:1603.09025, section 3). Longer sequences use those of the last step that was trained. gamma starts at 0.1,
    so that tanh does not saturate (section 4).

    Parameters
    ----------
    num_features : int or tuple of ints
    max_steps : int
        Number of steps with statistics of their own.
    **settings
        As for ``BatchNorm``.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = RecurrentBatchNorm(3, max_steps=2)
    >>> h = [bn(mg.arange(6).reshape(2, 3), step) for step in range(5)]
    >>> [int(layer.num_batches.item()) for layer in bn.steps], len(bn.parameters())
    ([1, 4], 2)
    """

    def __init__(
        self, num_features: int | tuple[int, ...], max_steps: int, **settings: Any
    ) -> None:
        init.require_positive(type(self).__name__, max_steps=max_steps)
        first = BatchNorm(
            num_features, **{"gamma_init": partial(init.constant, value=0.1), **settings}
        )
        self.steps = [first, *(first.twin() for _ in range(max_steps - 1))]

    def forward(self, x: Tensor, step: int, mask: Any = None) -> Tensor:
        """Normalize x by the statistics of time ``step``, counted from 0."""
        if not hasattr(step, "__index__") or step < 0:
            raise ValueError(f"{self.title()}: expected step as an int >= 0, got {step!r}")
        return self._layer(step)(x, mask)

    def _layer(self, step: int) -> BatchNorm:
        last = min(step, len(self.steps) - 1)
        if self.steps[last].training:
            return self.steps[last]
        return self.steps[decided(partial(self._trained, last))]

    def _trained(self, last: int) -> int:
        """The last of the first ``last + 1`` steps that was trained; ``last`` if none was."""
        trained = [i for i in range(last + 1) if self.steps[i].num_batches.item()]
        return trained[-1] if trained else last
