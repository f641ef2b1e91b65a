"""``jit``: capture a function at its first call of each kind, and replay it afterwards."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import update_wrapper
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar

from ..tape import moving, tracing
from .capturing import run, title_of
from .comparing import require_same
from .graph import Graph
from .guards import Replays, contexts

#: graphs that a function keeps; the one that was not used for longest makes room for the next
MOST = 32


P = ParamSpec("P")
R = TypeVar("R")


class Jit(Replays, Generic[P, R]):
    """A jitted function; see ``jit``.

    Attributes
    ----------
    graphs : list of Graph
        Those that it has captured and kept.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        if not callable(function):
            raise TypeError(f"jit: expected a function or a Module, got {function!r}")
        self.function = function
        self._kept: OrderedDict[Graph, None] = OrderedDict()  # those used last come last
        self._new: set[Graph] = set()
        update_wrapper(self, function, updated=())

    @property
    def graphs(self) -> list[Graph]:
        return list(self._kept)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if tracing.get() is not None:  # it becomes part of a larger graph
            return self.function(*args, **kwargs)
        now = contexts()
        for graph in reversed(list(self._kept)):  # other threads move theirs to the end
            if graph.guards.contexts == now and not graph.guards.broken():
                tensors = graph.signature.match(args, kwargs)
                if tensors is not None:
                    break
        else:
            result, graph = run(self.function, args, kwargs, title_of(self.function), undo=False)
            self._keep(graph)
            return result
        if len(self._kept) > 1:
            with suppress(KeyError):  # another thread has made room
                self._kept.move_to_end(graph)
        if graph in self._new:
            result, again = run(self.function, args, kwargs, graph.title, undo=False)
            if graph.guards.leaves == again.guards.leaves:
                require_same(graph, again)
                self._new.discard(graph)
            else:  # another thread has set or collected gradients meanwhile
                self._keep(again)
            return result
        if not graph.guards.leaves:
            return graph.run(tensors)
        with moving:
            if not graph.guards.broken():
                return graph.run(tensors)
        return self(*args, **kwargs)

    def __reduce__(self) -> Any:
        """For ``pickle`` and ``copy``: the function, to be captured anew; by name where that leads to this object."""
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (Jit, (self.function,))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def _keep(self, graph: Graph) -> None:
        with suppress(KeyError):  # other threads make room too
            while len(self._kept) >= MOST:
                old, _ = self._kept.popitem(last=False)
                self._new.discard(old)
        self._new.add(graph)
        self._kept[graph] = None


def jit(function: Callable[P, R]) -> Jit[P, R]:
    """A function or module that is captured when it is first called, and replayed from then on.

    It is captured again for each new combination of shapes, dtypes, backend, train or eval mode, and whatever else a
    graph depends on: a last batch that is smaller simply works. The first two calls of each combination run the
    function itself; the second must do what the first did, or a Python value that changes from call to call would be
    frozen. Inside of ``capture`` or another ``jit`` it is the plain function. Calls from several threads that change
    gradients, parameters or buffers wait for each other.

    What the function reads from outside is a part of that: global names, variables of enclosing functions, default
    arguments, and the attributes of all that is found there whose names the code mentions (``cfg.lr``, ``self.scale``,
    ``Model.forward``), in the function and in the Python functions, methods and classes reached that way; where they
    are lists, dicts, sets or arrays, the items too. Not seen, so that replays go on with what was captured, are:

    - what functions of minigrad, of the standard library and of installed packages read for themselves: the time,
      random numbers of Python and NumPy, files, environment variables, context variables, input;
    - what is found by a computed name (``getattr(cfg, name)``, ``operator.attrgetter``, ``globals()[name]``), through a
      weak reference, iterator or memoryview, or in code that ``eval`` or an import inside of the function brings;
    - another ``__class__`` or ``__dict__`` assigned to an object;
    - items of a list, dict, set or array that the function itself changes, and what else it does to Python: printing,
      appending, writing files happen in the first two calls only.

    Parameters
    ----------
    function : Module or callable
        A whole training step, or a part. Its arguments may be Tensors, arrays, and tuples, lists and dicts of them; all
        else is fixed and makes a graph of its own.

    Returns
    -------
    Jit
        To be called like the function; ``.graphs`` are those that were captured. Also a decorator, of methods too.

    Raises
    ------
    CaptureError
        When called, for what ``capture`` refuses, as names that the function sets outside of itself, and lists, dicts,
        sets and arrays from outside that are too large to compare in each call (1,000 items, 64 KiB). What the function
        did until then is done.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Linear(3, 2)
    >>> optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    >>> @mg.jit
    ... def step(x, t):
    ...     optimizer.zero_grad()
    ...     loss = mg.mse_loss(model(x), t)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(mg.ones((4, 3)), mg.zeros((4, 2))).item() for _ in range(5)]
    >>> losses == sorted(losses, reverse=True), len(step.graphs)
    (True, 1)
    """
    return Jit(function)
