"""Passes: each graph computes what the one that it came from does."""

from functools import partial

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import close, device, equal, error_table, refuses

import minigrad as mg
from minigrad import nn, optim


def names(graph):
    return [call.name for call in graph.calls]


class TestPrune:
    def test_what_nobody_needs_goes(self, backend):
        def f(x):
            (x.exp() * 2).sum()
            return x + 1

        graph = mg.capture(f, mg.ones(3))
        pruned = graph.prune()
        assert names(pruned) == ["add"]
        assert names(graph) == ["exp", "multiply", "sum", "add"]
        equal(pruned(mg.ones(3)), graph(mg.ones(3)))

    def test_what_moves_something_stays(self, backend, rng):
        model = network(p=0.0)
        x, t = batches(rng)[0]
        statistics = mg.capture(lambda x: (model(x), None)[1], x).prune()
        moving = ["linear", "batch_norm", "move_statistics"]
        assert names(statistics) == [*moving, "sigmoid", "dropout_mask"]  # which draws
        step = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), x, t)
        assert names(step.prune()) == names(step)

    def test_masks_are_drawn_all_the_same(self, backend):
        def f(x):
            mg.dropout(x)
            return mg.dropout(x)

        graph = mg.capture(f, mg.ones(50))
        assert names(graph.prune()) == ["dropout_mask", "dropout_mask", "multiply"]
        found = []
        for g in (graph, graph.prune()):
            mg.manual_seed(0)
            found.append(g(mg.ones(50)))
        equal(*found)

    def test_gradients_are_needed(self, backend):
        w = nn.Parameter([1.0])

        def f(x):
            w.grad = None
            (x * w).sum().backward()

        graph = mg.capture(f, mg.ones(1)).prune()
        graph(mg.ones(1) * 3)
        equal(w.grad, np.array([3], "f"))


class TestFoldConstants:
    def test_what_depends_on_constants_alone(self, backend):
        def f(x):
            return x * (mg.arange(3).exp() + 1) + mg.tensor(2.0).sqrt()

        graph = mg.capture(f, mg.ones(3))
        folded = graph.fold_constants()
        assert names(folded) == ["multiply", "add"]
        equal(folded(mg.ones(3) * 2), graph(mg.ones(3) * 2))

    def test_state_is_no_constant(self, backend):
        w = nn.Parameter([1.0])
        folded = mg.capture(lambda x: x * (w * 2), mg.ones(1)).fold_constants()
        w.data = mg.tensor([5.0]).data
        equal(folded(mg.ones(1)), np.array([10], "f"))

    def test_dropout_goes_on_drawing(self, backend):
        graph = mg.capture(lambda x: x * mg.dropout(mg.ones(50)), mg.ones(50)).fold_constants()
        assert "dropout_mask" in names(graph)
        assert (graph(mg.ones(50)).numpy() != graph(mg.ones(50)).numpy()).any()

    def test_a_result_that_is_constant(self, backend):
        folded = mg.capture(lambda x: mg.arange(3) * 2, mg.ones(1)).fold_constants()
        assert names(folded) == []
        equal(folded(mg.ones(1)), np.array([0, 2, 4], "f"))


def test_gradients_that_are_constants(backend):
    """They are folded, and stay what they are whatever becomes of the tensor that stands in ``.grad``."""
    w = nn.Parameter([1.0, 2.0])

    def f(x):
        w.grad = None
        (w + x).sum().backward()

    def assigned(x):
        w.grad = mg.ones(2)
        return mg.sigmoid(x)

    folded = mg.capture(f, mg.ones(2)).fold_constants()
    assert names(folded) == []
    for graph in (folded, mg.capture(assigned, mg.ones(2))):
        for _ in range(3):
            graph(mg.ones(2))
            equal(w.grad, np.array([1, 1], "f"))
            w.grad.data = mg.zeros(2).data


def trained(model, rng, shape):
    """In eval mode, with parameters and statistics that are not trivial."""
    for t in (*model.parameters(), *model.buffers()):
        if t.dtype.kind == "f":
            t.data = mg.tensor(rng.uniform(0.5, 2, t.shape).astype(t.dtype)).data
    return model.eval(), mg.tensor(rng.standard_normal(shape).astype("f"))


class TestFoldBatchNorm:
    @pytest.mark.parametrize("scale", [True, False])
    @pytest.mark.parametrize("center", [True, False])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("kind", ["linear", "conv", "groups", "conv1d", "sequence"])
    def test_layers(self, backend, rng, kind, bias, center, scale):
        layers = {
            "linear": (nn.Linear(6, 8, bias=bias), (5, 6), 1),
            "conv": (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=bias), (2, 3, 7, 6), 1),
            "groups": (nn.Conv2d(4, 8, 3, groups=2, bias=bias), (2, 4, 5, 5), 1),
            "conv1d": (nn.Conv1d(3, 8, 3, bias=bias), (2, 3, 9), 1),
            "sequence": (nn.Linear(6, 8, bias=bias), (2, 5, 6), 2),
        }
        layer, shape, axis = layers[kind]
        norm = nn.BatchNorm(8, axis=axis, center=center, scale=scale)
        model, x = trained(nn.Sequential(layer, norm, nn.ReLU()), rng, shape)
        graph = mg.capture(model, x)
        folded = graph.fold_batch_norm()
        assert "frozen_batch_norm" in names(graph)
        assert "frozen_batch_norm" not in names(folded)
        assert list(folded.differences) == ["1"]
        assert 0 <= folded.differences["1"] < 1e-5
        with mg.no_grad():
            for _ in range(3):
                close(folded(x), graph(x), 1e-5)
        again = folded.fold_batch_norm()
        assert names(again) == names(folded)
        assert again.differences == folded.differences
        with mg.no_grad():
            equal(again(x), folded(x))

    def test_the_difference_is_measured(self, rng):
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

    def test_one_after_the_other(self, backend, rng):
        layers = nn.Linear(6, 8), nn.BatchNorm(8), nn.BatchNorm(8), nn.Sigmoid(), nn.BatchNorm(8)
        model, x = trained(nn.Sequential(*layers), rng, (5, 6))
        graph = mg.capture(model, x)
        folded = graph.fold_batch_norm()
        assert names(folded) == ["linear", "sigmoid", "frozen_batch_norm"]
        assert list(folded.differences) == ["1", "2"]
        close(folded(x), graph(x), 1e-5)

    def test_not_where_the_value_between_is_used(self, backend, rng):
        linear, norm = nn.Linear(6, 8), nn.BatchNorm(8)
        _, x = trained(nn.Sequential(linear, norm), rng, (5, 6))
        norm.eval()

        def used_twice(x):
            y = linear(x)
            return norm(y) + y

        def returned(x):
            y = linear(x)
            return norm(y), y

        for function in (used_twice, returned):
            graph = mg.capture(function, x)
            assert names(graph.fold_batch_norm()) == names(graph)

    def test_not_where_the_weights_are_arguments_or_computed(self, backend, rng):
        norm = nn.BatchNorm(8)
        _, x = trained(norm, rng, (5, 6))
        norm.eval()
        w = nn.Parameter(rng.standard_normal((8, 6)).astype("f"))
        graph = mg.capture(lambda x, w: norm(mg.linear(x, w)), x, w)
        assert names(graph.fold_batch_norm()) == ["linear", "frozen_batch_norm"]
        graph = mg.capture(
            lambda x, m: mg.frozen_batch_norm(mg.linear(x, w), None, None, m, m), x, mg.ones(8)
        )
        assert names(graph.fold_batch_norm()) == ["linear", "frozen_batch_norm"]

    def test_other_axes_stay(self, backend, rng):
        model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm((5, 4), axis=(1, 2)))
        model, x = trained(model, rng, (2, 3, 4, 5))
        assert "frozen_batch_norm" in names(mg.capture(model, x).fold_batch_norm())

    def test_it_is_a_snapshot(self, backend, rng):
        layers = nn.Linear(6, 8), nn.BatchNorm(8), nn.Linear(8, 3)
        model, x = trained(nn.Sequential(*layers), rng, (5, 6))
        folded = mg.capture(model, x).fold_batch_norm()
        before = folded(x)
        assert not folded.state()
        model.train()(x)
        for p in model.parameters():
            p.data = mg.zeros(p.shape).data
        equal(folded(x), before)
        assert not before.requires_grad

    def test_a_gradient_for_the_input_passes(self, backend, rng):
        model, x = trained(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8)), rng, (5, 6))
        x.requires_grad = True
        graph = mg.capture(model, x)
        gradients = [mg.grad((g(x) ** 2).sum(), x) for g in (graph, graph.fold_batch_norm())]
        close(*gradients, 1e-4)

    def test_names_are_kept(self, backend, rng):
        model, x = trained(nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm(8)), rng, (5, 6))
        folded = mg.capture(model, x).fold_batch_norm()
        assert [v.name for v in folded.constants()] == ["0.weight", "0.bias"]
        assert [call.layer for call in folded.calls] == ["0"]

    def test_torch(self, torch, rng):
        conv, norm = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)
        with torch.no_grad():
            for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                t.copy_(torch.from_numpy(rng.uniform(0.5, 2, 8)))
        fused = torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval())
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm.like("torch", 8)).eval()
        for ours, theirs in [
            *((model[0].weight, conv.weight), (model[0].bias, conv.bias)),
            *((model[1].gamma, norm.weight), (model[1].beta, norm.bias)),
            *((model[1].running_mean, norm.running_mean), (model[1].running_var, norm.running_var)),
        ]:
            ours.data = theirs.detach().numpy()
        x = rng.standard_normal((2, 3, 6, 6)).astype("f")
        weight, bias = mg.capture(model, mg.tensor(x)).fold_batch_norm().constants()
        close(weight.tensor, fused.weight.detach().numpy(), 1e-6)
        close(bias.tensor, fused.bias.detach().numpy(), 1e-6)


def going_backward(model, x):
    model.zero_grad()
    model(x).sum().backward()


@error_table(
    {
        "training": (
            ValueError,
            "move_statistics moves 1.running_mean",
            lambda model: model.train(),
        ),
        "backward": (ValueError, "it goes backward", lambda model: partial(going_backward, model)),
    }
)
def test_graphs_that_train_are_not_folded(rng, error, words, call):
    model, x = trained(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8)), rng, (5, 6))
    with refuses(error, f"expected a graph of inference, but {words}"):
        mg.capture(call(model), x).fold_batch_norm()


def test_device_arrays_are_folded_on_their_device(backend, rng):
    model, x = trained(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8)), rng, (5, 6))
    for v in mg.capture(model, x).fold_batch_norm().constants():
        assert type(v.tensor._data) is type(device(np.ones(1)))
