"""Passes: each graph computes what the one that it came from does."""

from functools import partial

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import close, device, equal, error_table, refuses

import minigrad as mg
from minigrad import nn, optim


def names(graph):
    return " ".join(call.name for call in graph.calls)


# --- prune and fold_constants ---


def unused(x):
    (x.exp() * 2).sum()
    return x + 1


def unused_mask(x):
    mg.dropout(x)  # is drawn all the same
    return mg.dropout(x)


def unused_view(x):
    y = x * 2
    y.reshape(3, 1)
    return y


def written_view(x):
    y = x * 2
    view = y.reshape(3, 1)
    view += 1
    return y.exp()


def written_constant(x):
    y = mg.arange(3).exp()
    y += x
    return y


#: function, and the ops that remain of it
PRUNED = {
    "unused": (unused, "add"),
    "mask": (unused_mask, "dropout_mask dropout_mask multiply"),
    "view": (unused_view, "multiply"),
    "written": (written_view, "multiply reshape add assign exp"),
}
FOLDED = {
    "constants": (lambda x: x * (mg.arange(3).exp() + 1) + mg.tensor(2.0).sqrt(), "multiply add"),
    "written": (written_constant, "exp add assign"),
    "result": (lambda x: mg.arange(3) * 2, ""),
    "dropout": (lambda x: x * mg.dropout(mg.ones(3)), "dropout_mask multiply multiply"),
}
CASES = [
    *(pytest.param("prune", *row, id=f"prune, {name}") for name, row in PRUNED.items()),
    *(pytest.param("fold_constants", *row, id=f"fold, {name}") for name, row in FOLDED.items()),
]


@pytest.mark.parametrize(("method", "function", "remains"), CASES)
def test_passes(backend, method, function, remains):
    graph = mg.capture(function, mg.ones(3))
    before, changed = names(graph), getattr(graph, method)()
    assert (names(changed), names(graph)) == (remains, before)
    for x in (mg.ones(3), mg.ones(3) * 2):
        results = []
        for g in (graph, changed):
            mg.manual_seed(0)
            results.append(g(x))
        equal(*results)


def test_prune_keeps_what_changes_something(backend, rng):
    model = network(p=0.0)
    x, t = batches(rng)[0]
    statistics = mg.capture(lambda x: (model(x), None)[1], x).prune()
    assert names(statistics) == "linear batch_norm move_statistics sigmoid dropout_mask"
    step = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), x, t)
    assert names(step.prune()) == names(step)


def test_state_is_no_constant(backend):
    w = nn.Parameter([1.0])
    folded = mg.capture(lambda x: x * (w * 2), mg.ones(1)).fold_constants()
    w.data = mg.tensor([5.0]).data
    equal(folded(mg.ones(1)), np.array([10], "f"))


def test_gradients_are_needed_and_may_be_constants(backend):
    """They are folded, and stay what they are whatever becomes of the tensor in ``.grad``."""
    w = nn.Parameter([1.0, 2.0])

    def added(x):
        w.grad = None
        (w + x).sum().backward()

    def assigned(x):
        w.grad = mg.ones(2)
        return mg.sigmoid(x)

    folded = mg.capture(added, mg.ones(2)).fold_constants()
    assert names(folded) == ""
    for graph in (folded, mg.capture(added, mg.ones(2)).prune(), mg.capture(assigned, mg.ones(2))):
        for _ in range(3):
            graph(mg.ones(2))
            equal(w.grad, np.array([1, 1], "f"))
            w.grad.data = mg.zeros(2).data


# --- fold_batch_norm ---


def trained(model, rng, shape):
    """In eval mode, with parameters and statistics that are not trivial."""
    for t in (*model.parameters(), *model.buffers()):
        if t.dtype.kind == "f":
            t.data = mg.tensor(rng.uniform(0.5, 2, t.shape).astype(t.dtype)).data
    return model.eval(), mg.tensor(rng.standard_normal(shape).astype("f"))


#: layer, its settings, shape of the input, axis of the channels
LAYERS = {
    "linear": (nn.Linear, (6, 8), {}, (5, 6), 1),
    "conv": (nn.Conv2d, (3, 8, 3), {"stride": 2, "padding": 1}, (2, 3, 7, 6), 1),
    "groups": (nn.Conv2d, (4, 8, 3), {"groups": 2}, (2, 4, 5, 5), 1),
    "conv1d": (nn.Conv1d, (3, 8, 3), {}, (2, 3, 9), 1),
    "sequence": (nn.Linear, (6, 8), {}, (2, 5, 6), 2),
}


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_batch_norm_is_folded_into(backend, rng, kind, bias, center, scale):
    layer, sizes, settings, shape, axis = LAYERS[kind]
    norm = nn.BatchNorm(8, axis=axis, center=center, scale=scale)
    model = nn.Sequential(layer(*sizes, **settings, bias=bias), norm, nn.ReLU())
    model, x = trained(model, rng, shape)
    graph = mg.capture(model, x)
    folded = graph.fold_batch_norm()
    assert "frozen_batch_norm" in names(graph)
    assert "frozen_batch_norm" not in names(folded)
    assert list(folded.differences) == ["1"]
    assert 0 <= folded.differences["1"] < 1e-5
    assert [v.name for v in folded.constants()][:2] == ["0.weight", "0.bias"]
    assert {call.layer for call in folded.calls} <= {"0", "1", "2"}
    assert {type(v.tensor._data) for v in folded.constants()} == {type(device(np.ones(1)))}
    again = folded.fold_batch_norm()
    assert (names(again), again.differences) == (names(folded), folded.differences)
    with mg.no_grad():
        for _ in range(3):
            close(folded(x), graph(x), 1e-5)
        equal(again(x), folded(x))


def test_the_difference_is_measured(rng):
    """Also where it is large: between statistics and weights that do not go together in float32."""
    model, x = trained(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8)), rng, (5, 6))
    model[1].running_mean.data = mg.full(8, 1e6).data
    model[0].bias.data = mg.full(8, 1e6).data
    graph = mg.capture(model, x)
    folded = graph.fold_batch_norm()
    with mg.no_grad():
        expected = np.abs(graph(x).numpy().astype("d") - folded(x).numpy()).max()
    assert folded.differences == {"1": expected}
    assert expected > 1e-3


def test_one_after_the_other(backend, rng):
    layers = nn.Linear(6, 8), nn.BatchNorm(8), nn.BatchNorm(8), nn.Sigmoid(), nn.BatchNorm(8)
    model, x = trained(nn.Sequential(*layers), rng, (5, 6))
    graph = mg.capture(model, x)
    folded = graph.fold_batch_norm()
    assert names(folded) == "linear sigmoid frozen_batch_norm"
    assert list(folded.differences) == ["1", "2"]
    close(folded(x), graph(x), 1e-5)


#: calls of a linear layer and a batch norm that stay two: what is between is needed, or the weights are not known
KEPT = {
    "used twice": lambda layer, norm, x, m: (y := layer(x)) + norm(y),
    "returned": lambda layer, norm, x, m: (y := layer(x), norm(y)),
    "weights are arguments": lambda layer, norm, x, m: norm(mg.linear(x, m)),
    "statistics are arguments": lambda layer, norm, x, m: mg.frozen_batch_norm(
        layer(x), None, None, m[:, 0], m[:, 1] ** 2
    ),
    "another axis": lambda layer, norm, x, m: mg.frozen_batch_norm(
        layer(x), None, None, mg.zeros(5), mg.ones(5), axis=0
    ),
    "two axes": lambda layer, norm, x, m: mg.frozen_batch_norm(
        layer(x).reshape(5, 2, 4), None, None, mg.zeros((2, 4)), mg.ones((2, 4)), axis=(1, 2)
    ),
}


@pytest.mark.parametrize("function", KEPT.values(), ids=KEPT)
def test_batch_norm_is_kept(backend, rng, function):
    (layer, norm), x = trained(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8)), rng, (5, 6))
    graph = mg.capture(partial(function, layer, norm), x, mg.ones((8, 6)))
    assert "frozen_batch_norm" in names(graph)
    assert names(graph.fold_batch_norm()) == names(graph)


def test_it_is_a_snapshot_that_gradients_pass(backend, rng):
    layers = nn.Linear(6, 8), nn.BatchNorm(8), nn.Linear(8, 3)
    model, x = trained(nn.Sequential(*layers), rng, (5, 6))
    graph = mg.capture(model, x)
    before = graph.fold_batch_norm()(x)
    assert not before.requires_grad
    x.requires_grad = True
    graph = mg.capture(model, x)
    folded = graph.fold_batch_norm()
    assert not folded.state()
    close(*[mg.grad((g(x) ** 2).sum(), x) for g in (graph, folded)], 1e-4)
    model.train()(x)
    for p in model.parameters():
        p.data = mg.zeros(p.shape).data
    equal(folded(x), before)


def going_backward(model, x):
    model.zero_grad()
    model(x).sum().backward()


TRAINING = {
    "training": (ValueError, "move_statistics moves 1.running_mean", nn.Module.train),
    "backward": (ValueError, "it goes backward", lambda model: partial(going_backward, model)),
}


@error_table(TRAINING)
def test_graphs_that_train_are_not_folded(rng, error, words, call):
    model, x = trained(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8)), rng, (5, 6))
    with refuses(error, f"expected a graph of inference, but {words}"):
        mg.capture(call(model), x).fold_batch_norm()
