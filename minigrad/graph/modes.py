"""Graphs of a module in train and in eval mode."""

from __future__ import annotations

import warnings
from typing import Any

from ..nn.module import Module
from .capturing import capture
from .graph import Graph


def graphs(model: Module, *example_inputs: Any, **keywords: Any) -> tuple[Graph, Graph]:
    """Capture a module in train and in eval mode.

    Modes, parameters, buffers and random generators are restored afterwards. Each graph keeps its mode, whatever mode
    the module is put in.

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
    before = {module: {**vars(module)} for module in model.modules()}
    try:
        with warnings.catch_warnings():
            # That a new network was not trained yet is no mistake here.
            warnings.filterwarnings("ignore", ".*running statistics", UserWarning)
            train = capture(model.train(), *example_inputs, **keywords)
            eval_ = capture(model.eval(), *example_inputs, **keywords)
    finally:
        for module, attributes in before.items():
            vars(module).pop("training", None)  # it may have been the default of its class
            vars(module).update(attributes)
    for graph, mode in ((train, "train"), (eval_, "eval")):
        graph.title = f"{graph.title}, {mode}"
        graph.guards.free |= {"training"}
    return train, eval_
