"""The two graphs of a module: what it computes in training, and what in eval."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..nn.module import Module
from .capturing import capture
from .graph import Graph


def graphs(model: Module, *example_inputs: Any, **keywords: Any) -> tuple[Graph, Graph]:
    """The graphs of a module in train and in eval mode.

    Afterwards every layer is in the mode it was in, and parameters, buffers and random generators are as they were.
    Each graph stays what it is, whatever mode the module is put in.

    Parameters
    ----------
    model : Module
    *example_inputs, **keywords
        Its arguments, as for ``minigrad.capture``.

    Returns
    -------
    train_graph, eval_graph : Graph
        Print them, draw them, compare them with ``minigrad.graph_diff``, call them.

    Raises
    ------
    TypeError
        If ``model`` is no Module.
    CaptureError
        As ``minigrad.capture``.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2, bias=False), mg.nn.BatchNorm(2))
    >>> train_graph, eval_graph = mg.graphs(model, mg.ones((4, 3)))
    >>> [call.name for call in train_graph.calls]
    ['linear', 'batch_norm', 'move_statistics']
    >>> [call.name for call in eval_graph.calls]
    ['linear', 'frozen_batch_norm']
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"graphs: expected a Module, which has two modes, got {type(model).__name__}; "
            "minigrad.capture takes any function"
        )
    with _modes_kept(model), warnings.catch_warnings():
        # Whoever draws a fresh network knows that it was not trained.
        warnings.filterwarnings("ignore", ".*running statistics that were never fed", UserWarning)
        train = capture(model.train(), *example_inputs, **keywords)
        eval_ = capture(model.eval(), *example_inputs, **keywords)
    for graph, mode in ((train, "train"), (eval_, "eval")):
        graph.title = f"{graph.title}, {mode}"
        graph.guards.free |= {"training"}
    return train, eval_


@contextmanager
def _modes_kept(model: Module) -> Iterator[None]:
    """Every layer's mode is afterwards what it was, also for graphs that were captured before."""
    before = [(module, vars(module).get("training")) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in before:
            if mode is None:  # never set, and a mode of its own would be a change
                vars(module).pop("training", None)
            else:
                module.training = mode
