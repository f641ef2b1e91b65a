"""Capture: run a function with a tracer at the door, and refuse what a replay could not repeat.

Everything that computes goes through ``minigrad.tensor.apply``. A capture runs a function, records each application and
binds the values that the function did not compute: its arguments by position, parameters, buffers and optimizer state
by reference, Python literals as constants. Anything else that would be frozen silently is an error.

What a capture watches for, the worst first, since a replay would be silently wrong:

1. arrays from outside that are neither arguments nor state: the next batch would not be seen;
2. values read on the host (``.item()``, ``.numpy()``, ``bool()``): what was decided by them stays decided;
3. assignments that no op makes (``p.data = ...``, ``optimizer.lr = ...``, ``model.eval()``): they would happen once;
4. Python values that differ between runs (a counter, a noise): the function is run twice, and both runs must
   have applied the same ops with the same settings to the same constants;
5. gradients that were there before and are added to, or were not (``Guards.leaves``);
6. settings, modes, devices, lists of layers, or names from outside, that change later (``Guards``, ``Outside``);
7. arguments of other shapes, dtypes, backends or structure (``Signature``);
8. results that the next replay would overwrite: each has memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import backend as backends
from ..tape import tracing
from .comparing import require_same
from .graph import Graph
from .guards import CaptureError
from .outside import Outside
from .structure import Signature, fixed, kind_of, names_of, put_together, take_apart
from .tracing import Capture


def run(
    function: Callable[..., Any], args: Any, kwargs: Any, title: str, undo: bool
) -> tuple[Any, Graph]:
    """Run ``function`` and return its result and its graph; with ``undo``, undo its side effects afterwards."""
    arguments, tensors = take_apart((args, kwargs))
    capture = Capture(tensors, names_of(function, args, kwargs), undo)
    outside = Outside()
    outside.visit((function, *fixed(arguments)))
    capture.use(*outside.modules)
    for owner in outside.settings:
        capture.watch(owner)
    args, kwargs = put_together(arguments, iter(capture.arguments))
    token = tracing.set(capture)
    try:
        result = function(*args, **kwargs)
        outside.settle()
        for module in capture.modules:
            outside.visit(module)
        structure, found = take_apart(result, _refuse_result)
        backend = next((t.backend for t in (*tensors, *found)), backends.default().name)
        signature = Signature(arguments, tuple(map(kind_of, tensors)), structure)
        graph = capture.finish(signature, outside, found, title, backend)
        given = dict(zip(graph.inputs, tensors, strict=True))
        result = signature.rebuild(
            given.get(v, t) for v, t in zip(graph.outputs, found, strict=True)
        )
    finally:
        tracing.reset(token)
        capture.forget()
        if undo:
            capture.put_back()
    return result, graph


def _refuse_result(value: Any) -> Any:
    if value is not None:
        raise CaptureError(
            f"capture: the function returns a {type(value).__name__}, which every replay would return again; return "
            "Tensors, in tuples, lists or dicts, or None"
        )


def title_of(function: Any) -> str:
    """The name of a captured function in messages."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return "graph" if name == "<lambda>" else name


def capture(function: Callable[..., Any], *example_inputs: Any, **keywords: Any) -> Graph:
    """Capture the computation of a function or module as a ``Graph``: the list of ops that it applies.

    The function is run on the example inputs, twice, to see that it does the same both times; afterwards parameters,
    buffers, optimizer state, gradients and random generators are as they were. It may be a whole training step:
    forward, loss, ``backward`` and ``optimizer.step()`` all are ops.

    Parameters
    ----------
    function : Module or callable
    *example_inputs, **keywords
        Its arguments: Tensors and arrays, alone or in tuples, lists and dicts, are the graph's inputs; all else is
        fixed.

    Returns
    -------
    Graph
        It can be printed, compared, changed by passes, and called with arguments like these.

    Raises
    ------
    CaptureError
        For what a replay would do otherwise than the function: arrays from outside that are no arguments; ``.item()``,
        ``.numpy()`` or ``bool()``; changes that no op makes; Python numbers that are other ones in the second run;
        results that are no Tensors; containers that are too large to compare, see ``jit``.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.Sigmoid())
    >>> graph = mg.capture(model, mg.ones((4, 3)))
    >>> [(call.name, call.layer) for call in graph.calls]
    [('linear', '0'), ('sigmoid', '1')]
    """
    title = title_of(function)
    _, graph = run(function, example_inputs, keywords, title, undo=True)
    _, again = run(function, example_inputs, keywords, title, undo=True)
    require_same(graph, again)
    graph.examples = take_apart((example_inputs, keywords))[1]
    return graph
