"""Hints about batch norms: what is allowed, and most likely not meant."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..graph import graphs
from ..nn.batch_norm import BatchNorm
from ..nn.module import Module
from ..ops import batch_norm as ops
from ..ops.conv import Conv2d
from ..ops.linear import Linear
from .gap import last_change, moved_after


def hints(model: Module, *inputs: Any) -> list[str]:
    """Find biases that do nothing, and running statistics that were updated outside of training.

    The mean that a batch norm subtracts contains the bias of the layer before it (arXiv:1502.03167, section 3.2). And
    each forward pass in training mode updates the running statistics, under ``no_grad`` too: a loop of them after the
    last step of an optimizer is an evaluation in which ``eval()`` was forgotten.

    Parameters
    ----------
    model : Module
    *inputs
        Its arguments, to see which layer is before which, as for ``minigrad.graphs``. Nothing is changed.

    Returns
    -------
    list of str

    Raises
    ------
    CaptureError
        As ``minigrad.capture``.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.BatchNorm(2))
    >>> mg.study.hints(model, mg.ones((4, 3)))
    ['0.bias does nothing: 1 subtracts the mean of its input; build the layer with bias=False']
    """
    newest = last_change(*model.parameters())
    found = [
        f"{name or type(layer).__name__}: its running statistics were updated after the last step of an optimizer; "
        "call model.eval() before an evaluation, or use minigrad.nn.hold_statistics"
        for name, layer in model.named_modules()
        if isinstance(layer, BatchNorm) and moved_after(layer, newest)
    ]
    calls = graphs(model, *inputs)[0].calls if inputs else []
    makers: dict[Any, Any] = {v: call for call in calls for v in call.outputs}
    uses = Counter(v for call in calls for v in call.inputs)
    for call in calls:
        if not isinstance(call.op, ops.BatchNorm) or call.op.kept != (1,):
            continue
        before = makers.get(call.inputs[0])
        if before is None or not isinstance(before.op, (Linear, Conv2d)):
            continue
        bias = before.inputs[2]
        if bias is not None and uses[call.inputs[0]] == 1:
            found.append(
                f"{bias.name} does nothing: {call.layer or 'batch norm'} subtracts the mean of its "
                "input; build the layer with bias=False"
            )
    return found
