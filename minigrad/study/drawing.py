"""How results are shown: tables in text and HTML, and the nine operations of batch norm as a picture.

The picture is Kratzert's graph of batch norm: what is computed runs down, in grey, and the gradient runs up from y to x
on three paths, each in its colour. It is plain SVG. Text stands on boxes with a background of their own and lines have
medium shades, so it can be read on a light page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain, combinations, pairwise

from ..tensor import Tensor
from .steps import table

#: column and row of each box
PLACES = {
    "x": (1, 0), "mean": (2, 0), "squared": (0, 1), "centered": (1, 1), "var": (0, 2), "var_eps": (0, 3),
    "std": (0, 4), "xhat": (1, 4), "scaled": (1, 5), "gamma": (2, 5), "y": (1, 6), "beta": (2, 6), "legend": (2, 1.9),
}  # fmt: skip
#: the paths of the gradient: colour, offset of the line, equation, and the boxes on the way
LANES = {
    "direct": ("#2f7fd0", 7, "gxhat / std", "y scaled xhat centered x"),
    "mean": ("#a855c7", 21, "gmean / m", "y scaled xhat centered mean x"),
    "var": (
        "#d97706",
        -7,
        "2 centered gsquared",
        "y scaled xhat std var_eps var squared centered x",
    ),
}
#: the rest: colour, offset, and boxes
OTHERS = [
    ("#8b949e", -21, "x centered squared var var_eps std xhat scaled y"),
    ("#8b949e", -21, "x mean centered"),
    ("#8b949e", -21, "centered xhat"),
    ("#8b949e", -7, "gamma scaled"),
    ("#8b949e", -7, "beta y"),
    ("#b3261e", 7, "scaled gamma"),
    ("#b3261e", 7, "y beta"),
]
#: of the lines in a box: an equation, its value, and the same for the gradient
COLOURS = "#1f2328", "#116329", "#1f2328", "#b3261e"
CHOICES = [choice for n in range(4) for choice in combinations(LANES, n)]
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
FAINT = 0.2
#: arrowheads, by colour
HEADS = "".join(
    f'<marker id="mg-{colour[1:]}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
    f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    for colour in dict.fromkeys([*(c for c, *_ in OTHERS), *(c for c, *_ in LANES.values())])
)
#: x, y and width
Box = tuple[float, float, float]
#: in pixels: a letter's width, a line's height, a box's height, between columns, and from row to row
LETTER, LINE, HEIGHT, GAP, PITCH = 6.65, 15, 74, 56, 110


class Table:
    """What is printed, and shown in notebooks, as a table: ``rows``, the first of which are the heads of columns."""

    __slots__ = ()

    def rows(self) -> Iterable[tuple[str, ...]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return table(self.rows())

    def _repr_html_(self) -> str:
        head, *rows = [[escape(word) for word in row] for row in self.rows()]
        lines = [f"<tr><th>{'</th><th>'.join(head)}</th></tr>"]
        lines += [f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in rows]
        return f"<table>{''.join(lines)}</table>"


def shown(t: Tensor, most: int = 4) -> str:
    """Return all values, rounded, or the smallest and the largest of more than ``most``."""
    values = t.numpy().ravel()
    ends = values if t.size <= most else (values.min(), values.max())
    words = [f"{value + 0.0:.3g}" for value in ends]  # no -0
    if len(set(words)) == 1:
        return words[0]
    return (", " if t.size <= most else " to ").join(words)


@dataclass(frozen=True, eq=False)
class Step:
    """A primitive operation, or an input: its name, value and gradient, and the equations of both.

    Values per channel keep the averaged axes, with length 1.
    """

    name: str
    equation: str
    value: Tensor
    gradient_equation: str
    gradient: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape


def svg(steps: Mapping[str, Step], without: Sequence[str] = (), every: bool = False) -> str:
    """Draw steps and inputs; the paths in ``without`` are faint, and the gradient of x is the sum of the others.

    ``every`` writes that sum for every choice of paths, all but one hidden.
    """
    parts = _parts(steps)
    legend = {path: [f"{path} = {LANES[path][2]}", shown(part)] for path, part in parts.items()}
    texts = {"legend": [f"gx = {' + '.join(LANES)}", *chain(*legend.values())]}
    texts |= {name: _texts(step) for name, step in steps.items()}
    columns = [[texts[n] for n in PLACES if PLACES[n][0] == column] for column in range(3)]
    widths = [24 + LETTER * max(len(line) for t in column for line in t) for column in columns]
    left = [1 + sum(widths[:c]) + GAP * c for c in range(4)]
    boxes = {n: (left[c], 1 + PITCH * row, widths[c]) for n, (c, row) in PLACES.items()}
    drawn = [_way(boxes, way, lane, colour) for colour, lane, way in OTHERS]
    drawn.append(_box(boxes["legend"], texts["legend"][:1], 8.5 * LINE))
    for i, (path, (colour, lane, _, way)) in enumerate(LANES.items()):
        x, y, width = boxes["legend"]
        entry = _lines((x, y + LINE * (1.2 + 2.2 * i), width), legend[path], [colour] * 2)
        look = f'class="mg-{path}" opacity="{FAINT if path in without else 1}"'
        drawn.append(f"<g {look}>{entry}{_way(boxes, way, lane, colour, 2.5)}</g>")
    drawn += [_box(boxes[name], texts[name][: 3 if name == "x" else 4]) for name in steps]
    for choice in CHOICES if every else [without]:
        gx = sum((parts[path] for path in LANES if path not in choice), parts["direct"] * 0)
        look = f'class="mg-gx {_without(choice)}"' + (' display="none"' if every and choice else "")
        drawn.append(f"<g {look}>{_lines(boxes['x'], ['', '', '', shown(gx)])}</g>")
    size = f"{left[3] - GAP + 1:.0f}", 6 * PITCH + HEIGHT + 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'style="max-width:100%" font-family="{FONT}" font-size="11">{HEADS}{"".join(drawn)}</svg>'
    )


def html(steps: Mapping[str, Step]) -> str:
    """Draw steps and inputs, with a checkbox for each path, which a style sheet follows."""
    rules, boxes = [".mg-paths:has(input) .mg-gx{display:none}"], []
    for path, (colour, *_) in LANES.items():
        box = f'<input type="checkbox" class="mg-{path}" checked> {path} &nbsp;'
        boxes.append(f'<label style="color:{colour}">{box}</label>')
        rules.append(f".mg-paths{_off(path)} g.mg-{path}{{opacity:{FAINT}}}")
    for choice in CHOICES:
        chosen = "".join(_off(p) if p in choice else f":has(input.mg-{p}:checked)" for p in LANES)
        rules.append(f".mg-paths{chosen} .{_without(choice)}{{display:inline}}")
    style, picture = f"<style>{''.join(rules)}</style>", svg(steps, every=True)
    return f'<div class="mg-paths">{style}{"".join(boxes)}<br>{picture}</div>'


def _off(path: str) -> str:
    return f":has(input.mg-{path}:not(:checked))"


def _without(choice: Sequence[str]) -> str:
    """The class of the gradient of x without some paths."""
    return "-".join(["mg-without", *choice])


def _texts(step: Step) -> list[str]:
    """The lines of a box: an equation, its value, the equation of the gradient, its value."""
    number, _, rule = step.gradient_equation.rpartition("] ")
    return [
        f"{step.name} = {step.equation}" if step.equation else step.name,
        f"{shown(step.value)}\t{step.shape}",
        f"g{step.name} = {rule}" + (f"   {number}]" if number else ""),
        shown(step.gradient),
    ]


def _parts(steps: Mapping[str, Step]) -> dict[str, Tensor]:
    """The gradient of x in three parts."""
    value = {name: step.value for name, step in steps.items()}
    gradient = {name: step.gradient for name, step in steps.items()}
    m = value["x"].size // value["mean"].size
    return {
        "direct": gradient["xhat"] / value["std"],
        "mean": (gradient["mean"] / m).broadcast_to(value["x"].shape),
        "var": 2 * value["centered"] * gradient["squared"],
    }


def _box(box: Box, words: Sequence[str], height: float = HEIGHT) -> str:
    x, y, width = box
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" '
        f'fill="#f6f8fa" stroke="#8b949e"/>{_lines(box, words)}'
    )


def _lines(box: Box, lines: Sequence[str], colours: Sequence[str] = COLOURS) -> str:
    """Lines of text, every other one an equation, whose left side is bold; what follows a tab is on the right."""
    found = []
    for i, (line, colour) in enumerate(zip(lines, colours, strict=False)):
        if not line:
            continue
        left, _, right = line.partition("\t")
        name, sign, rest = left.partition(" = ")
        y = box[1] + LINE * (i + 1.2)
        if i % 2 == 0:
            left = f'<tspan font-weight="bold">{name}</tspan>{sign}{rest}'
        found.append(f'<text x="{box[0] + 12:.1f}" y="{y:.1f}" fill="{colour}">{left}</text>')
        if right:
            end = f'x="{box[0] + box[2] - 12:.1f}" y="{y:.1f}" text-anchor="end" fill="#6e7781"'
            found.append(f"<text {end}>{right}</text>")
    return "".join(found)


def _way(boxes: Mapping[str, Box], way: str, lane: int, colour: str, width: float = 1.5) -> str:
    """Arrows from each box to the next, ``lane`` pixels beside their middle."""
    names = way.split()
    look = (
        f'fill="none" stroke="{colour}" stroke-width="{width}" marker-end="url(#mg-{colour[1:]})"'
    )
    return "".join(
        f'<path d="M{" L".join(points)}" {look}/>'
        for a, b in pairwise(names)
        if (points := [f"{x:.1f} {y:.1f}" for x, y in _points(boxes[a], boxes[b], lane)])
    )


def _points(a: Box, b: Box, lane: int) -> list[tuple[float, float]]:
    if a[1] < b[1] and a[0] > b[0]:  # from the mean: down, then to the left
        x, y = a[0] + a[2] / 2 + lane, b[1] + HEIGHT / 2 + lane
        return [(x, a[1] + HEIGHT), (x, y), (b[0] + b[2], y)]
    if a[1] > b[1] and a[0] != b[0]:
        return _points(b, a, lane)[::-1]
    if a[1] == b[1]:
        y = a[1] + HEIGHT / 2 + lane
        return [(a[0] + a[2], y), (b[0], y)] if a[0] < b[0] else [(a[0], y), (b[0] + b[2], y)]
    x = a[0] + a[2] / 2 + lane
    return [(x, a[1] + HEIGHT), (x, b[1])] if a[1] < b[1] else [(x, a[1]), (x, b[1] + HEIGHT)]
