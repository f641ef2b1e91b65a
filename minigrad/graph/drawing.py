"""A graph as a picture: DOT text, and SVG through Graphviz.

The forward pass runs down and the backward pass up beside it, each op about as high as the one whose gradient it is
part of. Statistics of batches are highlighted from the batch norm that computes them to the running statistics and the
backward pass, or from the running statistics to the frozen batch norm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html import escape

from ..bn.moments import MeanM2, WeightedMeanM2
from ..ops.batch_norm import BatchNorm, FrozenBatchNorm, MoveStatistics
from ..optim.optimizers import Update
from .calls import Call, Trace, Value
from .fused import ActivatedBatchNorm, ActivatedFrozenBatchNorm
from .showing import local, names, shape, written

#: fill and line of each phase, and further attributes
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
FONT = 'fontname="Helvetica,Arial,sans-serif"'

#: which outputs, and which inputs, of an op are statistics; by name
MOMENTS = {0: "mean", 1: "M2"}
MADE = {BatchNorm: {1: "mean", 2: "var", 3: "1/std"}, MeanM2: MOMENTS, WeightedMeanM2: MOMENTS}
MADE[ActivatedBatchNorm] = MADE[BatchNorm]
TAKEN = {FrozenBatchNorm: (3, 4), ActivatedFrozenBatchNorm: (3, 4), MoveStatistics: (0, 1)}


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


def render(text: str) -> str:
    """Convert DOT text to SVG text.

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
    """Nodes for calls, inputs, outputs and the running statistics of each layer, and the edges between them."""

    def __init__(self, graph: Trace) -> None:
        self.graph = graph
        self.statistics = _statistics(graph)
        self.names = names(graph)
        self.calls = {f"n{i}": call for i, call in enumerate(graph.calls)}
        #: the running statistics of each layer, which are one node; other state is not drawn
        self.running: dict[str, list[Value]] = defaultdict(list)
        for v in graph.state():
            if v in self.statistics:
                self.running[v.name.rpartition(".")[0]].append(v)
        self.stores = {layer: f"s{i}" for i, layer in enumerate(self.running)}
        #: the node that each value comes from
        self.source = {v: f"in{i}" for i, v in enumerate(graph.inputs)}
        self.source |= {v: self.stores[layer] for layer, vs in self.running.items() for v in vs}
        #: (from, to, whether they are statistics): the values
        self.edges: dict[tuple[str, str, bool], list[Value]] = defaultdict(list)
        for node, call in self.calls.items():
            in_place = [v for v in call.written if v.kind == "result"]
            for taken in (*call.inputs[call.op.writes :], *in_place):
                self._connect(taken, node)
            for v in call.written:
                if v.kind != "result" and v in self.statistics:
                    self.edges[node, self.source[v], True].append(v)
            self.source.update(dict.fromkeys((*in_place, *call.outputs), node))
        for i, v in enumerate(graph.outputs):
            self._connect(v, f"out{i}")
        self.level = dict.fromkeys(self._level())

    def _connect(self, v: Value | None, node: str) -> None:
        if v is not None and v in self.source:
            self.edges[self.source[v], node, v in self.statistics].append(v)

    def lines(self) -> Iterator[str]:
        yield f"  graph [label={self._title()} labelloc=t {FONT} fontsize=12 bgcolor=white"
        yield "    nodesep=0.25 ranksep=0.3 newrank=true];"
        yield f'  node [shape=box {FONT} fontsize=11 margin="0.12,0.05" height=0.3];'
        yield f'  edge [color="{GREY}" arrowsize=0.6 {FONT} fontsize=9];'
        terminals = [(f"in{i}", v.name, v) for i, v in enumerate(self.graph.inputs)]
        for i, v in enumerate(self.graph.outputs):
            terminals.append((f"out{i}", f"output {i}" if i else "output", v))
        for node, name, v in terminals:
            look = f'shape=ellipse margin="0.02,0.02" color="{GREY}"'
            yield f"  {node} [label={_label(name, shape(v))} {look}];"
        for i, (module, nodes) in enumerate(self._clusters().items()):
            if module:
                yield f"  subgraph cluster_{i} {{"
                yield f'    graph [label={_label("", module)} labeljust=l style=rounded color="#c8ced6"];'
            yield from (f"    {node}" for node in nodes)
            if module:
                yield "  }"
        yield from map(self._edge, self.edges)
        yield from (f"  {{ rank=same; {a}; {b}; }}" for a, b in self.level)

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
            '<<table border="0" cellspacing="6" cellpadding="3">'
            f'<tr><td colspan="{max(len(cells), 1)}"><b>{_escaped(self.graph.title)}</b></td></tr>'
            + (f"<tr>{''.join(cells)}</tr>" if cells else "")
            + "</table>>"
        )

    def _clusters(self) -> dict[str, list[str]]:
        """Group forward nodes by the module that computes in parts, or keeps statistics; the others have no name."""
        layers = {call.layer for call in self.graph.calls}
        parents = {layer: layer.rpartition(".")[0] for layer in layers}
        where = {
            layer: layer
            if layer in parents.values() or (layer in self.stores and not parents[layer])
            else parents[layer]
            for layer in layers
        }
        found: dict[str, list[str]] = defaultdict(list)
        for node, call in self.calls.items():
            module = "" if call.phase == "backward" else where[call.layer]
            found[module].append(f"{node} [{self._node(call)}];")
        for layer, node in self.stores.items():
            held = ", ".join(local(v.name, layer) for v in self.running[layer])
            look = f'shape=cylinder style=filled fillcolor="#fdf1dc" color="{STATISTICS}"'
            found[where.get(layer, "")].append(f"{node} [label={_label('', held)} {look}];")
        return found

    def _node(self, call: Call) -> str:
        fill, line = COLORS[call.phase]
        border = f'color="{line}"'
        if not self.statistics.keys().isdisjoint(call.values):
            border = f'color="{STATISTICS}" penwidth=2'
        owner = type(call.op.optimizer).__name__ if isinstance(call.op, Update) else call.layer
        made = call.outputs[0] if call.outputs else None
        facts = filter(None, (owner, shape(made) if made else ""))
        tip = _quoted(f"{self.names[made] if made else ''} {written(call, self.names)}")
        look = f'{LOOKS[call.phase]} fillcolor="{fill}" {border} tooltip={tip}'
        return f"label={_label(call.name, '  '.join(facts))} {look}"

    def _edge(self, key: tuple[str, str, bool]) -> str:
        source, target, statistics = key
        look = [f'color="{STATISTICS}" penwidth=2'] if statistics else []
        if statistics and not self._is(source, MoveStatistics):
            made = dict.fromkeys(self.statistics[v] for v in self.edges[key])
            look.append(f"label={_label('', ', '.join(made))}")
        # Graphviz ranks nodes by the direction of edges, so those that point up are written in reverse.
        up = self._backward(target) or self._is(target, Update)
        if (self._backward(source) and up) or self._aside(key):
            look.append(f"dir=back weight={0 if self._is(target, Update) else 4}")
            source, target = target, source
        elif up:
            look += [] if statistics else ["style=dashed"]
            look += [] if (source, target) in self.level else ["constraint=false"]
        else:
            look.append("weight=8")
        return f"  {source} -> {target} [{' '.join(look)}];"

    def _level(self) -> Iterator[tuple[str, str]]:
        """Find the nodes to be drawn side by side: ops and their gradients, layers and their statistics."""
        led_to = {target for source, target, _ in self.edges if self._backward(source)}
        for key in self.edges:
            a, b, statistics = key
            if self._backward(b) and a in self.calls and not self._backward(a):
                if b not in led_to or self.calls[b].name == f"{self.calls[a].name}_grad":
                    yield a, b
            elif statistics and (self._aside(key) or a in self.stores.values()):
                yield a, b

    def _aside(self, key: tuple[str, str, bool]) -> bool:
        """Whether an edge leads out of the computation, to the running statistics."""
        return key[2] and any(self._is(node, MoveStatistics) for node in key[:2])

    def _backward(self, node: str) -> bool:
        return node in self.calls and self.calls[node].phase == "backward"

    def _is(self, node: str, op: type) -> bool:
        return node in self.calls and isinstance(self.calls[node].op, op)


def _statistics(graph: Trace) -> dict[Value, str]:
    """Name the values that are statistics of batches, or computed from nothing else."""
    found: dict[Value, str] = {}
    for call in graph.calls:
        for i, name in zip(TAKEN.get(type(call.op), ()), ("mean", "var"), strict=False):
            v = call.inputs[i]
            if v is not None and v.kind == "state":
                found.setdefault(v, name)
        found |= {call.outputs[i]: name for i, name in MADE.get(type(call.op), {}).items()}
        inputs = [v for v in call.inputs if v is not None and v.kind != "constant"]
        if inputs and all(v in found for v in inputs):
            found |= dict.fromkeys(call.outputs, found[inputs[0]])
    return found


def _label(name: str, facts: str) -> str:
    """Return an HTML label of one or two lines, the second one small."""
    lines = [f"<b>{_escaped(name)}</b>"] if name else []
    lines += [f'<font point-size="9" color="{GREY}">{_escaped(facts)}</font>'] if facts else []
    return f"<{'<br/>'.join(lines)}>" if lines else '""'


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
