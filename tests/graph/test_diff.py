"""Two graphs side by side: what differs, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn
from models.mlp import MLP

BN = (["batch_norm", "move_statistics"], ["frozen_batch_norm"])
DROPOUT = (["dropout_mask", "multiply"], [])

MLP_DIFF = """\
MLP, train                                        MLP, eval

hidden.0.1
  1 batch_norm(#0, gamma, beta)                     1 frozen_batch_norm(#0, gamma, beta,
  2 move_statistics(running_mean, running_var,            running_mean, running_var)
        num_batches, #1.1, #1.2)

hidden.1.1
  5 batch_norm(#4, gamma, beta)                     4 frozen_batch_norm(#3, gamma, beta,
  6 move_statistics(running_mean, running_var,            running_mean, running_var)
        num_batches, #5.1, #5.2)

ops that both have: 5; only here: 4, only there: 2"""


def shown(entries):
    """{layer: (ops here, ops there)}"""
    return {e.layer: ([c.name for c in e.first], [c.name for c in e.second]) for e in entries}


#: layers, entries, and how many ops train and eval mode have in common
MODES = {
    "batch norm": ([nn.Linear(4, 3), nn.BatchNorm(3), nn.Linear(3, 2)], {"1": BN}, 2),
    "dropout": ([nn.BatchNorm(4), nn.Dropout(0.5), nn.Sigmoid()], {"0": BN, "1": DROPOUT}, 1),
    "first": ([nn.Dropout(0.5), nn.Linear(4, 3), nn.Linear(3, 3)], {"0": DROPOUT}, 2),
    "last": ([nn.Linear(4, 3), nn.Linear(3, 3), nn.Dropout(0.5)], {"2": DROPOUT}, 2),
    "none": ([nn.Linear(4, 3), nn.Sigmoid()], {}, 2),
}


@pytest.mark.parametrize(("layers", "entries", "equal"), MODES.values(), ids=MODES)
def test_train_and_eval(layers, entries, equal):
    diff = mg.graph_diff(*mg.graphs(nn.Sequential(*layers), mg.ones((5, 4))))
    assert shown(diff.entries) == entries
    assert (diff.equal, diff.same_results) == (equal, True)
    if not entries:
        assert str(diff) == "Sequential, train and Sequential, eval: equal, 2 ops"


def test_the_diff_of_a_network_reads_as_written_here(backend):
    first, second = (mg.graphs(MLP((8, 6, 6, 3)), mg.ones((5, 8))) for _ in range(2))
    assert str(mg.graph_diff(*first)) == MLP_DIFF
    assert not mg.graph_diff(first[0], second[0]).entries  # layers of the same names


LINEAR = nn.Linear(3, 3)


def trained(lr):
    def step(a, b):
        optimizer.zero_grad()
        LINEAR(a.reshape(1, 3)).sum().backward()
        optimizer.step()

    optimizer = mg.optim.SGD(LINEAR.parameters(), lr=lr)
    return step


@pytest.mark.parametrize(
    ("f", "g"),
    [
        pytest.param(lambda a, b: a * 2, lambda a, b: a * 3, id="constant"),
        pytest.param(lambda a, b: a - b, lambda a, b: b - a, id="wiring"),
        pytest.param(lambda a, b: a.sum(), lambda a, b: a.sum(keepdims=True), id="setting"),
        pytest.param(lambda a, b: a + b, lambda a, b: a * b, id="op"),
        pytest.param(lambda a, b: mg.linear(a.reshape(1, 3), LINEAR.weight),
                     lambda a, b: LINEAR(a.reshape(1, 3)), id="bias"),
        pytest.param(trained(0.1), trained(0.2), id="learning rate"),
    ],
)  # fmt: skip
def test_small_differences_are_seen(f, g):
    graphs = [mg.capture(function, mg.ones(3), mg.zeros(3)) for function in (f, g, f, g)]
    assert mg.graph_diff(*graphs[:2]).entries
    assert not mg.graph_diff(*graphs[::2]).entries
    assert not mg.graph_diff(*graphs[1::2]).entries


def test_settings_are_shown_where_the_ops_are_the_same():
    a, b = (mg.capture(nn.BatchNorm(3, eps=eps), mg.ones((5, 3))) for eps in (1e-3, 1e-5))
    diff = mg.graph_diff(a, b)
    assert (shown(diff.entries), diff.equal) == ({"": (["batch_norm"], ["batch_norm"])}, 1)
    lines = str(diff).splitlines()
    left, right = ("\n".join(line[part] for line in lines) for part in (slice(48), slice(48, None)))
    assert ("eps=0.001" in left, "eps=1e-05" in left, "eps=1e-05" in right) == (True, False, True)


def test_results_may_be_all_that_differs():
    graphs = [mg.capture(lambda a, i=i: (a + 1, a * 2)[i], mg.ones(3)) for i in range(2)]
    diff = mg.graph_diff(*graphs)
    assert (diff.entries, diff.same_results) == ((), False)
    assert "They return different values" in str(diff)
    assert "equal, " not in str(diff)


def test_only_graphs_are_compared():
    graph = mg.capture(mg.sigmoid, mg.ones(3))
    with refuses(TypeError, "graph_diff: expected second to be a Graph, got Linear; make one with"):
        mg.graph_diff(graph, nn.Linear(3, 2))
    with refuses(TypeError, "graph_diff: expected first to be a Graph, got ndarray"):
        mg.graph_diff(np.ones(3), graph)
