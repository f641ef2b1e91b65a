"""A graph as a picture: DOT text, which is plain text, and SVG through Graphviz.

The forward pass runs down and the backward pass beside it back up, each op about as high as the one whose gradient it
is part of. Statistics of batches are followed through the graph: from the batch norm that takes them to the running
ones and to the backward pass, or from the running ones to the batch norm that is frozen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from ..bn.moments import MeanM2, WeightedMeanM2
from ..ops.batch_norm import BatchNorm, FrozenBatchNorm, MoveStatistics
from ..optim.optimizers import Update
from .showing import local, names, shape, written

if TYPE_CHECKING:
    from .calls import Call, Value
    from .graph import Graph

#: fill and line of each phase
COLORS = {
    "forward": ("#dfeaf6", "#2a6fbb"),
    "backward": ("#f8e1e2", "#c44e52"),
    "update": ("#e3f1de", "#4c8c3b"),
}
LOOKS = {
    "forward": 'style="filled,rounded"',
    "backward": "style=filled",
    "update": 'shape=hexagon margin="0,0" style=filled',
}
STATISTICS = "#e08a00"
GREY = "#5a6370"
FONT = "Helvetica,Arial,sans-serif"

#: which outputs, and which inputs, of an op are statistics; by name
MOMENTS = {0: "mean", 1: "M2"}
MADE = {BatchNorm: {1: "mean", 2: "var", 3: "1/std"}, MeanM2: MOMENTS, WeightedMeanM2: MOMENTS}
TAKEN = {FrozenBatchNorm: (3, 4), MoveStatistics: (0, 1)}


def dot(graph: Graph) -> str:
    """The graph in the DOT language: https://graphviz.org/doc/info/lang.html.

    Examples
    --------
    >>> import minigrad as mg
    >>> print(mg.capture(mg.sigmoid, mg.ones(3)).dot())  # doctest: +ELLIPSIS
    digraph "sigmoid" {
    ...
      n0 [...sigmoid...];
    ...
      in0 -> n0 [...];
    ...
    }
    """
    return "\n".join([f"digraph {_quoted(graph.title)} {{", *_Drawing(graph).lines(), "}"])


def render(text: str) -> str:
    """DOT text as SVG text.

    Raises
    ------
    ImportError
        If the Python package ``graphviz`` is not installed.
    RuntimeError
        If the program ``dot`` is not.
    """
    try:
        import graphviz  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "svg: needs the Python package graphviz: pip install 'minigrad[graphs]'; dot() needs nothing"
        ) from error
    try:
        return graphviz.Source(text).pipe("svg", encoding="utf-8", quiet=True)
    except graphviz.ExecutableNotFound as error:
        raise RuntimeError(
            "svg: needs Graphviz, whose program dot was not found: install it (apt install graphviz, brew install "
            "graphviz, or https://graphviz.org/download); dot() needs nothing"
        ) from error


class _Drawing:
    """A node for each call, input and output, and for the running statistics of a layer; the edges between them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.statistics = _statistics(graph)
        self.names = names(graph)
        self.calls = {call: f"n{i}" for i, call in enumerate(graph.calls)}
        self.backward = {n for call, n in self.calls.items() if call.phase == "backward"}
        self.updates = {n for call, n in self.calls.items() if isinstance(call.op, Update)}
        self.up = self.backward | self.updates
        self.moves = {n for call, n in self.calls.items() if isinstance(call.op, MoveStatistics)}
        #: where each value comes from; parameters are not drawn
        self.source = {v: f"in{i}" for i, v in enumerate(graph.inputs)}
        #: the running statistics of each layer
        self.running: dict[str, list[Value]] = defaultdict(list)
        for v in graph.state():
            if v in self.statistics:
                self.running[v.name.rpartition(".")[0]].append(v)
        self.stores = {layer: f"s{i}" for i, layer in enumerate(self.running)}
        self.source |= {v: self.stores[layer] for layer, vs in self.running.items() for v in vs}
        #: (from, to, whether they are statistics): what goes there
        self.edges: dict[tuple[str, str, bool], list[Value]] = defaultdict(list)
        for call, node in self.calls.items():
            for taken in call.inputs[call.op.writes :]:
                self._connect(taken, node)
            for v in call.written:
                if v.kind == "result":
                    self._connect(v, node)
                    self.source[v] = node
                elif v in self.statistics:
                    self.edges[node, self.source[v], True].append(v)
            self.source.update(dict.fromkeys(call.outputs, node))
        for i, v in enumerate(graph.outputs):
            self._connect(v, f"out{i}")
        self.level = dict.fromkeys(self._level())

    def _connect(self, v: Value | None, node: str) -> None:
        if v is not None and v in self.source:
            self.edges[self.source[v], node, v in self.statistics].append(v)

    def lines(self) -> Iterator[str]:
        yield f'  graph [label={self._title()} labelloc=t fontname="{FONT}" fontsize=12 bgcolor=white'
        yield "    nodesep=0.25 ranksep=0.3 newrank=true];"
        yield f'  node [shape=box fontname="{FONT}" fontsize=11 margin="0.12,0.05" height=0.3];'
        yield f'  edge [color="{GREY}" arrowsize=0.6 fontname="{FONT}" fontsize=9];'
        for i, v in enumerate(self.graph.inputs):
            yield f"  in{i} [{_terminal(v.name, v)}];"
        for i, (module, nodes) in enumerate(self._clusters().items()):
            if module:
                yield f"  subgraph cluster_{i} {{"
                yield f'    graph [label={_label("", module)} labeljust=l style=rounded color="#c8ced6"];'
            yield from (f"    {node}" for node in nodes)
            if module:
                yield "  }"
        for i, v in enumerate(self.graph.outputs):
            yield f"  out{i} [{_terminal('output' + (f' {i}' if i else ''), v)}];"
        yield from map(self._edge, self.edges)
        yield from (f"  {{ rank=same; {a}; {b}; }}" for a, b in self.level)

    def _clusters(self) -> dict[str, list[str]]:
        """The forward nodes of each module that computes in parts, or keeps statistics; all others under no name."""
        layers = {call.layer for call in self.calls}
        parents = {layer: layer.rpartition(".")[0] for layer in layers}
        where = {
            layer: layer
            if layer in parents.values() or (layer in self.stores and not parents[layer])
            else parents[layer]
            for layer in layers
        }
        found: dict[str, list[str]] = defaultdict(list)
        for call, node in self.calls.items():
            module = "" if call.phase == "backward" else where[call.layer]
            found[module].append(f"{node} [{self._node(call)}];")
        for layer, node in self.stores.items():
            held = ", ".join(local(v.name, layer) for v in self.running[layer])
            look = f'shape=cylinder style=filled fillcolor="#fdf1dc" color="{STATISTICS}"'
            found[where.get(layer, "")].append(f"{node} [label={_label('', held)} {look}];")
        return found

    def _node(self, call: Call) -> str:
        fill, line = COLORS[call.phase]
        flows = any(v in self.statistics for v in (*call.inputs, *call.outputs))
        border = f'color="{STATISTICS}" penwidth=2' if flows else f'color="{line}"'
        owner = type(call.op.optimizer).__name__ if isinstance(call.op, Update) else call.layer
        facts = [owner, shape(call.outputs[0]) if call.outputs else ""]
        label = _label(call.name, "  ".join(filter(None, facts)))
        tip = _quoted(
            f"{self.names[call.outputs[0]] if call.outputs else ''} {written(call, self.names)}"
        )
        return f'label={label} {LOOKS[call.phase]} fillcolor="{fill}" {border} tooltip={tip}'

    def _edge(self, key: tuple[str, str, bool]) -> str:
        source, target, statistics = key
        look = []
        if statistics:
            look.append(f'color="{STATISTICS}" penwidth=2')
            if source not in self.moves:
                made = dict.fromkeys(self.statistics[v] for v in self.edges[key])
                look.append(f"label={_label('', ', '.join(made))}")
        if (source in self.backward and target in self.up) or self._aside(key):
            source, target = target, source
            look.append("dir=back weight=0" if source in self.updates else "dir=back weight=4")
        elif target in self.up:
            look += [] if statistics else ["style=dashed"]
            look += [] if (source, target) in self.level else ["constraint=false"]
        else:
            look.append("weight=8")
        return f"  {source} -> {target} [{' '.join(look)}];"

    def _aside(self, key: tuple[str, str, bool]) -> bool:
        """Whether it leads out of the computation, to the running statistics."""
        source, target, statistics = key
        return statistics and (target in self.moves or source in self.moves)

    def _level(self) -> Iterator[tuple[str, str]]:
        """What stands side by side: ops and their gradients, and a layer and its statistics."""
        by_name = {node: call for call, node in self.calls.items()}
        led_to = {b for a, b, _ in self.edges if a in self.backward}
        for key in self.edges:
            a, b, statistics = key
            if b in self.backward and a in by_name and a not in self.backward:
                if b not in led_to or by_name[b].name == f"{by_name[a].name}_grad":
                    yield a, b
            elif statistics and (self._aside(key) or a in self.stores.values()):
                yield a, b

    def _title(self) -> str:
        phases = {call.phase for call in self.graph.calls}
        cells = [
            f'<td bgcolor="{fill}" color="{line}" border="1">{phase}</td>'
            for phase, (fill, line) in COLORS.items()
            if phase in phases
        ]
        if "backward" in phases:
            cells.append("<td>dashed: kept for the backward pass</td>")
        if self.statistics:
            cells.append(f'<td color="{STATISTICS}" border="2">batch statistics</td>')
        return (
            f'<<table border="0" cellspacing="6" cellpadding="3"><tr><td colspan="{max(len(cells), 1)}">'
            f"<b>{_escaped(self.graph.title)}</b></td></tr>"
            + (f"<tr>{''.join(cells)}</tr>" if cells else "")
            + "</table>>"
        )


def _statistics(graph: Graph) -> dict[Value, str]:
    """The values that are statistics of batches, or made of nothing else, and what to call them."""
    found: dict[Value, str] = {}
    for call in graph.calls:
        for i, v in enumerate(call.inputs):
            if v is not None and v.kind == "state" and i in TAKEN.get(type(call.op), ()):
                found.setdefault(v, ("mean", "var")[i - TAKEN[type(call.op)][0]])
        made = MADE.get(type(call.op), {})
        found |= {call.outputs[i]: name for i, name in made.items()}
        moving = [v for v in call.inputs if v is not None and v.kind != "constant"]
        if moving and all(v in found for v in moving):
            found |= dict.fromkeys(call.outputs, found[moving[0]])
    return found


def _terminal(name: str, value: Value) -> str:
    return f'label={_label(name, shape(value))} shape=ellipse margin="0.02,0.02" color="{GREY}"'


def _label(name: str, facts: str) -> str:
    """Two lines, the second small; or one of them."""
    lines = [f"<b>{_escaped(name)}</b>"] if name else []
    lines += [f'<font point-size="9" color="{GREY}">{_escaped(facts)}</font>'] if facts else []
    return f"<{'<br/>'.join(lines)}>" if lines else '""'


def _escaped(text: str) -> str:
    """Text for labels, which are a kind of HTML."""
    return escape(_printable(text))


def _quoted(text: str) -> str:
    """A string of the DOT language."""
    text = _printable(text).replace('"', '\\"')
    return f'"{text}"'


def _printable(text: str) -> str:
    """Without control characters, and with backslashes doubled, which are escapes in all of Graphviz's texts."""
    visible = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return visible.replace("\\", "\\\\")
