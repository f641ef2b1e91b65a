"""The functions: dense and batch_normalization of ``tf.layers``, and ``tf.nn.moments``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..nn import init
from ..nn.batch_norm import BatchNorm
from ..nn.module import Buffer
from ..ops.batch_norm import statistics_dtype
from ..ops.checks import require_floating
from ..ops.linear import linear
from ..ops.reduction import normalize_axes
from ..tensor import Tensor
from .scopes import Call, Regularizer, Scope


def dense(
    inputs: Tensor,
    units: int,
    activation: Callable[[Tensor], Tensor] | None = None,
    use_bias: bool = True,
    kernel_initializer: init.Init = init.glorot_uniform,
    bias_initializer: init.Init = init.zeros,
    kernel_regularizer: Regularizer | None = None,
    bias_regularizer: Regularizer | None = None,
    trainable: bool = True,
    name: str | Scope | None = None,
    reuse: bool | None = None,
) -> Tensor:
    """activation(inputs @ kernel + bias), over the last axis.

    Parameters
    ----------
    inputs : Tensor, shape (..., in), at least 2 axes
    units : int
    activation : callable, optional
    use_bias : bool
        Leave it out before ``batch_normalization``, whose ``beta`` does its work.
    kernel_initializer, bias_initializer : callable of (shape, rng)
        Of ``minigrad.nn.init``, which has weights as (out, in): the kernel is asked for as (units, in) and transposed.
    kernel_regularizer, bias_regularizer : callable of a Tensor, optional
        A variable's part of ``regularization_loss``, shape ().
    trainable : bool
        Whether the variables collect gradients.
    name : str or Scope, optional
        "dense", "dense_1", ..., whichever is the next in this scope, if left out.
    reuse : bool, optional
        Whether the variables must exist already (True) or must not; None and False leave it to ``variable_scope``.

    Returns
    -------
    Tensor, shape (..., units)
        Made with ``kernel``, shape (in, units), and ``bias``, shape (units,), of the dtype of ``inputs``.

    Raises
    ------
    ValueError
        If a variable exists and must not, or must and does not, or has another shape or dtype; for bad arguments.
    TypeError
        If ``inputs`` is not a Tensor of floating dtype, or what should be callable is not. Whatever is raised, no
        variable has been made.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = mg.layers.make_template("net", lambda x: dense(x, 5, activation=mg.sigmoid))
    >>> net(mg.ones((2, 3))).shape
    (2, 5)
    >>> {name: v.shape for name, v in net.variables().items()}
    {'net/dense/kernel': (3, 5), 'net/dense/bias': (5,)}
    """

    def transposed(shape: init.Shape, rng: init.RNG, dtype: Any) -> Tensor:
        return init.drawn(call.title, kernel_initializer, shape[::-1], rng, dtype).T

    with Call("dense", name, reuse) as call:
        _require_inputs(call.title, inputs)
        init.require_positive(call.title, units=units)
        _require_callable(
            call.title,
            activation=activation,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
        )
        variable = partial(
            call.variable, trainable=trainable, dtype=inputs.dtype, backend=inputs.backend
        )
        shape = (inputs.shape[-1], units)
        kernel = variable("kernel", shape, transposed, kernel_regularizer)
        bias = variable("bias", (units,), bias_initializer, bias_regularizer) if use_bias else None
        y = linear(inputs, kernel.T, bias)
        return y if activation is None else activation(y)


def batch_normalization(
    inputs: Tensor,
    axis: int = -1,
    momentum: float = 0.99,
    epsilon: float = 0.001,
    center: bool = True,
    scale: bool = True,
    beta_initializer: init.Init = init.zeros,
    gamma_initializer: init.Init = init.ones,
    moving_mean_initializer: init.Init = init.zeros,
    moving_variance_initializer: init.Init = init.ones,
    beta_regularizer: Regularizer | None = None,
    gamma_regularizer: Regularizer | None = None,
    training: bool = False,
    trainable: bool = True,
    name: str | Scope | None = None,
    reuse: bool | None = None,
) -> Tensor:
    """Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167): ``minigrad.nn.BatchNorm`` with variables by name.

    With ``training=True`` it normalizes by the statistics of the batch and moves the moving ones, in the same call::

        moving = momentum * moving + (1 - momentum) * batch

    The variance that is remembered is the batch's own, biased; for images (4 axes, ``axis`` 1 or 3) it is m/(m-1) times
    that, because TensorFlow hands those to a fused kernel that estimates the population's.

    Parameters
    ----------
    inputs : Tensor, at least 2 axes
    axis : int
        The axis that keeps statistics of its own; all others are averaged over.
    momentum : float in [0, 1]
        How much of the moving statistics stays.
    epsilon : float
        Added to the variance, under the square root.
    center, scale : bool
        Whether there is a ``beta``, and a ``gamma``.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer : callable of (shape, rng)
        Of ``minigrad.nn.init``.
    beta_regularizer, gamma_regularizer : callable of a Tensor, optional
        A variable's part of ``regularization_loss``, shape ().
    training : bool
        By which statistics to normalize. The default is the moving ones.
    trainable : bool
        Whether gamma and beta collect gradients. Moving statistics move whether they do or not.
    name : str or Scope, optional
        "batch_normalization", "batch_normalization_1", ..., whichever is the next in this scope, if left out.
    reuse : bool, optional
        Whether the variables must exist already (True) or must not; None and False leave it to ``variable_scope``.

    Returns
    -------
    Tensor, shape and dtype of ``inputs``
        Made with ``gamma``, ``beta``, ``moving_mean`` and ``moving_variance``, one number for each index of ``axis``:
        float32 for float16 input, else of the dtype of ``inputs``.

    Raises
    ------
    ValueError
        If a variable exists and must not, or must and does not, or has another shape or dtype; for bad arguments; for
        what ``minigrad.batch_norm`` refuses, and NaN or Inf in a training batch.
    TypeError
        If ``inputs`` is not a Tensor of floating dtype, ``axis`` no int, or an initializer or regularizer not callable.
        Whatever is raised, no variable has been made and no statistic has moved.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = mg.layers.make_template("net", lambda x: batch_normalization(x, momentum=0.5, training=True))
    >>> y = net(mg.tensor([[1, 10], [3, 30]]))
    >>> net.variables()["net/batch_normalization/moving_variance"]
    Tensor([ 1. , 50.5])
    """
    with Call("batch_normalization", name, reuse) as call:
        _require_inputs(call.title, inputs)
        if not isinstance(axis, int):
            raise TypeError(f"{call.title}: expected axis as an int, got {axis!r}")
        (axis,) = normalize_axes(axis, inputs.ndim, call.title)
        if momentum is None or not 0 <= momentum <= 1:
            raise ValueError(f"{call.title}: expected momentum in [0, 1], got {momentum}")
        if not epsilon > 0:
            raise ValueError(f"{call.title}: expected epsilon > 0, got {epsilon}")
        _require_callable(
            call.title,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
        )
        features = inputs.shape[axis]
        make = partial(
            call.variable,
            shape=(features,),
            dtype=statistics_dtype(inputs.dtype),
            backend=inputs.backend,
        )
        learned = partial(make, trainable=trainable)
        moving = partial(make, trainable=False)
        bn = call.scope.store.layers.get(call.path)
        if bn is None:
            bn = call.made.layers[call.path] = BatchNormalization(call.title, features)
        gamma = beta = None
        if scale:
            gamma = learned("gamma", initializer=gamma_initializer, regularizer=gamma_regularizer)
        if center:
            beta = learned("beta", initializer=beta_initializer, regularizer=beta_regularizer)
        vars(bn).update(
            axis=axis,
            momentum=momentum,
            eps=epsilon,
            ddof_running=int(inputs.ndim == 4 and axis in (1, 3)),
            gamma=gamma,
            beta=beta,
            running_mean=moving("moving_mean", initializer=moving_mean_initializer),
            running_var=moving("moving_variance", initializer=moving_variance_initializer),
            num_batches=Buffer(np.zeros((), np.int64), backend=inputs.backend),
            training=bool(training),
        )
        return bn(inputs)


class BatchNormalization(BatchNorm):
    """The layer behind ``batch_normalization``. Its variables are known by their names, not as its attributes."""

    def __init__(self, title: str, features: int) -> None:
        super().__init__(features, center=False, scale=False)
        self._title = title

    def title(self) -> str:
        return self._title

    def registered(self) -> Iterator[tuple[str, Any]]:
        return iter(())


def _require_inputs(title: str, inputs: Tensor) -> None:
    require_floating(title, inputs)
    if inputs.ndim < 2:
        raise ValueError(f"{title}: expected inputs of at least 2 axes, got shape {inputs.shape}")


def _require_callable(title: str, **functions: Any) -> None:
    """Raise TypeError for what is not callable; only what is no initializer may be None."""
    for argument, function in functions.items():
        optional = not argument.endswith("initializer")
        if not callable(function) and not (optional and function is None):
            raise TypeError(f"{title}: expected {argument} to be callable, got {function!r}")


def moments(x: Tensor, axes: Any, keep_dims: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over ``axes``, as ``tf.nn.moments``.

    ``minigrad.moments`` is another function: its axis is the one that is kept.

    Parameters
    ----------
    x : Tensor
    axes : int or sequence of ints
        The axes that are averaged over: [0] for a batch of vectors, [0, 1, 2] for images with channels last.
    keep_dims : bool
        Whether they stay, with size 1.

    Returns
    -------
    mean, variance : Tensor

    Raises
    ------
    ValueError
        If there is nothing to average, or an axis is out of range or given twice.
    TypeError
        If x is not a Tensor of floating dtype, or the axes no ints.

    Examples
    --------
    >>> import minigrad as mg
    >>> moments(mg.tensor([[1, 10], [3, 30]]), [0])
    (Tensor([ 2., 20.]), Tensor([  1., 100.]))
    """
    require_floating("moments", x)
    over = normalize_axes(axes, x.ndim, "moments")
    if not all(x.shape[i] for i in over):
        raise ValueError(f"moments: expected at least one value along {over}, got shape {x.shape}")
    return x.mean(over, keep_dims), x.var(over, keepdims=keep_dims)
