"""Graphs as pictures: which nodes and edges there are, in which colours, and that Graphviz can read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from graph.shared import batches, network, step_of

import minigrad as mg
from minigrad import nn
from minigrad.graph.drawing import LOOKS, STATISTICS
from models.mlp import MLP


@pytest.fixture
def dot():
    """The program, as a function: DOT text to text with all that Graphviz found."""
    if shutil.which("dot") is None:
        pytest.skip("the program dot (Graphviz) is not installed")

    def run(text, form="plain"):
        done = subprocess.run(
            ["dot", f"-T{form}"], input=text, capture_output=True, encoding="utf-8"
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def nodes(text):
    """{node: its attributes}"""
    return dict(re.findall(r"^ +(?!graph)(\w+) \[(label=.*)\];$", text, re.MULTILINE))


def edges(text):
    """{(from, to): its attributes}, in the direction of the arrow."""
    found = re.findall(r"^ +(\w+) -> (\w+) \[(.*)\];$", text, re.MULTILINE)
    return {(b, a) if "dir=back" in look else (a, b): look for a, b, look in found}


def statistics(text):
    """The edges that are drawn as statistics."""
    return {ends for ends, look in edges(text).items() if STATISTICS in look}


def model():
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm(3), nn.Sigmoid())


def step_graph(rng):
    net = network()
    return mg.capture(step_of(net, mg.optim.SGD(net.parameters(), lr=0.1)), *batches(rng)[0])


def pairs(text):
    return {tuple(pair.split(">")) for pair in text.split()}


def test_every_call_and_what_it_takes_is_drawn(backend):
    train, evaluated = (graph.dot() for graph in mg.graphs(model(), mg.ones((5, 4))))
    assert set(nodes(train)) == {"in0", "n0", "n1", "n2", "n3", "s0", "out0"}
    assert set(edges(train)) == pairs("in0>n0 n0>n1 n1>n2 n2>s0 n1>n3 n3>out0")
    assert statistics(train) == pairs("n1>n2 n2>s0")
    assert "mean, var" in edges(train)["n1", "n2"]
    assert set(edges(evaluated)) == pairs("in0>n0 n0>n1 s0>n1 n1>n2 n2>out0")
    assert statistics(evaluated) == pairs("s0>n1")
    assert "running_mean, running_var" in nodes(evaluated)["s0"]


def test_phases_are_told_apart_and_statistics_reach_the_backward_pass(backend, rng):
    graph = step_graph(rng)
    text = graph.dot()
    drawn = nodes(text)
    for i, call in enumerate(graph.calls):
        assert f'fillcolor="{LOOKS[call.phase][0]}"' in drawn[f"n{i}"], call.name
    number = {call.name: f"n{i}" for i, call in enumerate(graph.calls)}
    norm, grad = number["batch_norm"], number["batch_norm_grad"]
    move, update = number["move_statistics"], number["update"]
    assert statistics(text) == {(norm, grad), (norm, move), (move, "s0")}
    assert "mean, 1/std" in edges(text)[norm, grad]
    assert {n for n, look in drawn.items() if STATISTICS in look} == {norm, grad, move, "s0"}
    assert (number["mat_mul"], update) in edges(text)
    assert "style=dashed" in edges(text)["n0", grad]
    for phase in (*LOOKS, "batch statistics"):
        assert f">{phase}</td>" in text
    plain = mg.capture(mg.sigmoid, mg.ones(3)).dot()
    assert STATISTICS not in plain and "backward" not in plain


def test_statistics_are_followed_through_arithmetic():
    bn = nn.BatchNorm(3)

    def doubled(x):
        y, mean, var = mg.batch_norm(x, None, None)
        bn.move_statistics(mean, var * 2, len(x))
        return y

    graph = mg.capture(doubled, mg.ones((5, 3)))
    assert [c.name for c in graph.calls] == ["batch_norm", "multiply", "move_statistics"]
    assert statistics(graph.dot()) == pairs("n0>n1 n0>n2 n1>n2 n2>s0")


@pytest.mark.parametrize(
    ("make", "features", "titles"),
    [
        (lambda: MLP((8, 6, 6, 3)), 8, ["hidden.0", "hidden.1"]),
        (model, 4, ["1"]),  # a batch norm in no module has a frame of its own
    ],
)
def test_modules_are_frames_around_their_layers(make, features, titles):
    graph, _ = mg.graphs(make(), mg.ones((5, features)))
    frames = re.findall(r"subgraph cluster_\d+ \{(.*?)\n  \}", graph.dot(), re.DOTALL)
    for title, frame in zip(titles, frames, strict=True):
        assert f">{title}</font>" in frame
        assert re.findall(r"<b>(\w+)</b>", frame)[-2:] == ["batch_norm", "move_statistics"]
        assert "running_mean, running_var" in frame


def test_graphviz_reads_them(dot, backend, rng):
    """As many nodes and edges as there should be: a quote that does not close would swallow some."""
    for graph in (*mg.graphs(MLP((8, 6, 6, 3)), mg.ones((5, 8))), step_graph(rng)):
        text = graph.dot()
        plain = dot(text).splitlines()
        assert sum(line.startswith("node ") for line in plain) == len(nodes(text))
        assert sum(line.startswith("edge ") for line in plain) == len(edges(text))


NAMES = ['a"b', "a\\", "a\\N", "a<b>&amp;", "a}; x [", "a\nb", "a\x00", "\udc80", "ä", "]]>"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_what_they_are(dot, name):
    net = nn.Module()
    inner = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
    setattr(net, name, inner)
    net.forward = inner
    graph = mg.capture(net, mg.ones((4, 3)))
    graph.title = name
    text = graph.dot()
    text.encode()
    assert sum(line.startswith("node ") for line in dot(text).splitlines()) == 4
    texts = [e.text for e in ET.fromstring(dot(text, "svg")).iter() if e.tag.endswith("text")]
    visible = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    assert visible in texts
    assert f"{visible}.0  4x2" in [t.replace("\xa0", " ") for t in texts]
    assert len([t for t in texts if t == "linear"]) == 1


def test_svg_is_a_picture(dot):
    pytest.importorskip("graphviz")
    graph, _ = mg.graphs(model(), mg.ones((5, 4)))
    root = ET.fromstring(graph.svg())
    assert root.tag.endswith("svg")
    texts = {e.text for e in root.iter() if e.tag.endswith("text")}
    assert {"batch_norm", "move_statistics", "running_mean, running_var"} <= texts
    assert graph._repr_svg_() == graph.svg()


@pytest.mark.parametrize("missing", ["package", "program"])
def test_notebooks_show_the_table_where_something_is_missing(monkeypatch, tmp_path, missing):
    if missing == "package":
        monkeypatch.setitem(sys.modules, "graphviz", None)
        error, words = ImportError, r"pip install 'minigrad-bn\[graphs\]'"
    else:
        pytest.importorskip("graphviz")
        monkeypatch.setenv("PATH", str(tmp_path))
        error, words = RuntimeError, "apt install graphviz.*"
    graph = mg.capture(mg.sigmoid, mg.ones(3))
    with pytest.raises(error, match=rf"{words}; dot\(\) needs nothing"):
        graph.svg()
    assert graph._repr_svg_() is None
    assert "sigmoid" in graph.dot()
