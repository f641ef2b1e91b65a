"""A graph as a picture: DOT text, and SVG through Graphviz.

The forward pass runs down and the backward pass up beside it, each op about as high as the one whose gradient it is
part of. Statistics of batches are highlighted from the batch norm that computes them to the running statistics and the
backward pass, or from the running statistics to the frozen batch norm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from html import escape

from .calls import Call, Trace, Value
from .showing import local, names, shape, written

#: fill, line and further attributes of each phase
LOOKS = {
    "forward": ("#dfeaf6", "#2a6fbb", 'style="filled,rounded"'),
    "backward": ("#f8e1e2", "#c44e52", "style=filled"),
    "update": ("#e3f1de", "#4c8c3b", 'shape=hexagon margin="0,0" style=filled'),
}
STATISTICS = "#e08a00"
HIGHLIGHT = f'color="{STATISTICS}" penwidth=2'
GREY = "#5a6370"
FONT = 'fontname="Helvetica,Arial,sans-serif"'

#: which outputs of ops are statistics, and how they are called
MADE = {
    "batch_norm": {1: "mean", 2: "var", 3: "1/std"},
    "mean_m2": {0: "mean", 1: "M2"},
}
#: which inputs of ops are running statistics: mean and variance
TAKEN = {"frozen_batch_norm": (3, 4), "move_statistics": (0, 1)}


def dot(graph: Trace) -> str:
    """Return the graph in the DOT language: https://graphviz.org/doc/info/lang.html.

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


def svg(graph: Trace) -> str:
    """Return the graph as SVG text; see ``Graph.svg``."""
    try:
        import graphviz  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "svg: needs the Python package graphviz: pip install 'minigrad-bn[graphs]'; dot() needs nothing"
        ) from error
    try:
        return graphviz.Source(dot(graph)).pipe("svg", encoding="utf-8", quiet=True)
    except graphviz.ExecutableNotFound as error:
        raise RuntimeError(
            "svg: needs Graphviz, whose program dot was not found: install it (apt install graphviz, brew install "
            "graphviz, or https://graphviz.org/download); dot() needs nothing"
        ) from error


class _Drawing:
    """Nodes for calls, inputs, outputs and the running statistics of each layer, and the edges between them."""

    def __init__(self, graph: Trace) -> None:
        self.graph, self.statistics, self.names = graph, _statistics(graph), names(graph)
        self.calls = {f"n{i}": call for i, call in enumerate(graph.calls)}
        self.backward = {node for node, call in self.calls.items() if call.phase == "backward"}
        self.updates, self.moves = (
            {node for node, call in self.calls.items() if call.name == name}
            for name in ("update", "move_statistics")
        )
        #: the running statistics of each layer, which are one node; other state is not drawn
        self.running: dict[str, list[Value]] = defaultdict(list)
        for v in graph.state():
            if v in self.statistics:
                self.running[v.name.rpartition(".")[0]].append(v)
        #: the node that each value comes from
        self.source = {v: f"in{i}" for i, v in enumerate(graph.inputs)}
        for i, values in enumerate(self.running.values()):
            self.source |= dict.fromkeys(values, f"s{i}")
        #: (from, to, whether they are statistics): the values
        self.edges: dict[tuple[str, str, bool], list[Value]] = defaultdict(list)
        for node, call in self.calls.items():
            in_place = [v for v in call.written if v.kind == "result"]
            self._connect((*call.inputs[call.op.writes :], *in_place), node)
            for v in call.written:
                if v.kind != "result" and v in self.statistics:
                    self.edges[node, self.source[v], True].append(v)
            self.source |= dict.fromkeys((*in_place, *call.outputs), node)
        for i, v in enumerate(graph.outputs):
            self._connect([v], f"out{i}")
        self.level = dict.fromkeys(self._level())

    def _connect(self, values: Iterable[Value | None], node: str) -> None:
        for v in values:
            if v is not None and v in self.source:
                self.edges[self.source[v], node, v in self.statistics].append(v)

    def lines(self) -> Iterator[str]:
        """Write the statements of the digraph."""
        yield f"  graph [label={self._title()} labelloc=t {FONT} fontsize=12 bgcolor=white"
        yield "    nodesep=0.25 ranksep=0.3 newrank=true];"
        yield f'  node [shape=box {FONT} fontsize=11 margin="0.12,0.05" height=0.3];'
        yield f'  edge [color="{GREY}" arrowsize=0.6 {FONT} fontsize=9];'
        for i, v in enumerate(self.graph.inputs):
            yield f"  in{i} [{_terminal(v.name, v)}];"
        for i, (module, nodes) in enumerate(self._clusters().items()):
            yield f"  subgraph cluster_{i} {{" if module else "  {"
            if module:
                yield f'    graph [label={_label("", module)} labeljust=l style=rounded color="#c8ced6"];'
            yield from (f"    {node}" for node in nodes)
            yield "  }"
        for i, v in enumerate(self.graph.outputs):
            yield f"  out{i} [{_terminal(f'output {i}' if i else 'output', v)}];"
        yield from map(self._edge, self.edges)
        yield from (f"  {{ rank=same; {a}; {b}; }}" for a, b in self.level)

    def _title(self) -> str:
        phases = {call.phase for call in self.graph.calls}
        cells = [
            f'<td bgcolor="{fill}" color="{line}" border="1">{phase}</td>'
            for phase, (fill, line, _) in LOOKS.items()
            if phase in phases
        ]
        if "backward" in phases:
            cells.append("<td>dashed: kept for the backward pass</td>")
        if self.statistics:
            cells.append(f'<td color="{STATISTICS}" border="2">batch statistics</td>')
        title = f'<td colspan="{max(len(cells), 1)}"><b>{_escaped(self.graph.title)}</b></td>'
        rows = "".join(f"<tr>{row}</tr>" for row in (title, "".join(cells)) if row)
        return f'<<table border="0" cellspacing="6" cellpadding="3">{rows}</table>>'

    def _clusters(self) -> dict[str, list[str]]:
        """Group forward nodes by the module that computes in parts, or keeps statistics; the others have no name."""
        parents = {call.layer.rpartition(".")[0] for call in self.graph.calls}
        found: dict[str, list[str]] = defaultdict(list)

        def add(layer: str, node: str) -> None:
            parent = layer.rpartition(".")[0]
            own = layer in parents or (layer in self.running and not parent)
            found[layer if own else parent].append(node)

        for node, call in self.calls.items():
            text = f"{node} [{self._node(call)}];"
            add(call.layer, text) if node not in self.backward else found[""].append(text)
        for layer, values in self.running.items():
            label = _label("", ", ".join(local(v.name, layer) for v in values))
            look = f'shape=cylinder style=filled fillcolor="#fdf1dc" color="{STATISTICS}"'
            add(layer, f"{self.source[values[0]]} [label={label} {look}];")
        return found

    def _node(self, call: Call) -> str:
        fill, line, look = LOOKS[call.phase]
        border = f'color="{line}"'
        if not self.statistics.keys().isdisjoint(call.values):
            border = HIGHLIGHT
        optimizer = getattr(call.op, "optimizer", None)
        owner = type(optimizer).__name__ if optimizer else call.layer
        size, name = [f(call.outputs[0]) if call.outputs else "" for f in (shape, self.names.get)]
        label = _label(call.name, "  ".join(filter(None, (owner, size))))
        tip = _quoted(f"{name} {written(call, self.names)}")
        return f'label={label} {look} fillcolor="{fill}" {border} tooltip={tip}'

    def _edge(self, key: tuple[str, str, bool]) -> str:
        source, target, statistics = key
        look = [HIGHLIGHT] if statistics else []
        if statistics and source not in self.moves:
            made = dict.fromkeys(self.statistics[v] for v in self.edges[key])
            look.append(f"label={_label('', ', '.join(made))}")
        # Graphviz ranks nodes by the direction of edges, so those that point up are written in reverse.
        up = target in self.backward | self.updates
        if (source in self.backward and up) or self._aside(key):
            look.append(f"dir=back weight={0 if target in self.updates else 4}")
            source, target = target, source
        elif up:
            look += [] if statistics else ["style=dashed"]
            look += [] if (source, target) in self.level else ["constraint=false"]
        else:
            look.append("weight=8")
        return f"  {source} -> {target} [{' '.join(look)}];"

    def _level(self) -> Iterator[tuple[str, str]]:
        """Find the nodes to be drawn side by side: ops and their gradients, layers and their statistics."""
        led_to = {target for source, target, _ in self.edges if source in self.backward}
        for key in self.edges:
            a, b, statistics = key
            if b in self.backward and a in self.calls and a not in self.backward:
                if b not in led_to or self.calls[b].name == f"{self.calls[a].name}_grad":
                    yield a, b
            elif statistics and (self._aside(key) or a[0] == "s"):
                yield a, b

    def _aside(self, key: tuple[str, str, bool]) -> bool:
        """Whether an edge leads out of the computation, to the running statistics."""
        return key[2] and not self.moves.isdisjoint(key[:2])


def _statistics(graph: Trace) -> dict[Value, str]:
    """Name the values that are statistics of batches, or computed from nothing else."""
    found: dict[Value, str] = {}
    for call in graph.calls:
        for i, name in zip(TAKEN.get(call.name, ()), ("mean", "var"), strict=False):
            v = call.inputs[i]
            if v is not None and v.kind == "state":
                found.setdefault(v, name)
        found |= {call.outputs[i]: name for i, name in MADE.get(call.name, {}).items()}
        inputs = [v for v in call.inputs if v is not None and v.kind != "constant"]
        if inputs and all(v in found for v in inputs):
            found |= dict.fromkeys(call.outputs, found[inputs[0]])
    return found


def _label(name: str, facts: str) -> str:
    """Return an HTML label of one or two lines, the second one small."""
    lines = [f"<b>{_escaped(name)}</b>"] if name else []
    lines += [f'<font point-size="9" color="{GREY}">{_escaped(facts)}</font>'] if facts else []
    return f"<{'<br/>'.join(lines)}>" if lines else '""'


def _terminal(name: str, value: Value) -> str:
    return f'label={_label(name, shape(value))} shape=ellipse margin="0.02,0.02" color="{GREY}"'


def _escaped(text: str) -> str:
    """Escape text for HTML labels."""
    return escape(_printable(text))


def _quoted(text: str) -> str:
    """Quote a string of the DOT language."""
    text = _printable(text).replace('"', '\\"')
    return f'"{text}"'


def _printable(text: str) -> str:
    """Replace control characters, and double backslashes, which Graphviz takes for escapes."""
    visible = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return visible.replace("\\", "\\\\")
