"""A model as a table of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..messages import kind_of
from ..nn.module import Module
from .calls import Value
from .capturing import capture
from .costs import flops, parameters, size
from .showing import aligned, counted


class Row(NamedTuple):
    """A layer: its dotted name, class, output shape, number of parameters, and FLOPs of a forward pass."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """The result of ``summary``; printed, it is a table.

    Attributes
    ----------
    rows : list of Row
        The layers that compute something themselves, in the order of their first calls. What the model computes outside
        of its layers has its own name, which is empty.
    parameters, trainable : int
        Numbers of all of the model's parameters, and of those that require a gradient.
    flops : int
        Floating-point operations of one forward pass, counted as in ``minigrad.graph.costs``: a multiplication and an
        addition are two.
    """

    title: str
    rows: list[Row]
    parameters: int
    trainable: int
    flops: int

    def __str__(self) -> str:
        head = ("layer", "", "output shape", "parameters", "FLOPs")
        body = [
            (r.name, r.kind, str(r.shape), *counted((r.parameters, r.flops))) for r in self.rows
        ]
        total = ("total", "", "", *counted((self.parameters, self.flops)))
        first, *lines, last = aligned([head, *body, total], right={3, 4})
        rule = "-" * max(map(len, (first, *lines, last)))
        frozen = self.parameters - self.trainable
        notes = [f"{frozen:,} of the parameters don't require a gradient"] if frozen else []
        return "\n".join([self.title, "", first, rule, *lines, rule, last, *notes])

    __repr__ = __str__


def summary(model: Module, *inputs: Any) -> Summary:
    """Run a model once and list its layers with output shapes, parameters and FLOPs; print the result.

    Parameters
    ----------
    model : Module
        Left as it is: running statistics and random generators too.
    *inputs
        Its arguments: an example batch.

    Returns
    -------
    Summary

    Raises
    ------
    TypeError
        If ``model`` is no Module, or ``inputs`` are shapes.
    CaptureError
        If its ``forward`` can't be captured, see ``minigrad.capture``.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.Sigmoid())
    >>> mg.summary(model, mg.ones(4, 3))
    Sequential
    <BLANKLINE>
    layer           output shape  parameters  FLOPs
    -----------------------------------------------
    0      Linear   (4, 2)                 8     56
    1      Sigmoid  (4, 2)                       32
    -----------------------------------------------
    total                                  8     88
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: expected summary(model, x), got {kind_of(model)} for the model")
    if any(isinstance(x, (tuple, list)) and all(isinstance(n, int) for n in x) for x in inputs):
        raise TypeError("summary: expected an example batch, got a shape; pass mg.zeros(shape)")
    graph, modules = capture(model, *inputs), dict(model.named_modules())
    rows, seen = [], set[Value]()
    for layer in dict.fromkeys(call.layer for call in graph.calls):
        calls = [call for call in graph.calls if call.layer == layer]
        new = {p for call in calls for p in parameters(call)} - seen
        seen |= new
        shapes = [c.outputs[0].shape for c in calls if c.outputs and c.phase == "forward"]
        row = layer, type(modules[layer]).__name__, shapes[-1] if shapes else ()
        rows.append(Row(*row, sum(map(size, new)), sum(map(flops, calls))))
    total = sum(p.size for p in model.parameters())
    trainable = sum(p.size for p in model.parameters() if p.requires_grad)
    return Summary(graph.title, rows, total, trainable, sum(row.flops for row in rows))
