"""A graph as text: a table of its calls, and calls as they would be written in code."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .calls import Call, Trace, Value
from .costs import flops, made, parameters, peak, size

HEAD = ("#", "phase", "op", "layer", "output", "parameters", "bytes", "FLOPs")
#: columns of numbers
RIGHT = {0, 5, 6, 7}
PHASES = ("forward", "backward", "update")


def table(graph: Trace) -> str:
    """Return a table with one row per call, and totals.

    The phase is shown where it changes, parameters where they are first used. ``bytes`` counts arrays that are
    allocated, not views or in-place updates; FLOPs follow the convention of ``minigrad.graph.costs``. The last line
    tells how much is in memory at once, which is less, since replays reuse memory.
    """
    rows: list[Sequence[str]] = [HEAD]
    costs: dict[Call, tuple[int, int, int]] = {}
    seen: set[Value] = set()
    phase = ""
    for i, call in enumerate(graph.calls):
        new = {*parameters(call)} - seen
        seen |= new
        costs[call] = sum(map(size, new)), made(call), flops(call)
        mark, phase = "" if call.phase == phase else call.phase, call.phase
        rows.append((str(i), mark, call.name, call.layer, _output(call), *counted(costs[call])))
    totals = []
    phases = [p for p in PHASES if any(call.phase == p for call in graph.calls)]
    for name in (*(phases if len(phases) > 1 else ()), "total"):
        chosen = [n for call, n in costs.items() if name in (call.phase, "total")]
        sums = [sum(column) for column in zip(*chosen, strict=True)] or [0, 0, 0]
        count = f"{len(chosen):,} op{'' if len(chosen) == 1 else 's'}"
        totals.append(("", name, count, "", "", *counted(sums)))
    head, *lines = aligned([*rows, *totals])
    rule = "-" * max(map(len, (head, *lines)))
    body, last = lines[: len(costs)], lines[len(costs) :]
    inputs, outputs = (
        ", ".join(f"{shape(v)} {v.dtype}" for v in values) or "nothing"
        for values in (graph.inputs, graph.outputs)
    )
    title = f"{graph.title}: {inputs} -> {outputs}"
    held = f"results in memory at once: {peak(graph):,} bytes"
    return "\n".join([title, "", head, rule, *body, rule, *last, "", held])


def shape(value: Value) -> str:
    """Return a shape as text: 60x100, or () for a scalar."""
    return "x".join(map(str, value.shape)) or "()"


def names(graph: Trace) -> dict[Value, str]:
    """Name all values: constants by their number, results by their call, others by their own name or kind.

    ``#1.2`` is output 2 of call 1; a result that is changed in place keeps its name.
    """
    found = {v: v.name or v.kind for v in graph.values()}
    for v in graph.constants():
        assert v.tensor is not None
        found[v] = f"{v.tensor.item():.6g}" if v.shape == () else f"constant {shape(v)}"
    for i, call in enumerate(graph.calls):
        many = len(call.outputs) > 1
        found |= {v: f"#{i}.{j}" if many else f"#{i}" for j, v in enumerate(call.outputs)}
    return found


def local(name: str, layer: str) -> str:
    """Return the name of a parameter or buffer within its layer."""
    return name.removeprefix(f"{layer}.") if layer else name


def written(call: Call, known: dict[Value, str]) -> str:
    """Return a call as it would be written in code: ``batch_norm(#0, gamma, beta)``."""
    inputs = ("None" if v is None else local(known[v], call.layer) for v in call.inputs)
    return f"{call.name}({', '.join(inputs)})"


def _output(call: Call) -> str:
    if not call.outputs:
        return f"writes {len(call.written)} array{'s' if len(call.written) > 1 else ''}"
    return ", ".join(map(shape, call.outputs))


def counted(numbers: Sequence[int]) -> tuple[str, ...]:
    """Return numbers as text, nothing for 0."""
    return tuple(f"{n:,}" if n else "" for n in numbers)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = RIGHT) -> list[str]:
    """Join columns: words to the left, the columns ``right`` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
