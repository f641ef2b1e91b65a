"""A graph as text: a table of its calls, and calls as one would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .costs import flops, made, parameters, size
from .memory import peak

if TYPE_CHECKING:
    from .calls import Call, Value
    from .graph import Graph

HEAD = ("#", "phase", "op", "layer", "output", "parameters", "bytes", "FLOPs")
PHASES = ("forward", "backward", "update")


def table(graph: Graph) -> str:
    """One row a call, and totals.

    The phase stands where it changes. Parameters are counted where they are first used, ``bytes`` are
    those of the arrays that are made, not of views or of what is changed in place; FLOPs are counted by the convention
    of ``minigrad.graph.costs``. What is in memory at once is less, since a replay uses it again (``memory.peak``).
    """
    rows, numbers = [], []
    seen: set[Value] = set()
    phase = ""
    for i, call in enumerate(graph.calls):
        new = dict.fromkeys(v for v in parameters(call) if v not in seen)
        seen.update(new)
        numbers.append((sum(map(size, new)), made(call), flops(call)))
        mark, phase = "" if call.phase == phase else call.phase, call.phase
        rows.append((str(i), mark, call.name, call.layer, _output(call), *_counted(numbers[-1])))
    totals = []
    for name in (*(p for p in PHASES if any(c.phase == p for c in graph.calls)), "total"):
        chosen = [
            n for n, c in zip(numbers, graph.calls, strict=True) if name in (c.phase, "total")
        ]
        sums = [sum(column) for column in zip(*chosen, strict=True)] or [0, 0, 0]
        totals.append(("", name, _ops(len(chosen)), "", "", *_counted(sums)))
    if len(totals) == 2:  # all of it is one phase
        del totals[0]
    lines = [heading(graph), "", *_aligned([HEAD, *rows], totals)]
    return "\n".join([*lines, "", f"results in memory at once: {peak(graph):,} bytes"])


def heading(graph: Graph) -> str:
    """The title, and what goes in and comes out."""
    inputs, outputs = (
        ", ".join(f"{shape(v)} {v.dtype}" for v in values) or "nothing"
        for values in (graph.inputs, graph.outputs)
    )
    return f"{graph.title}: {inputs} -> {outputs}"


def shape(value: Value) -> str:
    """60x100; () for one number."""
    return "x".join(map(str, value.shape)) or "()"


def names(graph: Graph) -> dict[Value, str]:
    """How values are called: by their names, constants by what they are, results by the number of their call.

    An op that works in place on a result leaves it its number. ``#1.2`` is output 2 of call 1.
    """
    found = {v: v.name or v.kind for v in graph.values()}
    found |= {v: constant(v) for v in graph.constants()}
    for i, call in enumerate(graph.calls):
        many = len(call.outputs) > 1
        found |= {v: f"#{i}.{j}" if many else f"#{i}" for j, v in enumerate(call.outputs)}
    return found


def constant(value: Value) -> str:
    """The number itself, if it is one."""
    assert value.tensor is not None
    return f"{value.tensor.item():.6g}" if value.shape == () else f"constant {shape(value)}"


def local(name: str, layer: str) -> str:
    """The name of a parameter or buffer inside of its layer."""
    return name.removeprefix(f"{layer}.") if layer else name


def written(call: Call, known: dict[Value, str]) -> str:
    """A call as one would write it: ``batch_norm(#0, gamma, beta)``."""
    inputs = ("None" if v is None else local(known[v], call.layer) for v in call.inputs)
    return f"{call.name}({', '.join(inputs)})"


def _output(call: Call) -> str:
    if not call.outputs:
        return f"writes {len(call.written)} array{'s' if len(call.written) > 1 else ''}"
    return ", ".join(map(shape, call.outputs))


def _ops(count: int) -> str:
    return f"{count:,} op{'' if count == 1 else 's'}"


def _counted(numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{n:,}" if n else "" for n in numbers)


def _aligned(rows: Sequence[Sequence[str]], totals: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, *totals, strict=True)]
    right = {0, 5, 6, 7}
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (*rows, *totals)
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1 : len(rows)], rule, *lines[len(rows) :]]
