"""Fusion: what becomes one call, what stays, and that a fused graph computes the same bits."""

from collections import Counter

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import close, content, equal

import minigrad as mg
from minigrad import nn, optim

FUSED = "activated_batch_norm", "activated_batch_norm_grad", "activated_frozen_batch_norm"


def names(graph):
    return [call.name for call in graph.calls]


def fused(graph):
    """How many calls there are of each fused op."""
    return {name: n for name, n in Counter(names(graph)).items() if name in FUSED}


class Residual(nn.Module):
    """relu(batch_norm(conv(relu(batch_norm(conv(x))))) + x)"""

    def __init__(self, channels, rng):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng)
        self.norm = nn.BatchNorm(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng)
        self.last = nn.BatchNorm(channels)

    def forward(self, x):
        y = mg.relu(self.norm(self.first(x)))
        return mg.relu(self.last(self.second(y)) + x)


class Planes(nn.Module):
    """Batch norm of images as they come in, NCHW, and what stands between it and its activation used once more."""

    def __init__(self):
        super().__init__()
        self.norm, self.used, self.linear = nn.BatchNorm(3), nn.BatchNorm(3), nn.Linear(48, 3)

    def forward(self, x):
        x = mg.sigmoid(self.norm(x))
        y = self.used(x)
        return self.linear((mg.sigmoid(y) * 0.5 - y).reshape(len(x), -1))


def images():
    rng = np.random.default_rng(5)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False, rng=rng),
        nn.BatchNorm(4),
        nn.Sigmoid(),
        Residual(4, rng),
        nn.Dropout(0.3, rng=np.random.default_rng(3)),
        nn.Flatten(),
        nn.Linear(64, 3, rng=rng),
    )


def relus():
    rng = np.random.default_rng(5)
    layers = nn.Linear(6, 9, rng=rng), nn.BatchNorm(9), nn.ReLU(), nn.Linear(9, 3, rng=rng)
    return nn.Sequential(*layers)


#: a network, whether for images, and what is fused in its training step and in its forward for inference
MODELS = {
    "sigmoid": (network, False, (1, 1), 1),
    "relu": (relus, False, (1, 1), 1),
    "images": (images, True, (2, 2), 2),
    "planes": (Planes, True, (1, 1), 1),
}
every_model = pytest.mark.parametrize("name", MODELS)


def data_for(name, rng):
    if not MODELS[name][1]:
        return batches(rng)
    x = rng.standard_normal((4, 5, 3, 4, 4)).astype("f")
    return [(mg.tensor(v), mg.tensor(rng.integers(3, size=5))) for v in x]


def trained(build, wrap, data, steps=9):
    """Losses, and all that training left behind."""
    mg.manual_seed(0)
    model = build()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = wrap(step_of(model, optimizer))
    losses = [step(*data[i % len(data)]).numpy().tobytes() for i in range(steps)]
    gradients = [p.grad.numpy().tobytes() for p in model.parameters()]
    return losses, content(model), gradients


@every_model
def test_training_is_the_same_bits(backend, rng, name):
    build, _, expected, _ = MODELS[name]
    data, graphs = data_for(name, rng), []

    def capture(step):
        graphs.append(mg.capture(step, *data[0]))
        return graphs[-1]

    def fuse(step):
        graphs.append(capture(step).fuse())
        return graphs[-1]

    eager = trained(build, lambda step: step, data)
    assert trained(build, capture, data) == eager
    assert trained(build, fuse, data) == eager
    assert trained(build, lambda step: fuse(step).fuse(), data) == eager
    found = fused(graphs[2])
    assert [found.get(f, 0) for f in FUSED if "frozen" not in f] == list(expected)
    assert len(graphs[2].calls) < len(graphs[1].calls)
    assert names(graphs[2].fuse()) == names(graphs[2])


@every_model
def test_inference_is_the_same_bits(backend, rng, name):
    build, _, _, expected = MODELS[name]
    mg.manual_seed(0)
    model, (x, _) = build().eval(), data_for(name, rng)[0]
    for t in (*model.parameters(), *model.buffers()):
        if t.dtype.kind == "f":
            t.data = mg.tensor(rng.uniform(0.5, 2, t.shape).astype("f")).data
    graph = mg.capture(model, x)
    short = graph.fuse()
    assert fused(short) == {"activated_frozen_batch_norm": expected}
    for _ in range(3):
        found = short(x)  # on the tape
        equal(found, model(x))
        with mg.no_grad():
            equal(short(x), model(x))
    gradients = [mg.grad((y**2).sum(), model.parameters()) for y in (found, model(x))]
    for ours, theirs in zip(*gradients, strict=True):
        equal(ours, theirs)


class TestWhatStays:
    """The value between is needed by somebody else."""

    def norm(self, x):
        return mg.batch_norm(x, None, None)

    def check(self, function, *args, expected=()):
        graph = mg.capture(function, *args)
        assert list(fused(graph.fuse())) == list(expected)
        before, after = graph(*args), graph.fuse()(*args)
        for a, b in zip(
            *((y if isinstance(y, tuple) else (y,)) for y in (before, after)), strict=True
        ):
            equal(a, b)

    def test_it_is_returned(self, backend):
        def f(x):
            y = self.norm(x)[0]
            return mg.sigmoid(y), y

        self.check(f, mg.arange(12).reshape(4, 3) * 1.0)

    def test_it_is_used_twice(self, backend):
        def f(x):
            y = self.norm(x)[0]
            return mg.sigmoid(y), mg.relu(y)

        self.check(f, mg.arange(12).reshape(4, 3) * 1.0)

    def test_the_statistics_may_be_used(self, backend):
        def f(x):
            y, mean, var = self.norm(x)
            return mg.sigmoid(y), mean, var

        self.check(f, mg.arange(12).reshape(4, 3) * 1.0, expected=["activated_batch_norm"])

    def test_it_is_a_gradient(self, backend):
        w = nn.Parameter([1.0, -2.0])

        def f(x):
            w.grad = None
            (x * w).sum().backward()
            return w.grad * 2 + x

        graph = mg.capture(f, mg.ones(2))
        found = graph.fuse()(mg.ones(2))
        equal(found, graph(mg.ones(2)))
        equal(w.grad, np.ones(2, "f"))

    def test_something_is_written_in_between(self, backend):
        """What a parameter was before the update that follows."""
        model = nn.Linear(2, 2, bias=False)
        optimizer = optim.SGD(model.parameters(), lr=0.5)

        def step(x):
            optimizer.zero_grad()
            before = model.weight * 3
            model(x).sum().backward()
            optimizer.step()
            return before + model.weight

        x, old = mg.ones((4, 2)), model.weight.numpy()
        graph = mg.capture(step, x).fuse()
        equal(graph(x), old * np.float32(3) + model.weight.numpy())


def test_relu_is_enough_for_its_gradient(backend, rng):
    """Also of what is no number, zero and minus zero."""

    def f(x):
        y = mg.relu(mg.batch_norm(x, None, None)[0])
        return y.detach(), mg.grad((y * 3).sum(), x)

    values = rng.standard_normal((6, 5)).astype("f")
    values[:, 1] = 0
    values[2, 2], values[3, 3] = np.nan, np.inf
    with np.errstate(all="ignore"):
        graph = mg.capture(f, mg.tensor(values, requires_grad=True))
        short = graph.fuse()
        assert set(fused(short)) == {"activated_batch_norm", "activated_batch_norm_grad"}
        for x in (values, -values, np.zeros_like(values)):
            x = mg.tensor(x, requires_grad=True)
            for _ in range(2):
                for ours, theirs in zip(short(x), f(x), strict=True):
                    equal(ours, theirs)


@pytest.mark.parametrize("activation", [mg.sigmoid, mg.relu])
@pytest.mark.parametrize("mode", ["batch", "frozen"])
def test_derivatives_of_a_fused_graph(backend, rng, mode, activation):
    """To second order, of the output and of the statistics, as of the graph before."""
    arrays = [rng.standard_normal(s) for s in [(6, 3), (3,), (3,), (3,)]] + [rng.uniform(1, 2, 3)]
    args = [mg.tensor(a, requires_grad=True) for a in arrays[: 3 if mode == "batch" else 5]]

    def f(x, *channels):
        if mode == "batch":
            y, mean, var = mg.batch_norm(x, *channels)
        else:
            y, mean, var = mg.frozen_batch_norm(x, *channels), *channels[2:]
        return activation(y), -(mean * 2 + var) * mean

    graph = mg.capture(f, *args)
    short = graph.fuse()
    assert set(fused(short)) == {
        "activated_batch_norm" if mode == "batch" else "activated_frozen_batch_norm"
    }
    u, v = mg.tensor(rng.standard_normal((6, 3))), mg.tensor(rng.standard_normal(3))
    directions = [mg.tensor(rng.standard_normal(a.shape)) for a in args]
    results = []
    for g in (graph, short):
        y, s = g(*args)
        first = mg.grad((y * u).sum() + (s * v).sum(), args, create_graph=True)
        along = [(a * d).sum() for a, d in zip(first, directions, strict=True)]
        total = along[0]
        for part in along[1:]:
            total = total + part
        results.append([y, s, *first, *mg.grad(total, args, allow_unused=True)])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            close(ours, theirs, 1e-12)


def test_derivatives_of_a_fused_backward(backend, rng):
    """A graph that holds gradients as results is differentiated once more."""
    x, u = (mg.tensor(rng.standard_normal((5, 4)), requires_grad=True) for _ in range(2))

    def f(x, u):
        y = mg.sigmoid(mg.batch_norm(x, None, None)[0])
        return mg.grad((y * u).sum(), x, create_graph=True)

    graph = mg.capture(f, x, u)
    short = graph.fuse()
    assert fused(short).get("activated_batch_norm_grad") == 1
    second = [mg.grad((g(x, u) ** 2).sum(), [x, u]) for g in (graph, short)]
    for ours, theirs in zip(*second, strict=True):
        close(ours, theirs, 1e-12)


def test_a_fused_graph_is_shown_compared_and_counted(rng):
    model = relus()
    x, t = batches(rng)[0]
    graph = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), x, t)
    short = graph.fuse()
    assert "activated_batch_norm_grad" in str(short) and "activated_batch_norm" in short.dot()
    assert mg.graph_diff(short, graph.fuse()).equal == len(short.calls)
    from minigrad.graph.costs import flops

    def total(g):
        return sum(map(flops, g.calls))

    assert total(short) == total(graph)


def test_a_fused_graph_in_onnx(rng, tmp_path):
    """Ops without a rule of their own are written as what they stand for."""
    pytest.importorskip("onnx")
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm(4), nn.Sigmoid())
    x, _ = batches(rng)[0]
    model(x)
    model.eval()
    graph = mg.capture(lambda x: model(x) * 2 + 1, x).fuse()
    assert names(graph) == ["linear", "activated_frozen_batch_norm", "multiply", "add"]
    graph.to_onnx(tmp_path / "fused.onnx")
    close(mg.from_onnx(tmp_path / "fused.onnx")(x), graph(x), 1e-6)
