"""The batch norm layer: the two ops, and the running statistics that connect them."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from operator import index
from typing import Any

import numpy as np

from ..contexts import Setting
from ..messages import old_name, renamed, require_numbers, warn
from ..ops.batch_norm import MoveStatistics, batch_norm, frozen_batch_norm, kept_axes
from ..ops.checks import require_floating
from ..ops.random import generator
from ..tape import moving, tracing, untraced
from ..tensor import Tensor, apply
from . import init
from .module import Buffer, Module, Parameter

#: the active ``minigrad.bn.Hooks`` on statistics; None outside of their ``with`` blocks
hooks: Setting[Any] = Setting("hooks", None)
CHOICES = {
    "ddof_norm": (0, 1),
    "ddof_running": (0, 1),
    "statistics": ("running", "batch", "population"),
    "on_nonfinite": ("raise", "skip"),
}


class BatchNorm(Module):
    """Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167).

    In training it normalizes by the statistics of the batch (``minigrad.batch_norm``, Algorithm 1) and updates the
    running ones, once per forward::

        running = momentum * running + (1 - momentum) * batch

    In eval it normalizes by the running statistics (``minigrad.frozen_batch_norm``, Algorithm 2, line 11).

    Parameters
    ----------
    num_features : int or tuple of ints
        The sizes of the feature axes.
    axis : int or tuple of ints
        The feature axes, each index of which has its own statistics: 1 by default, per channel for images in NCHW
        (section 3.2, over m' = N H W values); -1 for channels last; all but the first for batch norm per activation.
    momentum : float in [0, 1], or None
        The share of the running statistics that is kept, 0.99 by default, as in TensorFlow, Keras and Flax; PyTorch's
        momentum is one minus it. None computes the plain average over all batches so far.
    eps : float
        Added to the variance, under the square root.
    center, scale : bool
        Whether there is a ``beta``, and a ``gamma``.
    beta_init, gamma_init, running_mean_init, running_var_init : callable of (shape, rng)
        Zeros for beta and the mean, ones for gamma and the variance by default.
    ddof_norm, ddof_running : int
        The sum of the m squared deviations is divided by m - ddof: 0 by default for the variance that normalizes, 1 for
        the running one (Algorithm 2, line 10). A batch's own variance is on average smaller than the population's, by
        (m-1)/m, which inference needs. All frameworks use 0 for ``ddof_norm``; see ``CONVENTIONS`` for
        ``ddof_running``.
    statistics : {"running", "batch", "population"}
        What normalizes in eval: the running statistics; those of the current batch; or what
        ``population_statistics`` computed, in which case training updates nothing and eval without them is an error.
    on_nonfinite : {"raise", "skip"}
        What to do about statistics with NaN or Inf, which never enter the running ones: raise, or skip the update. A
        GPU raises at the next host read; until then optimizers update nothing.
    dtype : NumPy dtype
        Of parameters and buffers, float32 by default, which also serves float16 and bfloat16 inputs.

    Attributes
    ----------
    gamma, beta : Parameter, shape of ``num_features``, or None
    running_mean, running_var : Buffer, shape of ``num_features``
    num_batches : Buffer, int64, shape ()
        Number of batches in the running statistics.
    moving : bool
        Whether training updates the running statistics; see ``freeze``.
    frozen : bool
        Whether it normalizes as in eval in training too; see ``freeze``.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm(2, momentum=0.5)
    >>> y = bn(mg.tensor([[1, 10], [3, 30]]))
    >>> bn.running_mean, bn.running_var
    (Tensor([ 1., 10.]), Tensor([  1.5, 100.5]))
    """

    epsilon = old_name("epsilon", "eps")
    #: the op that updates the running statistics, one for all batches of a size
    move_op = staticmethod(lru_cache(maxsize=1024)(MoveStatistics))

    @renamed("epsilon", "eps")
    def __init__(
        self,
        num_features: int | tuple[int, ...],
        axis: int | tuple[int, ...] = 1,
        momentum: float | None = 0.99,
        eps: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_init: init.Init = init.zeros,
        gamma_init: init.Init = init.ones,
        running_mean_init: init.Init = init.zeros,
        running_var_init: init.Init = init.ones,
        ddof_norm: int = 0,
        ddof_running: int = 1,
        statistics: str = "running",
        on_nonfinite: str = "raise",
        dtype: Any = np.float32,
    ) -> None:
        self.num_features, self.momentum, self.eps = num_features, momentum, eps
        self.ddof_norm, self.ddof_running = ddof_norm, ddof_running
        self.statistics, self.on_nonfinite = statistics, on_nonfinite
        shape, axes, dtype = self._checked_settings(axis, dtype)
        self.axis = axes if isinstance(axis, (tuple, list)) else axes[0]

        def drawn(initializer: init.Init) -> Tensor:
            return init.drawn(type(self).__name__, initializer, shape, generator(None), dtype)

        self.gamma = Parameter(drawn(gamma_init)) if scale else None
        self.beta = Parameter(drawn(beta_init)) if center else None
        self._initial = drawn(running_mean_init).numpy(), drawn(running_var_init).numpy()
        self._reset(dtype, None)
        self.moving, self.frozen = statistics != "population", False

    def _checked_settings(self, axis: Any, dtype: Any) -> tuple[Any, tuple[int, ...], np.dtype]:
        """The shape of the statistics, the axes and the dtype; raise for settings that do not fit together."""
        name, features, momentum = type(self).__name__, self.num_features, self.momentum
        shape = features if isinstance(features, tuple) else (features,)
        axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        for size in shape or (0,):
            init.require_positive(name, num_features=size)
        require_numbers(name, eps=self.eps, momentum=0 if momentum is None else momentum)
        if not all(hasattr(a, "__index__") for a in axes):
            raise TypeError(f"{name}: expected axis as an int or a tuple of ints, got {axis!r}")
        dtype = init.floating_dtype(name, dtype)
        fits = {
            f"eps > 0, got {self.eps}, in {dtype}": dtype.type(self.eps) > 0,
            f"momentum in [0, 1] or None, got {momentum}": momentum is None or 0 <= momentum <= 1,
            f"one axis per feature dimension, got axis={axis} for num_features={features}": (
                len(axes) == len(shape)
            ),
            f"different axes, got {axis}": len(set(axes)) == len(axes),
            f"dtype float32, which serves float16 inputs too, or float64, got {dtype}": dtype
            in (np.float32, np.float64),
        }
        for setting, allowed in CHOICES.items():
            *first, last = map(repr, allowed)
            words = f"{setting} {', '.join(first)} or {last}, got {getattr(self, setting)!r}"
            fits[words] = getattr(self, setting) in allowed
        for words, fit in fits.items():
            if not fit:
                raise ValueError(f"{name}: expected {words}")
        return shape, tuple(map(index, axes)), dtype

    @classmethod
    @renamed("epsilon", "eps")
    def like(
        cls, framework: str, num_features: int | tuple[int, ...], **settings: Any
    ) -> BatchNorm:
        """A batch norm with another framework's defaults, which computes the same numbers.

        Parameters
        ----------
        framework : {"torch", "keras", "tf1", "chainer", "flax", "onnx", "paper"}
            A row of ``minigrad.nn.CONVENTIONS``: eps, momentum, ddof_running and axis, with their source.
        num_features : int or tuple of ints
        **settings
            Any other than the default: ``axis=1`` for channels first in Keras, ``ddof_running=1`` for TensorFlow's
            fused kernel on images.

        Examples
        --------
        >>> import minigrad as mg
        >>> mg.nn.BatchNorm.like("torch", 64)
        BatchNorm(64, axis=1, momentum=0.9, eps=1e-05)
        """
        rows = import_module("minigrad.nn.conventions").CONVENTIONS
        if framework not in rows:
            raise ValueError(
                f"{cls.__name__}.like: expected one of {', '.join(rows)}, got {framework!r}"
            )
        row = {k: v for k, v in rows[framework]._asdict().items() if k != "source"}
        return cls(num_features, **(row | settings))

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        """Normalize x.

        Parameters
        ----------
        x : Tensor
        mask : Tensor or array of booleans, optional
            False at padding, which is never read and whose output is 0. Its shape is that of x without the feature
            axes, or of the first of those.
        weight : Tensor or array of non-negative numbers, optional
            How often each position counts, instead of a mask; see ``minigrad.weighted_batch_norm``.
        """
        plain = mask is None and weight is None and not (self.frozen and self.moving)
        if not plain or hooks.variable.get():
            return import_module("minigrad.bn").forward(self, x, mask, weight)
        try:
            if self.statistics != "batch" and (self.frozen or not self.training):
                self.require_statistics()
                running = self.running_mean, self.running_var  # Algorithm 2, line 11
                return frozen_batch_norm(x, self.gamma, self.beta, *running, self.axis, self.eps)
            y, mean, var = batch_norm(x, self.gamma, self.beta, self.axis, self.eps, self.ddof_norm)
            if self.running_mean is None or mean._data.shape != self.running_mean._data.shape:
                self.require_features(x)
            if self.training and self.moving:
                self.move_statistics(mean, var, x._data.size // mean._data.size)
            return y
        except (TypeError, ValueError) as error:
            raise self.named(error, x) from error

    def move_statistics(self, mean: Tensor, var: Tensor, m: float) -> None:
        """Update the running statistics with those that normalized a batch of m values per channel."""
        a, b = mean._data, self.running_mean._data
        if a.dtype != b.dtype or type(a) is not type(b) or not m > self.ddof_running:
            self.require_fitting(mean, m)
        correction = (m - self.ddof_norm) / (m - self.ddof_running)  # Algorithm 2, line 10
        op = self.move_op(self.momentum, correction, self.on_nonfinite == "raise")
        with moving:
            apply(op, self.running_mean, self.running_var, self.num_batches, mean, var)

    def freeze(self, affine: bool = True, moving: bool = True, normalizing: bool = True) -> Any:
        """Keep what was learned until ``unfreeze``, whatever ``train()`` and ``eval()`` set; return this layer.

        Parameters
        ----------
        affine : bool
            Whether gamma and beta stop collecting gradients.
        moving : bool
            Whether the running statistics are no longer updated.
        normalizing : bool
            Whether training normalizes as eval does, instead of by the batch.
        """
        return self._switch(False, affine, moving, normalizing)

    def unfreeze(self, affine: bool = True, moving: bool = True, normalizing: bool = True) -> Any:
        """Undo ``freeze``, in the same three parts; return this layer."""
        return self._switch(True, affine, moving, normalizing)

    def _switch(self, on: bool, affine: bool, moving: bool, normalizing: bool) -> Any:
        for p in (self.gamma, self.beta):
            if affine and p is not None:
                p.requires_grad = on
        if moving:
            self.moving = on and self.statistics != "population"
            self.moving &= self.running_mean is not None
        if normalizing:
            self.frozen = not on
        return self

    def twin(self) -> Any:
        """A layer that shares gamma and beta and has its own statistics, for another place in the network."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        if self.running_mean is not None:
            other._reset(self.running_mean.dtype, self.running_mean.backend)
        return other

    def _reset(self, dtype: Any, backend: str | None) -> None:
        """Start from the initial statistics, with no batches counted."""
        self.running_mean, self.running_var = (Buffer(a, dtype, backend) for a in self._initial)
        self.num_batches = Buffer(np.zeros((), np.int64), backend=backend)
        self._checked = False

    def require_features(self, x: Tensor) -> None:
        """Raise unless x is a floating Tensor with this layer's features along its axes."""
        require_floating("batch_norm", x)
        shape = self.num_features if isinstance(self.num_features, tuple) else (self.num_features,)
        if kept_axes("batch_norm", x.shape, self.axis)[1] != shape:
            raise ValueError(
                f"expected {self.num_features} features along axis {self.axis}, got an input of shape {x.shape}"
            )

    def require_fitting(self, mean: Tensor, m: float) -> None:
        """Raise unless statistics of m values per channel can enter the running ones."""
        running = self.running_mean
        if mean.dtype != running.dtype:
            raise TypeError(
                f"x is {mean.dtype} and the running statistics {running.dtype}: cast x with "
                f"x.astype('{running.dtype}'), or build the layer with dtype='{mean.dtype}'"
            )
        if mean.backend != running.backend:
            raise TypeError(
                f"running statistics are on {running.backend}, the batch on {mean.backend}"
            )
        if not m > self.ddof_running:
            raise ValueError(
                f"expected more than ddof_running={self.ddof_running} values per channel, got {m}"
            )

    def require_statistics(self) -> None:
        """Warn once of running statistics that were not updated yet; raise where nothing else will."""
        if self._checked:
            return
        with untraced():
            now = self.running_mean.numpy(), self.running_var.numpy()
            initial = not self.num_batches.item() and all(map(np.array_equal, now, self._initial))
        if initial and self.statistics == "population":
            raise ValueError(
                "there are no population statistics yet; call minigrad.nn.population_statistics"
            )
        if initial:
            warn(
                f"{self.title()}: eval with running statistics that were never fed; train it, load "
                "a state, or call minigrad.nn.population_statistics"
            )
        if tracing.get() is None:
            self._checked = True

    def named(self, error: Exception, x: Tensor) -> Exception:
        """``error``, or a more precise one about the features of x, with the layer's name before its message."""
        try:
            self.require_features(x)
        except (TypeError, ValueError) as precise:
            error = precise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return kind(f"{self.title()}: {error}")

    def extra_repr(self) -> str:
        parts = [f"{self.num_features}"]
        parts += [f"{k}={getattr(self, k)}" for k in ("axis", "momentum", "eps")]
        defaults = {"ddof_norm": 0, "ddof_running": 1, "statistics": "running"}
        parts += [f"{k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v]
        parts += [] if self.beta is not None else ["center=False"]
        parts += [] if self.gamma is not None else ["scale=False"]
        return ", ".join(parts)
