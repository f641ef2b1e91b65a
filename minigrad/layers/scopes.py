"""Variables by name, as TensorFlow 1 has them: scopes, reuse, and templates. The layers are in ``minigrad.layers``.

A variable is called by the scopes it was made in, ``net/dense/kernel``. A layer without a name takes the next one free
in its scope: ``dense``, ``dense_1``, ...; when a scope is opened again, it starts over (tensorflow/python/ops,
variable_scope.py and template.py, of TensorFlow 1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..contexts import Override, Setting
from ..dtypes import floating
from ..nn.init import Init, drawn
from ..nn.module import Buffer, Module, Parameter
from ..ops.random import generator
from ..tensor import Tensor, tensor

Regularizer = Callable[[Tensor], Tensor]


@dataclass
class Store:
    """Variables, their regularizers, and the layers around them, by name and in the order in which they were made."""

    variables: dict[str, Tensor] = field(default_factory=dict)
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    layers: dict[str, Module] = field(default_factory=dict)

    def under(self, path: str) -> Store:
        """What is called ``path/...``."""
        parts = vars(self).values()
        return Store(*({n: v for n, v in d.items() if n.startswith(f"{path}/")} for d in parts))

    def trainable(self) -> dict[str, Tensor]:
        return {name: v for name, v in self.variables.items() if v.requires_grad}

    def regularization_loss(self) -> Tensor:
        losses = []
        for name, regularizer in self.regularizers.items():
            loss = regularizer(self.variables[name])
            if not isinstance(loss, Tensor) or loss.shape != ():
                raise TypeError(
                    f"regularization_loss: expected the regularizer of {name!r} to return a Tensor "
                    f"of shape (), got {loss!r}"
                )
            losses.append(loss)
        return sum(losses[1:], losses[0]) if losses else tensor(0.0)


@dataclass
class Scope:
    """A scope: where variables are made, whether they must exist, and what has been opened in it while it is open."""

    store: Store
    path: str = ""
    reuse: bool = False
    taken: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Its full name, with those of the scopes around."""
        return self.path

    def reuse_variables(self) -> None:
        """From now on variables must exist already, here and in scopes that are opened in here."""
        self.reuse = True

    def inside(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def unused(self, name: str) -> str:
        paths = (self.inside(f"{name}_{i}" if i else name) for i in count())
        return next(path for path in paths if path not in self.taken)


ROOT = Scope(Store())
current: Setting[Scope] = Setting("scope", ROOT)


def opened(scope: Scope) -> Override:
    return Override(current.variable, lambda outside: scope)


@contextmanager
def variable_scope(name: str | Scope, reuse: bool | None = None) -> Iterator[Scope]:
    """Inside, variables are called ``name/...``, after the names of the scopes around.

    Parameters
    ----------
    name : str or Scope
        Of a scope that was opened before, the same again, wherever that is: under its full name.
    reuse : bool, optional
        Whether variables must exist already (True) or must not; None and False inherit it from the scope around, or
        from the scope that is given.

    Yields
    ------
    Scope
        With its full ``name``, ``reuse``, and ``reuse_variables()``, which sets that; also ``name=`` of a layer, whose
        variables are then directly in it.

    Raises
    ------
    ValueError
        If the name is no name, or reuse something else.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.ones((2, 3))
    >>> with variable_scope("tower") as scope:
    ...     y = mg.layers.dense(x, 4)
    >>> with variable_scope(scope, reuse=True):
    ...     same = mg.layers.dense(x, 4)
    >>> [name for name in mg.layers.variables() if name.startswith("tower")]
    ['tower/dense/kernel', 'tower/dense/bias']
    >>> bool((y == same).min())
    True
    """
    require_names("variable_scope", name, reuse)
    if isinstance(name, Scope):
        scope = Scope(name.store, name.path, name.reuse or bool(reuse), set(name.taken))
    else:
        outer = current.get()
        scope = Scope(outer.store, outer.inside(name), outer.reuse or bool(reuse))
        outer.taken.add(scope.path)
    try:
        with opened(scope):
            yield scope
    finally:
        scope.taken.clear()  # opened again, it starts over


class Call:
    """One call of a layer: the variables it finds, and those it makes, which are kept if it succeeds."""

    def __init__(self, function: str, name: str | Scope | None, reuse: bool | None) -> None:
        require_names(function, function if name is None else name, reuse)
        self.scope = name if isinstance(name, Scope) else current.get()
        self.reuse = self.scope.reuse or bool(reuse)
        if isinstance(name, Scope):
            self.path = name.path
        elif name is None and not reuse:
            self.path = self.scope.unused(function)
        else:
            self.path = self.scope.inside(name or function)
        self.title = f"{function} {self.path!r}"
        self.made = Store()

    def __enter__(self) -> Call:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.scope.taken.add(self.path)
            for part, made in vars(self.made).items():
                getattr(self.scope.store, part).update(made)

    def variable(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Init,
        regularizer: Regularizer | None = None,
        *,
        trainable: bool,
        dtype: Any,
        backend: str,
    ) -> Tensor:
        """The variable ``name`` of this layer; the one of the layer's own name for an empty ``name``."""
        full = f"{self.path}/{name}" if name else self.path
        found = self.scope.store.variables.get(full)
        if self.reuse:
            if found is None:
                raise ValueError(
                    f"{self.title}: variable {full!r} does not exist; none are made where variables "
                    "are reused (reuse=True, a template's later calls)"
                )
            if found.shape != shape or found.dtype != dtype:
                raise ValueError(
                    f"{self.title}: expected variable {full!r} of shape {shape} and dtype {dtype}, "
                    f"found {found.shape} and {found.dtype}"
                )
            return found
        if found is not None:
            raise ValueError(
                f"{self.title}: variable {full!r} already exists; set reuse=True to share it"
            )
        kind = Parameter if trainable else Buffer
        made = kind(
            drawn(f"{self.title}: {full!r}", initializer, shape, generator(None), dtype),
            backend=backend,
        )
        self.made.variables[full] = made
        if regularizer is not None:
            self.made.regularizers[full] = regularizer
        return made


def require_names(function: str, name: str | Scope, reuse: bool | None) -> None:
    """Raise ValueError unless ``name`` is a scope or names joined by slashes, and ``reuse`` a bool or None."""
    if not isinstance(name, Scope) and not (isinstance(name, str) and all(name.split("/"))):
        raise ValueError(f"{function}: expected a name, got {name!r}")
    if reuse is not None and not isinstance(reuse, bool):
        raise ValueError(f"{function}: expected reuse True, False or None, got {reuse!r}")


def Variable(initial_value: Any, trainable: bool = True) -> Tensor:
    """A tensor to train, called "Variable", "Variable_1", ..., whichever is the next in this scope.

    Parameters
    ----------
    initial_value : number, nested list, array or Tensor
        Numbers and lists become float32.
    trainable : bool
        Whether it collects gradients.

    Raises
    ------
    TypeError
        If the value is not numbers, or trainable and not floating.

    Examples
    --------
    >>> import minigrad as mg
    >>> scaled = mg.layers.make_template("scaled", lambda x: Variable([2.0]) * x)
    >>> scaled(mg.ones(3))
    Tensor([2., 2., 2.], requires_grad=True)
    >>> scaled.variables()
    {'scaled/Variable': Tensor([2.], requires_grad=True)}

    Notes
    -----
    Where variables are reused, in the later calls of a template above all, it is the one that is there. (TensorFlow
    makes a new one even so, and therefore refuses it in templates.)
    """
    value = tensor(initial_value)
    if trainable and not floating(value.dtype):
        raise TypeError(f"Variable: expected a floating dtype to train, got {value.dtype}")
    with Call("Variable", None, None) as call:
        return call.variable(
            "",
            value.shape,
            lambda shape, rng: value,
            trainable=trainable,
            dtype=value.dtype,
            backend=value.backend,
        )


def l2_regularizer(scale: float) -> Regularizer:
    """scale * sum of w^2 / 2, as ``tf.contrib.layers.l2_regularizer``; its gradient is scale * w.

    Raises
    ------
    ValueError
        If scale is negative.

    Examples
    --------
    >>> import minigrad as mg
    >>> l2_regularizer(0.5)(mg.tensor([1, 2]))
    Tensor(1.25)
    """
    if not scale >= 0:
        raise ValueError(f"l2_regularizer: expected scale >= 0, got {scale}")
    return lambda w: (w * w).sum() * (scale / 2)


def variables() -> dict[str, Tensor]:
    """All variables made outside of templates since ``reset``, by name."""
    return dict(ROOT.store.variables)


def trainable_variables() -> dict[str, Tensor]:
    """Those of ``variables`` that collect gradients."""
    return ROOT.store.trainable()


def regularization_loss() -> Tensor:
    """The sum of what the regularizers of ``variables`` make of them as they are now, shape (); 0 if there are none."""
    return ROOT.store.regularization_loss()


def reset() -> None:
    """Forget all variables made outside of templates, and the names that were given."""
    vars(ROOT.store).update(vars(Store()))
    ROOT.taken.clear()
