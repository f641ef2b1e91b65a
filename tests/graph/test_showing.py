"""Graphs of both modes, and graphs as tables: what they contain, and FLOPs against numbers found by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers import content, equal, refuses

import minigrad as mg
from minigrad import nn
from minigrad.graph.costs import FLOPS, flops, made
from minigrad.op import Op
from models.mlp import MLP


def mlp():
    return MLP((8, 6, 6, 6, 3))


def training_step():
    """A whole step of a small network, and what it takes."""
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm(3), nn.Linear(3, 2))
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1)

    def step(x, t):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return step, mg.ones((5, 4)), mg.tensor(np.array([0, 1, 0, 1, 1]))


def cells(graph):
    """The numbers of each row (parameters, bytes, FLOPs, 0 for an empty cell), and those of the totals, by name."""
    lines = str(graph).splitlines()
    head, first, *_ = (line for line in lines[2:])
    assert set(first) == {"-"}
    ends = [head.index(name) + len(name) for name in ("parameters", "bytes", "FLOPs")]
    starts = [head.index("parameters") - 1, *ends[:2]]
    rules = [i for i, line in enumerate(lines) if line and set(line) == {"-"}]

    def numbers(line):
        parts = [line[a:b].split() for a, b in zip(starts, ends, strict=True)]
        return [int(p[-1].replace(",", "")) if p and p[-1][0].isdigit() else 0 for p in parts]

    rows = [numbers(line) for line in lines[rules[0] + 1 : rules[1]]]
    totals = (line for line in lines[rules[1] + 1 : -2])
    return rows, {line.split()[0]: numbers(line) for line in totals}


# --- both modes ---


def test_each_mode_is_captured_for_what_it_is(backend):
    model, x = mlp(), mg.tensor(np.random.default_rng(0).standard_normal((5, 8)), dtype="float32")
    before = content(model)
    train_graph, eval_graph = mg.graphs(model, x)
    assert [train_graph.title, eval_graph.title] == ["MLP, train", "MLP, eval"]
    of_train, of_eval = ([c.name for c in g.calls] for g in (train_graph, eval_graph))
    assert of_train.count("batch_norm") == of_train.count("move_statistics") == 3
    assert of_eval.count("frozen_batch_norm") == 3
    assert not {"batch_norm", "move_statistics"} & {*of_eval}
    assert "frozen_batch_norm" not in of_train
    assert content(model) == before


def test_both_stay_callable_in_either_mode(backend):
    model, x = mlp(), mg.tensor(np.random.default_rng(0).standard_normal((5, 8)), dtype="float32")
    train_graph, eval_graph = mg.graphs(model, x)
    state = model.state_dict()
    expected = model.train()(x)
    model.load_state_dict(state)
    model.eval()
    equal(train_graph(x), expected)
    assert model.state_dict()["hidden.0.1.num_batches"] == 1
    expected = model(x)
    equal(eval_graph(x), expected)
    model.train()
    equal(eval_graph(x), expected)
    assert model.state_dict()["hidden.0.1.num_batches"] == 1


def test_another_change_still_breaks_them():
    model = mlp()
    train_graph, _ = mg.graphs(model, mg.ones((5, 8)))
    model.hidden[0][1].momentum = 0.5
    with refuses(RuntimeError, "BatchNorm.momentum has changed"):
        train_graph(mg.ones((5, 8)))


def test_every_layer_is_afterwards_in_its_own_mode():
    model = mlp()
    model.hidden[1].eval()
    model.output.training = True
    modes = [vars(module).get("training") for module in model.modules()]
    assert {None, True, False} == {*modes}
    mg.graphs(model, mg.ones((5, 8)))
    assert [vars(module).get("training") for module in model.modules()] == modes
    with pytest.raises(ValueError, match="linear"):
        mg.graphs(model, mg.ones((5, 7)))
    assert [vars(module).get("training") for module in model.modules()] == modes


def test_a_graph_captured_before_stays_good():
    model = mlp()
    graph = mg.capture(model, mg.ones((5, 8)))
    mg.graphs(model, mg.ones((5, 8)))
    assert graph(mg.ones((5, 8))).shape == (5, 3)


def test_no_warning_about_statistics_that_were_never_fed_but_others():
    class Noisy(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm(3)

        def forward(self, x):
            warnings.warn("something else", stacklevel=1)
            return self.norm(x)

    with pytest.warns(UserWarning, match="something else") as found:
        mg.graphs(Noisy(), mg.ones((5, 3)))
    assert {str(w.message) for w in found} == {"something else"}
    with pytest.warns(UserWarning, match="never fed"):
        nn.BatchNorm(3).eval()(mg.ones((5, 3)))


def test_only_modules_have_two_modes():
    with refuses(TypeError, "graphs: expected a Module, which has two modes, got function"):
        mg.graphs(lambda x: x, mg.ones(3))


# --- tables ---


def test_table_of_a_layer_reads_as_written_here(backend):
    graph = mg.capture(nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()), mg.ones((4, 3)))
    assert str(graph) == "\n".join(
        [
            "Sequential: 4x3 float32 -> 4x2 float32",
            "",
            "#  phase    op       layer  output  parameters  bytes  FLOPs",
            "------------------------------------------------------------",
            "0  forward  linear   0      4x2              8     32     56",
            "1           sigmoid  1      4x2                    32     32",
            "------------------------------------------------------------",
            "   total    2 ops                            8     64     88",
            "",
            "results in memory at once: 128 bytes",
        ]
    )
    assert repr(graph) == "<Graph 'Sequential', 2 ops>"


def test_phases_and_totals_add_up(backend):
    step, x, t = training_step()
    graph = mg.capture(step, x, t)
    rows, totals = cells(graph)
    assert len(rows) == len(graph.calls)
    assert list(totals) == ["forward", "backward", "update", "total"]
    columns = np.array(rows)
    assert columns[:, 0].sum() == 12 + 6 + 8
    np.testing.assert_array_equal(columns[:, 1], [made(c) for c in graph.calls])
    np.testing.assert_array_equal(columns[:, 2], [flops(c) for c in graph.calls])
    np.testing.assert_array_equal(totals["total"], columns.sum(axis=0))
    for phase in ("forward", "backward", "update"):
        chosen = [i for i, c in enumerate(graph.calls) if c.phase == phase]
        assert chosen
        np.testing.assert_array_equal(totals[phase], columns[chosen].sum(axis=0))


def test_a_parameter_is_counted_once_however_often_it_is_used():
    layer = nn.Linear(3, 3)
    graph = mg.capture(lambda x: layer(layer(x)), mg.ones((2, 3)))
    rows, totals = cells(graph)
    assert [row[0] for row in rows] == [12, 0]
    assert totals["total"][0] == 12


def test_views_and_what_works_in_place_make_no_memory():
    graph = mg.capture(lambda x: x.reshape(6) + 1, mg.ones((2, 3)))
    view, add = (c for c in graph.calls if c.op.aliases or c.name == "add")
    assert (made(view), flops(view)) == (0, 0)
    assert (made(add), flops(add)) == (24, 6)
    step, x, t = training_step()
    move = next(c for c in mg.capture(step, x, t).calls if c.name == "move_statistics")
    assert (made(move), flops(move)) == (0, 2 * 2 * 3)


def test_a_graph_without_ops_can_be_shown():
    graph = mg.capture(lambda x: x, mg.ones(3))
    assert "3 float32 -> 3 float32" in str(graph)
    assert "0 ops" in str(graph)


# --- FLOPs ---


def counted(function, *inputs):
    """{op: FLOPs} of a function and of its gradients."""

    def both(*args):
        return mg.grad([function(*args).sum()], args)

    leaves = [mg.tensor(t.numpy(), requires_grad=True) for t in inputs]
    graph = mg.capture(lambda *args: both(*[a * 1 for a in args]), *leaves)
    found = {}
    for call in graph.calls:
        found.setdefault(call.name, []).append(flops(call))
    return found


def test_products_are_counted_in_full():
    # y (5, 2) of x (5, 3): 5 * 2 products of 3; gx (5, 3): 5 * 3 of 2; gweight (2, 3): 2 * 3 of 5
    found = counted(mg.linear, mg.ones((5, 3)), mg.ones((2, 3)))
    assert found["linear"] == [2 * 5 * 2 * 3]
    assert found["mat_mul"] == [2 * 5 * 3 * 2, 2 * 2 * 3 * 5]
    # and one addition an output for the bias
    assert counted(mg.linear, mg.ones((5, 3)), mg.ones((2, 3)), mg.ones(2))["linear"] == [70]
    # 7 products of (2, 3) and (3, 4) matrices
    assert counted(mg.matmul, mg.ones((7, 2, 3)), mg.ones((7, 3, 4)))["mat_mul"][0] == 7 * 2 * 24


@pytest.mark.parametrize(
    ("settings", "outputs", "weight"),
    [
        ({}, 4 * 3, (6, 2, 3, 3)),
        ({"padding": 1}, 6 * 5, (6, 2, 3, 3)),
        ({"stride": 2}, 2 * 2, (6, 2, 3, 3)),
        ({"groups": 2}, 4 * 3, (6, 1, 3, 3)),
    ],
)
def test_convolutions_are_counted_in_full(settings, outputs, weight):
    """8 images (2, 6, 5): each of 8 * 6 * outputs numbers sums weight.size / 6 products; so do the gradients'."""
    found = counted(
        lambda x, w: mg.conv2d(x, w, **settings), mg.ones((8, 2, 6, 5)), mg.ones(weight)
    )
    expected = 2 * 8 * outputs * int(np.prod(weight))
    assert found["conv2d"] == found["input_grad"] == found["weight_grad"] == [expected]


def test_the_bias_of_a_convolution_is_an_addition():
    x, w = mg.ones((8, 2, 6, 5)), mg.ones((6, 2, 3, 3))
    without, with_bias = (counted(mg.conv2d, x, w, *b)["conv2d"][0] for b in ([], [mg.ones(6)]))
    assert with_bias - without == 8 * 6 * 4 * 3


def test_other_ops_count_as_stated():
    x, ones = mg.ones((5, 3)), mg.ones(3)
    found = counted(lambda x, gamma, beta: mg.batch_norm(x, gamma, beta)[0], x, ones, ones)
    assert (found["batch_norm"], found["batch_norm_grad"]) == ([6 * 15], [9 * 15])
    frozen = counted(lambda x: mg.frozen_batch_norm(x, None, None, mg.zeros(3), mg.ones(3)), x)
    assert frozen["frozen_batch_norm"] == [2 * 15]
    found = counted(mg.sigmoid, x)
    assert (found["sigmoid"], found["sigmoid_grad"]) == ([4 * 15], [3 * 15])
    pooled = counted(lambda x: mg.avg_pool2d(x, 2), mg.ones((1, 1, 4, 4)))
    assert pooled["sum_pool2d"] == pooled["sum_pool2d_grad"] == [16]


def test_an_op_without_a_rule_counts_one_for_each_number_that_it_makes():
    class Unknown(Op):
        def forward(self, k, x):
            return x * 2

        def reference(self, x):
            return x * 2

    graph = mg.capture(lambda x: x.apply(Unknown(), x), mg.ones((5, 3)))
    assert not any(isinstance(graph.calls[0].op, cls) for cls in FLOPS)
    assert flops(graph.calls[0]) == 15
