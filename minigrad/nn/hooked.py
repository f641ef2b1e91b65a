"""Forward hooks: functions that a module calls before or after its ``forward``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..messages import Explained


class Hook(NamedTuple):
    """A function that a module calls before or after its ``forward``."""

    module: Hooked
    entry: tuple[bool, Callable[..., Any]]

    def remove(self) -> None:
        """Call it no more; a second call does nothing."""
        others = [e for e in self.module._hooks if e is not self.entry]
        self.module._hooks = tuple(others)


class Hooked(Explained):
    """Base class of Module: its hooks."""

    forward: Any
    #: whether before ``forward``, and the function; a tuple, replaced by another, which guards of captures see
    _hooks: tuple[tuple[bool, Callable[..., Any]], ...] = ()

    def register_forward_hook(self, hook: Callable[..., Any]) -> Hook:
        """Call ``hook(module, args, output)`` after each ``forward``; unless None, what it returns is the output.

        Captured graphs refuse to run, and jitted functions are captured again, after a hook was added or removed.

        Parameters
        ----------
        hook : callable
            ``args`` are the positional arguments.

        Returns
        -------
        Hook
            Its ``remove()`` ends that.

        Examples
        --------
        >>> import minigrad as mg
        >>> layer, shapes = mg.nn.Linear(3, 2), []
        >>> hook = layer.register_forward_hook(lambda module, args, y: shapes.append(y.shape))
        >>> y = layer(mg.ones(4, 3))
        >>> hook.remove()
        >>> shapes
        [(4, 2)]
        """
        return self._add_hook(False, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Hook:
        """Call ``hook(module, args)`` before each ``forward``; unless None, it returns the arguments to use.

        A tuple is all positional arguments, anything else the only one. See ``register_forward_hook``.
        """
        return self._add_hook(True, hook)

    def _add_hook(self, before: bool, hook: Callable[..., Any]) -> Hook:
        if not callable(hook):
            raise TypeError(f"{type(self).__name__}: expected a function as hook, got {hook!r}")
        made = Hook(self, (before, hook))
        self._hooks = (*self._hooks, made.entry)
        return made

    def _hooked(self, *args: Any, **kwargs: Any) -> Any:
        for before, hook in self._hooks:
            if before and (given := hook(self, args)) is not None:
                args = given if isinstance(given, tuple) else (given,)
        y = self.forward(*args, **kwargs)
        for before, hook in self._hooks:
            if not before and (given := hook(self, args, y)) is not None:
                y = given
        return y
