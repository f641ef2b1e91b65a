"""TensorFlow 1's ``tf.layers``: functions that create their own variables, for users who know that API.

Names, defaults and numbers are those of TensorFlow 1.15. The name of a variable starts with its scopes,
``net/dense/kernel``; a layer without a name gets the next free one in its scope, ``dense``, ``dense_1``, ...; reopening
a scope starts over. Execution is eager, so two things differ: there are no update ops, ``batch_normalization(...,
training=True)`` updates the moving averages; and a network's function needs ``make_template`` to reuse variables.

>>> import minigrad as mg
>>> def network(x, training):
...     x = mg.layers.dense(x, 5, use_bias=False)
...     return mg.sigmoid(mg.layers.batch_normalization(x, training=training))
>>> net = mg.layers.make_template("net", network)
>>> y = net(mg.arange(6).reshape(3, 2), training=True)
>>> list(net.trainable_variables())
['net/dense/kernel', 'net/batch_normalization/gamma', 'net/batch_normalization/beta']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .contexts import Override, Setting
from .messages import explained, missing
from .nn import BatchNorm, Buffer, Module, Parameter, init
from .ops.batch_norm import statistics_dtype
from .ops.checks import require_floating
from .ops.linear import linear
from .ops.random import generator
from .ops.reduction import normalize_axes
from .tensor import Tensor, tensor

__all__ = [
    "AUTO_REUSE", "Template", "Variable", "batch_normalization", "dense", "l2_regularizer", "make_template", "moments",
    "ones_initializer", "regularization_loss", "reset", "trainable_variables", "variable_scope", "variables",
    "zeros_initializer",
]  # fmt: skip
__getattr__ = missing(__name__)

Regularizer = Callable[[Tensor], Tensor]
#: a value of ``reuse``: variables are found if they exist, and made if not
AUTO_REUSE = "AUTO_REUSE"
#: as classes of TensorFlow: ``zeros_initializer()``
zeros_initializer, ones_initializer = (lambda: init.zeros), (lambda: init.ones)


@dataclass
class Store:
    """Variables, their regularizers, and the layers that use them, by name in the order of creation."""

    made: dict[str, Tensor] = field(default_factory=dict)
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    layers: dict[str, Module] = field(default_factory=dict)

    def under(self, path: str) -> Store:
        """The part of the store whose names start with ``path/``."""
        parts = vars(self).values()
        return Store(*({n: v for n, v in d.items() if n.startswith(f"{path}/")} for d in parts))

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        before = {part: dict(content) for part, content in vars(self).items()}
        try:
            yield
        except BaseException:
            vars(self).update(before)
            raise

    def variables(self) -> dict[str, Tensor]:
        """All variables by name; in the module, those created outside of templates since ``reset``."""
        return dict(self.made)

    def trainable_variables(self) -> dict[str, Tensor]:
        """The variables that require gradients, by name."""
        return {name: v for name, v in self.made.items() if v.requires_grad}

    def regularization_loss(self) -> Tensor:
        """The sum of the regularizers' values for the current variables, shape (); 0 without regularizers."""
        losses = {name: function(self.made[name]) for name, function in self.regularizers.items()}
        for name, loss in losses.items():
            if not isinstance(loss, Tensor) or loss.shape != ():
                raise TypeError(f"the regularizer of {name!r} returned no scalar Tensor: {loss!r}")
        first, *others = losses.values() or [tensor(0.0)]
        return sum(others, first)


@dataclass
class Scope:
    """A variable scope: its store and name, whether variables must exist, and the names used since it was opened."""

    store: Store = field(repr=False)
    name: str = ""
    reuse: bool | str = False
    taken: set[str] = field(default_factory=set)

    def reuse_variables(self) -> None:
        """Require variables to exist from now on, in this scope and in those opened inside it."""
        self.reuse = True

    def path(self, name: str) -> str:
        return "/".join(filter(None, [self.name, name]))

    def unused(self, name: str) -> str:
        names = [name] + [f"{name}_{i + 1}" for i in range(len(self.taken))]
        return next(path for path in map(self.path, names) if path not in self.taken)

    def variable(
        self,
        title: str,
        like: Tensor,
        dtype: np.dtype,
        trainable: bool,
        shape: tuple[int, ...],
        name: str,
        initializer: init.Init,
        regularizer: Regularizer | None = None,
    ) -> Tensor:
        """Find or make a variable of this scope, on the backend of ``like``."""
        name = self.path(name)
        title, found = f"{title}: variable {name!r}", self.store.made.get(name)
        if self.reuse != AUTO_REUSE and self.reuse == (found is None):
            missing = "does not exist, and none are made where variables are reused"
            exists = "already exists; set reuse=True to share it"
            raise ValueError(f"{title} {missing if self.reuse else exists}")
        if not (regularizer is None or callable(regularizer)):
            raise TypeError(f"{title}: expected a callable regularizer, got {regularizer!r}")
        if found is None:
            value = init.drawn(title, initializer, shape, generator(None), dtype)
            found = (Parameter if trainable else Buffer)(value, backend=like.backend)
            self.store.made[name] = found
            if regularizer is not None:
                self.store.regularizers[name] = regularizer
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"{title} has {found.shape} {found.dtype}, expected {shape} {dtype}")
        return found


ROOT = Scope(Store())
current: Setting[Scope] = Setting("scope", ROOT)


@contextmanager
def variable_scope(name: str | Scope, reuse: bool | str | None = None) -> Iterator[Scope]:
    """Open a scope: variables are named ``name/...``, after the names of the enclosing scopes.

    A Scope in place of the name is reopened, wherever that is. ``reuse=True`` requires that variables exist,
    ``AUTO_REUSE`` makes those that don't; None and False inherit that from the enclosing scope, or from the given one.
    The Scope that is yielded has its full ``name`` and ``reuse_variables()``; passed to a layer as ``name=``, it
    contains the layer's variables directly.
    """
    _require_names("variable_scope", name, reuse)
    if isinstance(name, Scope):
        scope = Scope(name.store, name.name, reuse or name.reuse, set(name.taken))
    else:
        outer = current.get()
        scope = Scope(outer.store, outer.path(name), reuse or outer.reuse)
        outer.taken.add(scope.name)
    try:
        with Override(current.variable, lambda outside: scope):
            yield scope
    finally:
        scope.taken.clear()  # opened again, it starts over


@contextmanager
def _layer(
    function: str, name: str | Scope | None, reuse: bool | str | None, inputs: Tensor | None
) -> Iterator[tuple[Scope, str]]:
    """The scope of a layer's variables, and its title in messages; on an exception no variables are created."""
    _require_names(function, function if name is None else name, reuse)
    outer = name if isinstance(name, Scope) else current.get()
    if isinstance(name, Scope):
        path = name.name
    elif name is None and not reuse:
        path = outer.unused(function)
    else:
        path = outer.path(name or function)
    title = f"{function} {path!r}"
    if inputs is not None:
        require_floating(title, inputs)
        if inputs.ndim < 2:
            raise ValueError(f"{title}: expected inputs of at least 2 axes, got {inputs.shape}")
    with outer.store.restored_on_error():
        yield Scope(outer.store, path, reuse or outer.reuse), title
    outer.taken.add(path)


def _require_names(function: str, name: str | Scope, reuse: bool | str | None) -> None:
    """Raise ValueError unless ``name`` is a scope or names joined by slashes, and ``reuse`` one of its values."""
    if not isinstance(name, Scope) and not (isinstance(name, str) and all(name.split("/"))):
        raise ValueError(f"{function}: expected a name, got {name!r}")
    if not (reuse is None or isinstance(reuse, bool) or reuse == AUTO_REUSE):
        raise ValueError(f"{function}: expected reuse a bool, None or AUTO_REUSE, got {reuse!r}")


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
    reuse: bool | str | None = None,
) -> Tensor:
    """activation(inputs @ kernel + bias), over the last axis, shape (..., units).

    The variables are ``kernel``, shape (in, units), and ``bias``, shape (units,), of the dtype of ``inputs``; no bias
    is needed before ``batch_normalization``, which has ``beta``. Initializers are those of ``minigrad.nn.init``; a
    regularizer returns a variable's part of ``regularization_loss``. The default name is the next free one of "dense",
    "dense_1", ... in this scope. ``reuse=True`` requires that the variables exist; None and False inherit that from
    ``variable_scope``. On an exception no variable has been created.
    """

    def transposed(shape: init.Shape, rng: init.RNG, dtype: Any) -> Tensor:  # weights are (out, in)
        return init.drawn(title, kernel_initializer, shape[::-1], rng, dtype).T

    with _layer("dense", name, reuse, inputs) as (scope, title):
        init.require_positive(title, units=units)
        if isinstance(activation, (str, type)):
            raise TypeError(f"{title}: expected a function as activation, got {activation!r}")
        make = partial(scope.variable, title, inputs, inputs.dtype, trainable)
        kernel = make((inputs.shape[-1], units), "kernel", transposed, kernel_regularizer)
        bias = make((units,), "bias", bias_initializer, bias_regularizer) if use_bias else None
        y = linear(inputs, kernel.T, bias)
        return y if activation is None else activation(y)


@explained
def batch_normalization(
    inputs: Tensor,
    axis: int | list[int] = -1,
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
    reuse: bool | str | None = None,
) -> Tensor:
    """Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167): ``minigrad.nn.BatchNorm`` with named variables.

    With ``training=True`` it normalizes by the statistics of the batch and updates the moving ones, in the same call::

        moving = momentum * moving + (1 - momentum) * batch

    The variance in the moving average is the biased one; for images (4 axes, ``axis`` 1 or 3) it is m/(m-1) times
    that, the unbiased estimate, as in TensorFlow's fused kernel. The variables are ``gamma`` and ``beta``, if ``scale``
    and ``center``, ``moving_mean`` and ``moving_variance``, one number for each index of ``axis``, or of the axes in a
    list: float32 for float16 inputs, else of their dtype. Other arguments and errors are those of ``dense``; a call
    that raises updates no statistics.
    """
    with _layer("batch_normalization", name, reuse, inputs) as (scope, title):
        axes = normalize_axes(axis if isinstance(axis, list) else (axis,), inputs.ndim, title)  # type: ignore[arg-type]
        if momentum is None or not 0 <= momentum <= 1:
            raise ValueError(f"{title}: expected momentum in [0, 1], got {momentum}")
        if not epsilon > 0:
            raise ValueError(f"{title}: expected epsilon > 0, got {epsilon}")
        shape, dtype = tuple([inputs.shape[a] for a in axes]), statistics_dtype(inputs.dtype)
        learned = partial(scope.variable, title, inputs, dtype, trainable, shape)
        moving = partial(scope.variable, title, inputs, dtype, False, shape)
        gamma = learned("gamma", gamma_initializer, gamma_regularizer) if scale else None
        beta = learned("beta", beta_initializer, beta_regularizer) if center else None
        mean = moving("moving_mean", moving_mean_initializer)
        var = moving("moving_variance", moving_variance_initializer)
        bn = scope.store.layers.get(scope.name) or BatchNormalization(title, shape)
        scope.store.layers[scope.name] = bn
        ddof = int(inputs.ndim == 4 and axes in ((1,), (3,)))  # the fused kernel is unbiased
        place = axes if len(axes) > 1 else axes[0]
        settings = {"axis": place, "momentum": momentum, "eps": epsilon, "ddof_running": ddof}
        variables = {"gamma": gamma, "beta": beta, "running_mean": mean, "running_var": var}
        count = Buffer(np.zeros((), np.int64), backend=inputs.backend)
        vars(bn).update(settings, **variables, num_batches=count)
        return bn.train(training)(inputs)


class BatchNormalization(BatchNorm):
    """The layer used by ``batch_normalization``; its variables are registered under their own names."""

    def __init__(self, title: str, shape: tuple[int, ...]) -> None:
        super().__init__(shape, tuple(range(len(shape))), center=False, scale=False)
        self.num_features = shape if len(shape) > 1 else shape[0]
        self._title = title

    def title(self) -> str:
        return self._title

    def registered(self) -> Iterator[tuple[str, Any]]:
        return iter(())


def moments(x: Tensor, axes: Any, keep_dims: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over ``axes``, as ``tf.nn.moments``. (``minigrad.moments`` takes the axis that is kept.)

    >>> import minigrad as mg
    >>> moments(mg.tensor([[1, 10], [3, 30]]), [0])
    (Tensor([ 2., 20.]), Tensor([  1., 100.]))
    """
    require_floating("moments", x)
    over = normalize_axes(axes, x.ndim, "moments")
    return x.mean(over, keep_dims), x.var(over, keepdims=keep_dims)


def Variable(initial_value: Any, trainable: bool = True) -> Tensor:
    """A tensor to train, named "Variable", "Variable_1", ..., the next in this scope; numbers become float32.

    Where variables are reused, as in later calls of a template, it is the existing one.
    """
    value = tensor(initial_value)
    with _layer("Variable", None, None, None) as (scope, title):
        make = partial(scope.variable, title, value, value.dtype, trainable, value.shape)
        return make("", lambda shape, rng: value)


def l2_regularizer(scale: float) -> Regularizer:
    """scale * sum of w^2 / 2, as ``tf.contrib.layers.l2_regularizer``; its gradient is scale * w."""
    if not scale >= 0:
        raise ValueError(f"l2_regularizer: expected scale >= 0, got {scale}")
    return lambda w: (w * w).sum() * (scale / 2)


variables, trainable_variables = ROOT.store.variables, ROOT.store.trainable_variables
regularization_loss = ROOT.store.regularization_loss


def reset() -> None:
    """Forget all variables created outside of templates, and the names in use."""
    vars(ROOT.store).update(vars(Store()))
    ROOT.taken.clear()


class Template(Module):
    """The result of ``make_template``: a Module whose parameters and buffers have their TensorFlow names."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        if isinstance(name, Scope) or not callable(function):
            raise TypeError(
                f"make_template: expected a name and a function, got {name!r}, {function!r}"
            )
        _require_names("make_template", name, None)
        self.name, self.function = name, function
        self._place: tuple[Store, str] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outer = current.get()
        if self._place is None and outer.store is not ROOT.store:  # part of the template around
            self._place = outer.store, outer.unused(self.name)
        store, path = self._place = self._place or (Store(), outer.path(self.name))
        if nested := store is outer.store:
            outer.taken.add(path)
        reuse = (nested and outer.reuse) or bool(store.under(path).made)
        with store.restored_on_error(), variable_scope(Scope(store, path, reuse)):
            return self.function(*args, **kwargs)

    def _own(self) -> Store:
        return Store() if self._place is None else self._place[0].under(self._place[1])

    def variables(self) -> dict[str, Tensor]:
        """All variables by name, none before the first call."""
        return self._own().made

    def trainable_variables(self) -> dict[str, Tensor]:
        """The variables that require gradients, by name."""
        return self._own().trainable_variables()

    def regularization_loss(self) -> Tensor:
        """The sum of the regularizers' values for the current variables, shape (); 0 without regularizers."""
        return self._own().regularization_loss()

    def registered(self) -> Iterator[tuple[str, Any]]:
        yield from (self._own().made | self._own().layers).items()

    def extra_repr(self) -> str:
        return repr(self.name)


def make_template(name: str, function: Callable[..., Any]) -> Template:
    """Wrap ``function`` so that its first call creates variables and later calls reuse them.

    It must use the same variables at every call; training is an argument of its layers, ``Module.train`` has no effect.
    Automatic names start over at each call. ``name`` is the scope of its variables, inside the scope of the first call.
    Inside another template it is made unique like a layer's, and the variables belong to both templates; else they are
    its own, and not among ``variables()``. Call it before passing its parameters to an optimizer or loading a state.
    """
    return Template(name, function)
