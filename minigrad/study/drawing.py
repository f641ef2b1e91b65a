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
#: the paths of the gradient: colour, pixels beside the middle, equation, and the boxes on the way
LANES = {
    "direct": ("#2f7fd0", 7, "gxhat / std", "y scaled xhat centered x"),
    "mean": ("#a855c7", 21, "gmean / m", "y scaled xhat centered mean x"),
    "var": ("#d97706", -7, "2 centered gsquared", "y scaled xhat std var_eps var squared centered x"),
}  # fmt: skip
GREY, GREEN, RED, BLACK = "#7d8590", "#116329", "#b3261e", "#1f2328"
#: other arrows, of values and of the gradients of parameters
ARROWS = [
    (GREY, -21, "x centered squared var var_eps std xhat scaled y"), (GREY, -21, "x mean centered xhat"),
    (GREY, -7, "gamma scaled"), (GREY, -7, "beta y"), (RED, 7, "scaled gamma"), (RED, 7, "y beta"),
]  # fmt: skip
HEADS = "".join(
    f'<marker id="mg-{colour[1:]}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
    f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    for colour in (GREY, RED, *(colour for colour, *_ in LANES.values()))
)
#: of the lines in a box
COLOURS = BLACK, GREEN, BLACK, RED
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
FAINT = 0.2
#: in pixels: a letter's width, a line's height, a box's height, between columns, and from row to row
LETTER, LINE, HEIGHT, GAP, PITCH = 6.65, 15, 74, 56, 110
#: x, y and width
Box = tuple[float, float, float]


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


def svg(steps: Mapping[str, Step], parts: Mapping[str, Tensor], *choices: Sequence[str]) -> str:
    """Draw steps and inputs, and the ``parts`` of the gradient of x; those in a choice are faint and not in the sum.

    The sums of further choices are there too, hidden.
    """
    legend = {path: [f"{path} = {LANES[path][2]}", shown(part)] for path, part in parts.items()}
    texts = {name: _texts(step) for name, step in steps.items()}
    texts["legend"] = [f"gx = {' + '.join(LANES)}", *chain(*legend.values())]
    columns = [[texts[n] for n in PLACES if PLACES[n][0] == column] for column in range(3)]
    widths = [24 + LETTER * max(len(line) for t in column for line in t) for column in columns]
    left = [1 + sum(widths[:c]) + GAP * c for c in range(4)]
    boxes = {n: (left[c], 1 + PITCH * row, widths[c]) for n, (c, row) in PLACES.items()}
    drawn = [_arrows(boxes, way, lane, colour) for colour, lane, way in ARROWS]
    drawn += [_box(boxes[name], texts[name][: 3 if name == "x" else 4]) for name in steps]
    drawn.append(_box(boxes["legend"], texts["legend"][:1], 8 * LINE))
    for i, (path, (colour, lane, _, way)) in enumerate(LANES.items()):
        entry = _lines(boxes["legend"], [*[""] * (2 * i + 1), *legend[path]], [colour] * 7)
        look = f'class="mg-{path}" opacity="{FAINT if path in choices[0] else 1}"'
        drawn.append(f"<g {look}>{entry}{_arrows(boxes, way, lane, colour, 2.5)}</g>")
    for choice in choices:
        gx = sum((parts[path] for path in LANES if path not in choice), parts["direct"] * 0)
        marks = " ".join(f"mg-{path}-{'off' if path in choice else 'on'}" for path in LANES)
        hidden = ' display="none"' if choice is not choices[0] else ""
        line = _lines(boxes["x"], ["", "", "", shown(gx)])
        drawn.append(f'<g class="mg-gx {marks}"{hidden}>{line}</g>')
    width, height = round(left[3] - GAP + 1), 6 * PITCH + HEIGHT + 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'style="max-width:100%" font-family="{FONT}" font-size="11">{HEADS}{"".join(drawn)}</svg>'
    )


def html(steps: Mapping[str, Step], parts: Mapping[str, Tensor]) -> str:
    """Draw steps and inputs, with a checkbox for each path, which a style sheet follows."""
    rules, boxes = [".mg-paths:has(input) .mg-gx{display:inline}"], []
    for path, (colour, *_) in LANES.items():
        off, on = (
            f".mg-paths:has(input.mg-{path}{state})" for state in (":not(:checked)", ":checked")
        )
        rules.append(f"{off} g.mg-{path}{{opacity:{FAINT}}}")
        rules.append(f"{off} .mg-{path}-on,{on} .mg-{path}-off{{display:none}}")
        box = f'<input type="checkbox" class="mg-{path}" checked> {path} &nbsp;'
        boxes.append(f'<label style="color:{colour}">{box}</label>')
    picture = svg(steps, parts, *(c for n in range(4) for c in combinations(LANES, n)))
    style = f"<style>{''.join(rules)}</style>"
    return f'<div class="mg-paths">{style}{"".join(boxes)}<br>{picture}</div>'


def _texts(step: Step) -> list[str]:
    """The lines of a box: an equation, its value and shape, the equation of the gradient, its value."""
    number, _, rule = step.gradient_equation.rpartition("] ")
    return [
        f"{step.name} = {step.equation or 'given'}",
        f"{shown(step.value)}\t{step.shape}",
        f"g{step.name} = {rule}" + (f" {number}]" if number else ""),
        shown(step.gradient),
    ]


def _box(box: Box, lines: Sequence[str], height: float = HEIGHT) -> str:
    x, y, width = box
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" '
        f'fill="#f6f8fa" stroke="{GREY}"/>{_lines(box, lines)}'
    )


def _lines(box: Box, lines: Sequence[str], colours: Sequence[str] = COLOURS) -> str:
    """Lines of text, the left side of equations bold, and what follows a tab at the right end."""
    found = []
    for i, (line, colour) in enumerate(zip(lines, colours, strict=False)):
        y = f'y="{box[1] + LINE * (i + 1.2):.1f}"'
        left, _, right = line.partition("\t")
        name, sign, rest = left.partition(" = ")
        bold = f'<tspan font-weight="bold">{name}</tspan>' if sign else name
        words = [f'<text x="{box[0] + 12:.1f}" {y} fill="{colour}">{bold}{sign}{rest}</text>']
        if right:
            end = f'x="{box[0] + box[2] - 12:.1f}" text-anchor="end"'
            words.append(f'<text {end} {y} fill="{GREY}">{right}</text>')
        found += words if line else []
    return "".join(found)


def _arrows(boxes: Mapping[str, Box], way: str, lane: int, colour: str, width: float = 1.5) -> str:
    """Arrows from each box to the next, ``lane`` pixels beside their middle."""
    found = []
    for a, b in pairwise(boxes[name] for name in way.split()):
        points = " L".join(f"{x:.1f} {y:.1f}" for x, y in _bends(a, b, lane))
        look = f'stroke="{colour}" stroke-width="{width}" marker-end="url(#mg-{colour[1:]})"'
        found.append(f'<path d="M{points}" fill="none" {look}/>')
    return "".join(found)


def _bends(a: Box, b: Box, lane: int) -> list[tuple[float, float]]:
    """Where an arrow starts, bends and ends."""
    if (a[1], a[0]) > (b[1], b[0]):
        return _bends(b, a, lane)[::-1]
    x, y = a[0] + a[2] / 2 + lane, b[1] + HEIGHT / 2 + lane
    if a[1] == b[1]:
        return [(a[0] + a[2], y), (b[0], y)]
    if a[0] == b[0]:
        return [(x, a[1] + HEIGHT), (x, b[1])]
    return [(x, a[1] + HEIGHT), (x, y), (b[0] + b[2], y)]  # down, then to the left
