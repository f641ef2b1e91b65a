"""Graphs of both modes and as tables; FLOPs against numbers found by hand."""

from __future__ import annotations

import importlib
import warnings
from functools import partial
from math import prod

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import content, equal, refuses, subclasses
from test_layering import ROOT

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph import costs, drawing
from minigrad.graph.calls import snake
from minigrad.graph.costs import flops, made
from minigrad.op import Op
from models.mlp import MLP


def mlp():
    return MLP((8, 6, 6, 6, 3)), mg.tensor(
        np.random.default_rng(0).standard_normal((5, 8)), dtype="float32"
    )


# --- both modes ---


def test_graphs_keep_their_mode_and_leave_the_model_alone(backend):
    model, x = mlp()
    earlier = mg.capture(model.hidden[0], x)
    model.hidden[1].eval()
    model.output.training = True
    modes = [vars(module).get("training") for module in model.modules()]
    assert {None, True, False} == {*modes}
    state = content(model)
    train_graph, eval_graph = mg.graphs(model, x)
    with pytest.raises(ValueError, match="linear"):
        mg.graphs(model, mg.ones((5, 7)))
    assert [vars(module).get("training") for module in model.modules()] == modes
    assert content(model) == state
    assert earlier(x).shape == (5, 6)
    assert [train_graph.title, eval_graph.title] == ["MLP, train", "MLP, eval"]
    of_train, of_eval = ([c.name for c in g.calls] for g in (train_graph, eval_graph))
    assert {*of_train} - {*of_eval} == {"batch_norm", "move_statistics"}
    assert {*of_eval} - {*of_train} == {"frozen_batch_norm"}
    assert of_train.count("batch_norm") == of_eval.count("frozen_batch_norm") == 3


def test_both_stay_callable_in_either_mode(backend):
    model, x = mlp()
    train_graph, eval_graph = mg.graphs(model, x)
    state = model.state_dict()
    expected = model.train()(x)
    model.load_state_dict(state)
    equal(train_graph(x), expected)
    equal(model.eval()(x), eval_graph(x))
    model.train()
    equal(eval_graph(x), model.eval()(x))
    assert model.state_dict()["hidden.0.1.num_batches"] == 1
    model.hidden[0][1].momentum = 0.5
    with refuses(RuntimeError, "BatchNorm.momentum has changed"):
        train_graph(x)


def test_only_the_warning_about_new_statistics_is_suppressed():
    class Noisy(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm(3)

        def forward(self, x):
            warnings.warn("something else", stacklevel=1)
            return self.norm(x)

    with pytest.warns(UserWarning, match="something else") as found:
        mg.graphs(Noisy(), mg.ones((5, 3)))
    assert {str(w.message) for w in found} == {"something else"}
    with pytest.warns(UserWarning, match="running statistics"):
        nn.BatchNorm(3).eval()(mg.ones((5, 3)))


def test_only_modules_have_two_modes():
    with refuses(TypeError, "graphs: expected a Module, which has two modes, got function"):
        mg.graphs(lambda x: x, mg.ones(3))


# --- tables ---

LAYER = """\
Sequential: 4x3 float32 -> 4x2 float32

#  phase    op       layer  output  parameters  bytes  FLOPs
------------------------------------------------------------
0  forward  linear   0      4x2              8     32     56
1           sigmoid  1      4x2                    32     32
------------------------------------------------------------
   total    2 ops                            8     64     88

results in memory at once: 128 bytes"""

STEP = """\
step: 5x6 float32, 5 int64 -> () float32

 #  phase     op                          layer  output           parameters  bytes  FLOPs
------------------------------------------------------------------------------------------
 0  forward   linear                      0      5x8                      48    160    480
 1            batch_norm                  1      5x8, 8, 8, 8             16    256    240
 2  update    move_statistics             1      writes 3 arrays                        32
 3  forward   sigmoid                     2      5x8                            160    160
 4            dropout_mask                3      5x8                            160     80
 5            multiply                    3      5x8                            160     40
 6            linear                      4      5x3                      27     60    255
 7            softmax_cross_entropy              (), 5x3                         64     75
 8  backward  softmax_cross_entropy_grad         5x3                             60     30
 9            mat_mul                     4      5x8                            160    240
10            mat_mul                     4      3x8                             96    240
11            sum                         4      3                               12     15
12            multiply                    3      5x8                            160     40
13            sigmoid_grad                2      5x8                            160    120
14            batch_norm_grad             1      5x8, 8, 8                      224    360
15            mat_mul                     0      8x6                            192    480
16  update    update                             writes 6 arrays                       182
------------------------------------------------------------------------------------------
    forward   7 ops                                                       91  1,020  1,330
    backward  8 ops                                                           1,064  1,525
    update    2 ops                                                                    214
    total     17 ops                                                      91  2,084  3,069

results in memory at once: 1,344 bytes"""


def test_tables_read_as_written_here(backend, rng):
    graph = mg.capture(nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()), mg.ones((4, 3)))
    assert str(graph) == LAYER
    assert repr(graph) == "<Graph 'Sequential', 2 ops>"
    model = network()
    step = step_of(model, optim.SGD(model.parameters(), lr=0.1))
    assert str(mg.capture(step, *batches(rng)[0])) == STEP
    empty = str(mg.capture(lambda x: x, mg.ones(3)))
    assert "3 float32 -> 3 float32" in empty
    assert "0 ops" in empty


def test_a_parameter_is_counted_once_and_views_make_no_memory():
    layer = nn.Linear(3, 3)
    graph = mg.capture(lambda x: layer(layer(x)).reshape(6) + 1, mg.ones((2, 3)))
    assert " ".join(str(graph).splitlines()[-3].split()) == "total 4 ops 12 72 90"
    assert [(made(c), flops(c)) for c in graph.calls][2:] == [(0, 0), (24, 6)]


# --- FLOPs ---


def frozen(x):
    return mg.frozen_batch_norm(x, None, None, mg.zeros(3), mg.ones(3))


#: settings, outputs per position, and weights of convolutions of 8 images (2, 6, 5)
IMAGES, FILTERS = (8, 2, 6, 5), (6, 2, 3, 3)
CONVOLVED = {
    "plain": ({}, 4 * 3, FILTERS),
    "padding": ({"padding": 1}, 6 * 5, FILTERS),
    "stride": ({"stride": 2}, 2 * 2, FILTERS),
    "groups": ({"groups": 2}, 4 * 3, (6, 1, 3, 3)),
}

#: function, shapes of its arguments, FLOPs of its ops and of those of its gradients, as far as STEP has none
COUNTED = {
    # 7 products of (2, 3) and (3, 4) matrices
    "matmul": (mg.matmul, [(7, 2, 3), (7, 3, 4)], {"mat_mul": [7 * 2 * 24] * 3}),
    "conv bias": (mg.conv2d, [IMAGES, FILTERS, (6,)], {"conv2d": [2 * 8 * 12 * 108 + 8 * 6 * 12]}),
    "frozen": (frozen, [(5, 3)], {"frozen_batch_norm": [30]}),
    "pool": (lambda x: mg.avg_pool2d(x, 2), [(1, 1, 4, 4)], {"sum_pool2d": [16], "sum_pool2d_grad": [16]}),
}  # fmt: skip
#: each of the 8 * outputs values per position and channel sums products with one filter; so do the gradients'
for name, (settings, outputs, weight) in CONVOLVED.items():
    COUNTED[f"conv, {name}"] = (
        partial(mg.conv2d, **settings),
        [IMAGES, weight],
        {op: [2 * 8 * outputs * prod(weight)] for op in ("conv2d", "input_grad", "weight_grad")},
    )


@pytest.mark.parametrize(("function", "shapes", "expected"), COUNTED.values(), ids=COUNTED)
def test_flops(function, shapes, expected):
    leaves = [mg.ones(shape, requires_grad=True) for shape in shapes]

    def both(*args):
        args = [a * 1 for a in args]
        return mg.grad([function(*args).sum()], args)

    found = {}
    for call in mg.capture(both, *leaves).calls:
        found.setdefault(call.name, []).append(flops(call))
    assert {name: found[name][: len(counts)] for name, counts in expected.items()} == expected


def test_an_op_without_a_rule_counts_one_for_each_number_of_its_outputs():
    class Unknown(Op):
        def forward(self, k, x):
            return x * 2

        def reference(self, x):
            return x * 2

    (call,) = mg.capture(lambda x: x.apply(Unknown(), x), mg.ones((5, 3))).calls
    assert call.name not in costs.FLOPS
    assert flops(call) == 15


def test_tables_name_ops_that_exist():
    for package in ("ops", "bn"):  # some modules wait for the first use of their names
        for module in (ROOT / "minigrad" / package).glob("[a-z]*.py"):
            importlib.import_module(f"minigrad.{package}.{module.stem}")
    names = {snake(object.__new__(cls)) for cls in subclasses(Op)}
    assert {*costs.FLOPS, *drawing.MADE, *drawing.TAKEN} <= names
