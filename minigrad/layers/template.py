"""Templates: functions that make their variables once, as ``tf.make_template``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..nn.module import Module
from ..tensor import Tensor
from .scopes import ROOT, Scope, Store, current, opened, require_names


class Template(Module):
    """A function whose layers make their variables at its first call and find them at all later ones.

    What TensorFlow's graph does by building the network once, a template does where the function runs at every step.
    Made by ``make_template``. It is a Module: parameters, buffers, ``state_dict``, ``to`` and optimizers see the
    variables by their TensorFlow names. Whether to train is an argument of the layers, not a matter of ``train()``.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        if isinstance(name, Scope):
            raise TypeError(f"make_template: expected a name, got the scope {name.name!r}")
        require_names("make_template", name, None)
        if not callable(function):
            raise TypeError(f"make_template: expected a callable, got {function!r}")
        self.name, self.function = name, function
        self._place: tuple[Store, str] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outer = current.get()
        self._place = store, path = self._place or self._first_place(outer)
        nested = store is outer.store
        if nested:
            outer.taken.add(path)
        reuse = (nested and outer.reuse) or bool(store.under(path).variables)
        before = {part: dict(made) for part, made in vars(store).items()}
        try:
            with opened(Scope(store, path, reuse)):
                return self.function(*args, **kwargs)
        except BaseException:
            vars(store).update(before)
            raise

    def _first_place(self, outer: Scope) -> tuple[Store, str]:
        """A store of its own; inside another template that one's, so that it is part of it."""
        if outer.store is ROOT.store:
            return Store(), outer.inside(self.name)
        return outer.store, outer.unused(self.name)

    def _own(self) -> Store:
        return Store() if self._place is None else self._place[0].under(self._place[1])

    def variables(self) -> dict[str, Tensor]:
        """All variables by name, none before the first call."""
        return self._own().variables

    def trainable_variables(self) -> dict[str, Tensor]:
        """Those that collect gradients."""
        return self._own().trainable()

    def regularization_loss(self) -> Tensor:
        """The sum of what the regularizers make of their variables as they are now, shape (); 0 if there are none."""
        return self._own().regularization_loss()

    def registered(self) -> Iterator[tuple[str, Any]]:
        own = self._own()
        yield from own.variables.items()
        yield from own.layers.items()

    def extra_repr(self) -> str:
        return repr(self.name)


def make_template(name: str, function: Callable[..., Any]) -> Template:
    """``function``, with variables that its first call makes and all later calls find.

    Parameters
    ----------
    name : str
        The scope of its variables, within the one that is open at the first call. Inside another template it is made
        unique as a layer's is, and the variables belong to that one too; else the template owns them, and they are not
        in the default store.
    function : callable
        Must ask for the same variables at every call. Names that layers choose start over at each.

    Returns
    -------
    Template
        A ``minigrad.nn.Module`` with ``variables()``, ``trainable_variables()`` and ``regularization_loss()``. It must
        have been called before its parameters go to an optimizer or a state is loaded.

    Raises
    ------
    ValueError, TypeError
        For a name that is none, a function that is not callable; when called, for variables that the first call did not
        make. A first call that raises leaves no variables.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = make_template("net", lambda x: mg.layers.dense(mg.layers.dense(x, 4), 2))
    >>> bool((net(mg.ones((2, 3))) == net(mg.ones((2, 3)))).min())
    True
    >>> [name for name, _ in net.named_parameters()]
    ['net/dense/kernel', 'net/dense/bias', 'net/dense_1/kernel', 'net/dense_1/bias']
    """
    return Template(name, function)
