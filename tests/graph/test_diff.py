"""Two graphs side by side: what differs, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn
from models.mlp import MLP


def shown(entries):
    """{layer: (ops here, ops there)}"""
    return {e.layer: ([c.name for c in e.first], [c.name for c in e.second]) for e in entries}


BN = (["batch_norm", "move_statistics"], ["frozen_batch_norm"])


def test_the_three_batch_norms_of_the_mlp_and_nothing_else(backend):
    diff = mg.graph_diff(*mg.graphs(MLP((8, 6, 6, 6, 3)), mg.ones((5, 8))))
    assert shown(diff.entries) == {f"hidden.{i}.1": BN for i in range(3)}
    assert len(diff.entries) == 3
    assert (diff.equal, diff.same_results) == (7, True)
    text = str(diff)
    assert text.splitlines()[0].split("  ")[0] == "MLP, train"
    assert text.splitlines()[0].endswith("MLP, eval")
    assert text.splitlines()[-1] == "ops that both have: 7; only here: 6, only there: 3"
    words = " ".join(line[:48].strip() for line in text.splitlines())
    assert "1 batch_norm(#0, gamma, beta)" in words
    assert "2 move_statistics(running_mean, running_var, num_batches, #1.1, #1.2)" in words
    words = " ".join(line[50:].strip() for line in text.splitlines())
    assert "4 frozen_batch_norm(#3, gamma, beta, running_mean, running_var)" in words
    for equal in ("linear", "sigmoid"):
        assert equal not in text
    assert max(map(len, text.splitlines())) <= 98


def test_dropout_is_in_the_one_and_not_in_the_other(backend):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3), nn.Dropout(0.5), nn.Linear(3, 2))
    diff = mg.graph_diff(*mg.graphs(model, mg.ones((5, 4))))
    assert shown(diff.entries) == {"1": BN, "2": (["dropout_mask", "multiply"], [])}
    assert diff.equal == 2
    assert "dropout_mask(#1.0)" in str(diff)


@pytest.mark.parametrize("place", [0, 3])
def test_dropout_at_either_end(place):
    layers = [nn.Linear(3, 3), nn.Sigmoid(), nn.Linear(3, 3)]
    layers.insert(place, nn.Dropout(0.5))
    diff = mg.graph_diff(*mg.graphs(nn.Sequential(*layers), mg.ones((5, 3))))
    assert shown(diff.entries) == {str(place): (["dropout_mask", "multiply"], [])}
    assert (diff.equal, diff.same_results) == (3, True)


def test_equal_graphs_say_so(backend):
    model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid())
    diff = mg.graph_diff(*mg.graphs(model, mg.ones((5, 4))))
    assert (diff.entries, diff.equal) == ((), 2)
    assert str(diff) == "Sequential, train and Sequential, eval: equal, 2 ops"


def test_layers_of_another_network_are_equal_if_they_are_called_alike():
    a, b = (mg.graphs(MLP((8, 6, 3)), mg.ones((5, 8)))[0] for _ in range(2))
    assert not mg.graph_diff(a, b).entries


def of(*functions):
    return mg.graph_diff(*[mg.capture(f, mg.ones(3), mg.zeros(3)) for f in functions])


@pytest.mark.parametrize(
    ("f", "g"),
    [
        pytest.param(lambda a, b: a * 2, lambda a, b: a * 3, id="constant"),
        pytest.param(lambda a, b: a - b, lambda a, b: b - a, id="wiring"),
        pytest.param(lambda a, b: a.sum(), lambda a, b: a.sum(keepdims=True), id="setting"),
        pytest.param(lambda a, b: a + b, lambda a, b: a * b, id="op"),
        pytest.param(lambda a, b: mg.linear(a.reshape(1, 3), mg.ones((2, 3)) * 1),
                     lambda a, b: mg.linear(a.reshape(1, 3), mg.ones((2, 3)) * 1, mg.ones(2) * 1),
                     id="bias"),
    ],
)  # fmt: skip
def test_small_differences_are_seen(f, g):
    assert of(f, g).entries
    assert not of(f, f).entries
    assert not of(g, g).entries


def test_settings_are_shown_where_the_ops_are_the_same():
    x = mg.ones((5, 3))
    a, b = (mg.capture(nn.BatchNorm(3, eps=eps), x) for eps in (1e-3, 1e-5))
    diff = mg.graph_diff(a, b)
    assert shown(diff.entries) == {"": (["batch_norm"], ["batch_norm"])}
    left = " ".join(line[:48].strip() for line in str(diff).splitlines())
    assert "eps=0.001" in left
    assert "eps=1e-05" in str(diff)
    assert "eps=1e-05" not in left
    assert diff.equal == 1


def test_another_learning_rate_is_a_difference():
    layer, x = nn.Linear(3, 2), mg.ones((5, 3))

    def step(lr):
        optimizer = mg.optim.SGD(layer.parameters(), lr=lr)

        def step(x):
            optimizer.zero_grad()
            layer(x).sum().backward()
            optimizer.step()

        return mg.capture(step, x)

    assert not mg.graph_diff(step(0.1), step(0.1)).entries
    (entry,) = mg.graph_diff(step(0.1), step(0.2)).entries
    assert [c.name for c in entry.first] == ["update"]


def test_results_may_be_all_that_differs():
    diff = of(lambda a, b: (a + 1, a * 2)[0], lambda a, b: (a + 1, a * 2)[1])
    assert (diff.entries, diff.same_results) == ((), False)
    assert "They return different values" in str(diff)
    assert "equal, " not in str(diff)


def test_only_graphs_are_compared():
    graph = mg.capture(mg.sigmoid, mg.ones(3))
    with refuses(TypeError, "graph_diff: expected second to be a Graph, got Linear; make one with"):
        mg.graph_diff(graph, nn.Linear(3, 2))
    with refuses(TypeError, "graph_diff: expected first to be a Graph, got ndarray"):
        mg.graph_diff(np.ones(3), graph)
