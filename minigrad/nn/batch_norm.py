"""The batch norm layer: the two ops, the statistics it remembers, and the switches between them."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from ..messages import old_name, renamed, require_numbers, warn
from ..ops.arithmetic import where
from ..ops.batch_norm import batch_norm, frozen_batch_norm, kept_axes
from ..ops.checks import require_floating
from ..ops.moments import Moments, moments, position_weights, weighted_batch_norm
from ..ops.random import generator
from ..tape import listening, no_grad, unheard
from ..tensor import Tensor
from . import init
from .conventions import CONVENTIONS
from .module import Parameter
from .running import RunningStatistics
from .statistics import merging


class BatchNorm(RunningStatistics):
    """Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167).

    In training it normalizes by the statistics of the batch (``minigrad.batch_norm``, Algorithm 1) and moves the
    running ones, once per forward::

        running = momentum * running + (1 - momentum) * batch

    In eval it normalizes by the running statistics (``minigrad.frozen_batch_norm``, Algorithm 2, line 11).

    Parameters
    ----------
    num_features : int or tuple of ints
        The sizes of the kept axes, in their order in the input.
    axis : int or tuple of ints
        The axes that keep statistics of their own: 1 by default, per channel for images in NCHW (section 3.2, over
        m' = N H W values); -1 for channels last; all but the first for batch norm per activation.
    momentum : float in [0, 1], or None
        How much of the running statistics stays, 0.99 by default, as in TensorFlow, Keras and Flax; PyTorch's momentum
        is one minus it. None makes them the plain average over all batches so far.
    eps : float
        Added to the variance, under the square root.
    center, scale : bool
        Whether there is a ``beta``, and a ``gamma``.
    beta_init, gamma_init, running_mean_init, running_var_init : callable of (shape, rng)
        Zeros for beta and the mean, ones for gamma and the variance by default.
    ddof_norm, ddof_running : int
        The sum of the m squared deviations is divided by m - ddof: 0 by default for what normalizes, 1 for what is
        remembered (Algorithm 2, line 10: m/(m-1) times the batch's variance). A batch is normalized by its own spread,
        exactly; but its spread around its own mean is on average smaller than the population's, by (m-1)/m, and the
        population's is what inference needs. ``ddof_norm`` is 0 everywhere; ``ddof_running`` is 1 in the paper,
        PyTorch, Chainer and TensorFlow's fused kernel, 0 in Keras, Flax, ONNX and TensorFlow otherwise.
    statistics : {"running", "batch", "population"}
        What normalizes in eval: the running statistics; those of the batch at hand; or what
        ``population_statistics`` found, in which case training moves nothing and eval without them is an error.
    on_nonfinite : {"raise", "skip"}
        What to do about statistics with NaN or Inf, which never enter the running ones: raise, or leave those as they
        are and go on. A GPU raises when values are read the next time; until then optimizers move nothing.
    dtype : NumPy dtype
        Of parameters and buffers, float32 by default, which also serves float16 and bfloat16 inputs.

    Attributes
    ----------
    gamma, beta : Parameter, shape of ``num_features``, or None
    running_mean, running_var : Buffer, shape of ``num_features``
    num_batches : Buffer, int64, shape ()
        Batches that the running statistics have seen.
    moving : bool
        Whether training moves the running statistics; see ``freeze``.
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
        name = type(self).__name__
        shape = num_features if isinstance(num_features, tuple) else (num_features,)
        for size in shape or (0,):
            init.require_positive(name, num_features=size)
        require_numbers(name, eps=eps)
        dtype = init.floating_dtype(name, dtype)
        if not dtype.type(eps) > 0:
            raise ValueError(f"{name}: expected eps > 0, got {eps}, in {dtype}")
        given = axis if isinstance(axis, (tuple, list)) else (axis,)
        if not all(hasattr(a, "__index__") for a in given):
            raise TypeError(f"{name}: expected axis as an int or a tuple of ints, got {axis!r}")
        axes = tuple(map(index, given))
        if len(axes) != len(shape):
            raise ValueError(
                f"{name}: expected one axis per feature dimension, got axis={axis} for "
                f"num_features={num_features}"
            )
        if len(set(axes)) < len(axes):
            raise ValueError(f"{name}: an axis is given twice in {axis}")
        if ddof_norm not in (0, 1):
            raise ValueError(f"{name}: expected ddof_norm 0 or 1, got {ddof_norm}")
        if statistics not in ("running", "batch", "population"):
            raise ValueError(
                f"{name}: expected statistics 'running', 'batch' or 'population', got {statistics!r}"
            )
        rng = generator(None)
        self.gamma = Parameter(init.drawn(name, gamma_init, shape, rng, dtype)) if scale else None
        self.beta = Parameter(init.drawn(name, beta_init, shape, rng, dtype)) if center else None
        inits = running_mean_init, running_var_init
        super().__init__(shape, momentum, ddof_running, on_nonfinite, inits, dtype)
        self.num_features = num_features
        self.axis = axes if isinstance(axis, (tuple, list)) else axes[0]
        self.eps, self.ddof_norm, self.statistics = eps, ddof_norm, statistics
        self.moving = statistics != "population"
        self.frozen = self._checked = False

    @classmethod
    @renamed("epsilon", "eps")
    def like(cls, framework: str, num_features: int | tuple[int, ...], **settings: Any) -> Any:
        """A batch norm with another framework's defaults, which compute the same numbers as its.

        Parameters
        ----------
        framework : {"torch", "keras", "tf1", "chainer", "flax", "onnx", "paper"}
            A row of ``minigrad.nn.CONVENTIONS``: eps, momentum, ddof_running and axis, with their source.
        num_features : int or tuple of ints
        **settings
            Any other than the default: ``axis=1`` for channels first in Keras, ``ddof_running=1`` for TensorFlow's
            fused kernel on images.

        Raises
        ------
        ValueError
            For a framework that has no row.

        Examples
        --------
        >>> import minigrad as mg
        >>> mg.nn.BatchNorm.like("torch", 64)
        BatchNorm(64, axis=1, momentum=0.9, eps=1e-05)
        """
        if framework not in CONVENTIONS:
            raise ValueError(
                f"{cls.__name__}.like: expected one of {', '.join(CONVENTIONS)}, got {framework!r}"
            )
        row = CONVENTIONS[framework]._asdict()
        del row["source"]
        return cls(num_features, **(row | settings))

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        """Normalize x.

        Parameters
        ----------
        x : Tensor
        mask : Tensor or array of booleans, optional
            True where x is real; the rest is padding, which is never read and whose output is 0. Its shape is that of
            x without the kept axes, or of the first of those.
        weight : Tensor or array of non-negative numbers, optional
            How often each position counts, instead of a mask; see ``minigrad.weighted_batch_norm``.
        """
        try:
            self._require_features(x)
            if mask is not None:
                if weight is not None:
                    raise ValueError(
                        "expected a mask or a weight, got both; a weight of 0 is a mask"
                    )
                weight = x.lift_index(mask, "batch_norm")
                if weight.dtype.kind != "b":
                    raise TypeError(f"expected a boolean mask, got dtype {weight.dtype}")
            if weight is None:
                return self._normalized(x, None)
            there = position_weights("batch_norm", x, weight, self.axis) > 0
            return where(there, self._normalized(where(there, x, 0.0), weight), 0.0)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{self.title()}: {error}") from error

    def _normalized(self, x: Tensor, weight: Any) -> Tensor:
        if (self.frozen or not self.training) and self.statistics != "batch":
            return self._by_running(x, weight)
        return self._by_batch(x, weight)

    def _by_batch(self, x: Tensor, weight: Any) -> Tensor:
        y, mean, var, m = self.normalize(x, self.gamma, self.beta, weight)
        if self.training:
            self.collect(mean, var, m)
        return y

    def _by_running(self, x: Tensor, weight: Any) -> Tensor:
        self._require_fed()
        mean: Tensor = self.running_mean
        var: Tensor = self.running_var
        moves = self.training and self.moving
        if moves:  # they move before the backward pass, which needs them as they are
            mean, var = mean + 0, var + 0
        y = frozen_batch_norm(x, self.gamma, self.beta, mean, var, self.axis, self.eps)
        if moves:
            with no_grad():
                found = self._moments(x, weight)
                self.collect(found.mean, found.var(), found.count.item())
        return y

    def _moments(self, x: Tensor, weight: Any) -> Moments:
        """Those of the batch, whatever parts it comes in."""
        own, merge = moments(x, self.axis, weight), merging.get()
        found = own if merge is None else merge(self, own)
        if not found.count.item() > 1:
            raise ValueError(
                f"expected more than one value per channel in the whole batch, got {found.count.item()}; for "
                "inference call model.eval() first, in training use larger batches, or drop_last=True"
            )
        return found

    def normalize(
        self, x: Tensor, gamma: Tensor | None, beta: Tensor | None, weight: Any
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        """y by the statistics of this batch; its mean, biased variance, and values per channel."""
        axis, eps, ddof = self.axis, self.eps, self.ddof_norm
        if merging.get() is not None:
            found = self._moments(x, weight)
            y = frozen_batch_norm(x, gamma, beta, found.mean, found.var(ddof), axis, eps)
        elif weight is not None:
            y, found = weighted_batch_norm(x, weight, gamma, beta, axis, eps, ddof)
        else:
            y, mean, var = batch_norm(x, gamma, beta, axis, eps, ddof)
            m = x._data.size // mean._data.size
            return y, mean, var * ((m - ddof) / m) if ddof else var, m
        return y, found.mean, found.var(), found.count.item()

    def freeze(self, affine: bool = True, moving: bool = True, normalizing: bool = True) -> Any:
        """Hold on to what was learned, through ``train()`` and ``eval()``, until ``unfreeze``; return this layer.

        Parameters
        ----------
        affine : bool
            Whether gamma and beta stop collecting gradients.
        moving : bool
            Whether the running statistics stop moving.
        normalizing : bool
            Whether training normalizes by what eval does, instead of by the batch.
        """
        return self._switch(False, affine, moving, normalizing)

    def unfreeze(self, affine: bool = True, moving: bool = True, normalizing: bool = True) -> Any:
        """Undo ``freeze``, in the same three parts; return this layer."""
        return self._switch(True, affine, moving, normalizing)

    def _switch(self, on: bool, affine: bool, moving: bool, normalizing: bool) -> Any:
        if affine:
            for p in (self.gamma, self.beta):
                if p is not None:
                    p.requires_grad = on
        if moving:
            self.moving = on and self.statistics != "population"
        if normalizing:
            self.frozen = not on
        return self

    def twin(self) -> Any:
        """A layer with the same gamma and beta, and statistics of its own: for another place in the network."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.start(self.running_mean.dtype, self.running_mean.backend)
        other._checked = False
        return other

    def _require_features(self, x: Tensor) -> None:
        require_floating("batch_norm", x)
        shape, axis = x._data.shape, self.axis
        if type(axis) is int and 1 < len(shape) > axis >= -len(shape):
            features: Any = (shape[axis],)
        else:
            features = kept_axes("batch_norm", shape, axis)[1]
        if features != self.running_mean._data.shape:
            raise ValueError(
                f"expected {self.num_features} features along axis {axis}, "
                f"got an input of shape {shape}"
            )

    def _require_fed(self) -> None:
        """Warn once, or raise if they are all there is, of statistics that were never fed."""
        if self._checked:
            return
        with unheard():
            fed = self.fed()
        if not fed:
            if self.statistics == "population":
                raise ValueError(
                    "there are no population statistics yet; call minigrad.nn.population_statistics"
                )
            warn(
                f"{self.title()}: eval with running statistics that were never fed; train it, load "
                "a state, or call minigrad.nn.population_statistics"
            )
        if listening.get() is None:
            self._checked = True

    def extra_repr(self) -> str:
        parts = [f"{self.num_features}", f"axis={self.axis}", f"momentum={self.momentum}"]
        parts += [f"eps={self.eps}"]
        defaults = {"ddof_norm": 0, "ddof_running": 1, "statistics": "running"}
        parts += [f"{k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v]
        parts += [] if self.beta is not None else ["center=False"]
        parts += [] if self.gamma is not None else ["scale=False"]
        return ", ".join(parts)
