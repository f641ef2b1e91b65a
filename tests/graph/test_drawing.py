"""Graphs as pictures: which nodes and edges there are, in which colours, and that Graphviz can read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.graph.drawing import COLORS, STATISTICS
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


def step_graph():
    net = model()
    optimizer = mg.optim.SGD(net.parameters(), lr=0.1)

    def step(x, t):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return mg.capture(step, mg.ones((5, 4)), mg.tensor(np.array([0, 1, 2, 0, 1])))


def number(graph, name):
    (found,) = (f"n{i}" for i, c in enumerate(graph.calls) if c.name == name)
    return found


def test_every_call_and_what_it_takes_is_drawn(backend):
    train_graph, eval_graph = mg.graphs(model(), mg.ones((5, 4)))
    text = train_graph.dot()
    assert set(nodes(text)) == {"in0", "n0", "n1", "n2", "n3", "s0", "out0"}
    assert set(edges(text)) == {
        ("in0", "n0"), ("n0", "n1"), ("n1", "n2"), ("n2", "s0"), ("n1", "n3"), ("n3", "out0"),
    }  # fmt: skip
    assert statistics(text) == {("n1", "n2"), ("n2", "s0")}
    assert "mean, var" in edges(text)["n1", "n2"]
    text = eval_graph.dot()
    assert set(edges(text)) == {
        ("in0", "n0"), ("n0", "n1"), ("s0", "n1"), ("n1", "n2"), ("n2", "out0"),
    }  # fmt: skip
    assert statistics(text) == {("s0", "n1")}
    assert "running_mean, running_var" in nodes(text)["s0"]


def test_phases_are_told_apart_and_statistics_reach_the_backward_pass(backend):
    graph = step_graph()
    text = graph.dot()
    drawn = nodes(text)
    for i, call in enumerate(graph.calls):
        fill = re.search(r'fillcolor="(.*?)"', drawn[f"n{i}"])[1]
        assert fill == COLORS[call.phase][0], call.name
    assert len({fill for fill, _ in COLORS.values()}) == 3
    norm, grad = number(graph, "batch_norm"), number(graph, "batch_norm_grad")
    move, update = number(graph, "move_statistics"), number(graph, "update")
    assert statistics(text) == {(norm, grad), (norm, move), (move, "s0")}
    assert "mean, 1/std" in edges(text)[norm, grad]
    bordered = {n for n, look in drawn.items() if STATISTICS in look}
    assert bordered == {norm, grad, move, "s0"}
    assert (number(graph, "mat_mul"), update) in edges(text)
    assert "style=dashed" in edges(text)[number(graph, "linear"), grad]
    for phase in COLORS:
        assert f">{phase}</td>" in text
    assert ">batch statistics</td>" in text


def test_statistics_are_followed_through_arithmetic():
    bn = nn.BatchNorm(3)

    def doubled(x):
        y, mean, var = mg.batch_norm(x, None, None)
        bn.move_statistics(mean, var * 2, len(x))
        return y

    graph = mg.capture(doubled, mg.ones((5, 3)))
    assert [c.name for c in graph.calls] == ["batch_norm", "multiply", "move_statistics"]
    assert statistics(graph.dot()) == {("n0", "n1"), ("n0", "n2"), ("n1", "n2"), ("n2", "s0")}


def test_a_graph_without_batch_norm_speaks_of_no_statistics():
    text = mg.capture(mg.sigmoid, mg.ones(3)).dot()
    assert STATISTICS not in text
    assert "backward" not in text


def test_modules_are_frames_around_their_layers():
    graph, _ = mg.graphs(MLP((8, 6, 6, 3)), mg.ones((5, 8)))
    frames = re.findall(r"subgraph cluster_\d+ \{(.*?)\n  \}", graph.dot(), re.DOTALL)
    assert len(frames) == 2
    for i, frame in enumerate(frames):
        assert f">hidden.{i}</font>" in frame
        assert re.findall(r"<b>(\w+)</b>", frame) == ["linear", "batch_norm", "move_statistics"]


def test_a_batch_norm_in_no_module_has_a_frame_of_its_own():
    graph, _ = mg.graphs(model(), mg.ones((5, 4)))
    (frame,) = re.findall(r"subgraph cluster_\d+ \{(.*?)\n  \}", graph.dot(), re.DOTALL)
    assert re.findall(r"<b>(\w+)</b>", frame) == ["batch_norm", "move_statistics"]
    assert "running_mean, running_var" in frame


def test_graphviz_reads_them(dot, backend):
    """As many nodes and edges as there should be: a quote that does not close would swallow some."""
    for graph in (*mg.graphs(MLP((8, 6, 6, 3)), mg.ones((5, 8))), step_graph()):
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
    plain = dot(text).splitlines()
    assert sum(line.startswith("node ") for line in plain) == 4
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


def test_without_the_package_notebooks_show_the_table(monkeypatch):
    graph = mg.capture(mg.sigmoid, mg.ones(3))
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(
        ImportError, match=r"pip install 'minigrad\[graphs\]'; dot\(\) needs nothing"
    ):
        graph.svg()
    assert graph._repr_svg_() is None
    assert "sigmoid" in graph.dot()


def test_without_the_program_notebooks_show_the_table(monkeypatch, tmp_path):
    pytest.importorskip("graphviz")
    graph = mg.capture(mg.sigmoid, mg.ones(3))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"apt install graphviz.*dot\(\) needs nothing"):
        graph.svg()
    assert graph._repr_svg_() is None
