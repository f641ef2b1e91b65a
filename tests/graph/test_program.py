"""Replays as programs: which kernels are in them, and that each does what the one for eager code does."""

import threading

import numpy as np
import pytest
from graph.shared import batches, compiled_only, network, step_of
from helpers import content, equal

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph.program import Rows

pytestmark = compiled_only


def rows(graph):
    """The instructions of a graph that has been replayed."""
    return [row.name for step in graph._plan.steps if isinstance(step, Rows) for row in step.rows]


def images(rng, n=4, channels=3):
    return rng.standard_normal((n, channels, 6, 5)).astype("f")


def frozen(norm, rng):
    for t in (norm.running_mean, norm.running_var):
        t.data = rng.uniform(0.5, 2, t.shape).astype("f")
    return norm.eval()


def backward(layer):
    def f(x):
        layer.zero_grad()
        (layer(x) * x).sum().backward()
        return [p.grad for p in layer.parameters()]

    return f


CASES = {
    "linear": (lambda rng: nn.Linear(6, 5), (7, 6), {"product", "add_row"}),
    "few rows": (lambda rng: nn.Linear(6, 5), (2, 6), {"few_rows", "add_row"}),
    "deep": (lambda rng: nn.Linear(3000, 20, bias=False), (9, 3000), {"product"}),
    "columns": (lambda rng: nn.BatchNorm(6), (7, 6), {"columns_forward", "move_statistics"}),
    "planes": (lambda rng: nn.BatchNorm(3), (4, 3, 6, 5), {"planes_forward"}),
    "no gamma": (lambda rng: nn.BatchNorm(3, scale=False), (4, 3, 6, 5), {"planes_forward"}),
    "frozen columns": (lambda rng: frozen(nn.BatchNorm(6), rng), (7, 6), {"columns_frozen"}),
    "frozen planes": (lambda rng: frozen(nn.BatchNorm(3), rng), (4, 3, 6, 5), {"planes_frozen"}),
    "sigmoid": (lambda rng: nn.Sigmoid(), (7, 6), {"sigmoid"}),
    "relu": (lambda rng: nn.ReLU(), (7, 6), {"relu"}),
    "columns backward": (
        lambda rng: backward(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm(6), nn.Sigmoid())),
        (7, 6),
        {"columns_backward", "sigmoid_grad", "product", "column_sums"},
    ),
    "planes backward": (
        lambda rng: backward(nn.Sequential(nn.BatchNorm(3), nn.ReLU())),
        (4, 3, 6, 5),
        {"planes_backward", "relu_grad"},
    ),
    "losses": (
        lambda rng: (
            lambda x: mg.softmax_cross_entropy(x, mg.constant([1, 5, 2], dtype="int64"), "none")
        ),
        (3, 6),
        {"softmax_cross_entropy"},
    ),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_kernels(rng, name, large, threads):
    make, shape, expected = CASES[name]
    if large and name not in ("losses", "deep", "few rows"):
        shape = (700, *shape[1:]) if len(shape) == 2 else (300, *shape[1:])
    before = mg.get_num_threads()
    mg.set_num_threads(threads)
    try:
        function = make(rng)
        xs = [mg.tensor(rng.standard_normal(shape).astype("f")) for _ in range(5)]
        with mg.no_grad() if isinstance(function, nn.Module) else nn.hold_statistics():
            graph = mg.capture(function, xs[0])
            for x in xs:
                found, eager = graph(x), function(x)
                for a, b in zip(
                    *([r] if isinstance(r, mg.Tensor) else r for r in (found, eager)), strict=True
                ):
                    equal(a, b)
        assert expected <= {name.removesuffix("_over") for name in rows(graph)}
    finally:
        mg.set_num_threads(before)


@pytest.mark.parametrize("nesterov", [False, True])
def test_all_of_a_step_but_dropout_is_a_program(rng, nesterov):
    model, data = network(), batches(rng)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=nesterov)
    graph = mg.capture(step_of(model, optimizer), *data[0])
    for batch in data:
        graph(*batch)
    left = [step.name for step in graph._plan.steps if not isinstance(step, Rows)]
    assert set(left) <= {"dropout_mask", "multiply"}
    assert rows(graph).count("descend_with_momentum") == 5


def test_settings_of_adam_are_read_anew(rng):
    found = []
    for wrap in (lambda step, *_: step, mg.capture):
        mg.manual_seed(0)
        model, data = network(), batches(np.random.default_rng(0))
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        step = wrap(step_of(model, optimizer), *data[0])
        for i in range(12):
            optimizer.lr, optimizer.eps = 0.01 / (1 + i), 1e-8 * (1 + i)
            if i == 8:
                optimizer.betas = (0.8, 0.9)
            step(*data[i % len(data)])
        found.append(content(model))
    assert found[0] == found[1]


def test_two_threads_at_once(rng):
    """Whoever comes while another is in the program's memory goes without it."""
    model = nn.Sequential(nn.Linear(6, 300), nn.Sigmoid(), nn.Linear(300, 3))
    xs = [mg.tensor(rng.standard_normal((200, 6)).astype("f")) for _ in range(2)]
    graph = mg.capture(model, xs[0]).fold_batch_norm()
    expected = [graph(x).numpy() for x in xs]
    wrong = []

    def run(k):
        for _ in range(200):
            if (graph(xs[k]).numpy() != expected[k]).any():
                wrong.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_number_of_threads_may_change(rng):
    model = nn.Linear(60, 70)
    x = mg.tensor(rng.standard_normal((500, 60)).astype("f"))
    graph, before = mg.capture(model, x).fold_batch_norm(), mg.get_num_threads()
    expected = graph(x).numpy()
    try:
        for count in (1, 2, 1):
            mg.set_num_threads(count)
            for _ in range(3):
                equal(graph(x), expected)
    finally:
        mg.set_num_threads(before)


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU, None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [2, 7, 300])
def test_weights_that_stay_are_packed_once(rng, n, bias, activation):
    """With bias and activation in one kernel where they are fused, and the bits of eager code."""
    before = mg.get_num_threads()
    layers = [nn.Linear(130, 37, bias=bias)] + ([activation()] if activation else [])
    model = nn.Sequential(*layers, nn.Linear(37, 5))
    xs = [mg.tensor(rng.standard_normal((n, 130)).astype("f")) for _ in range(3)]
    try:
        for threads in (1, 2):
            mg.set_num_threads(threads)
            folded = mg.capture(model, xs[0]).fold_batch_norm()
            for graph in (folded, folded.fuse()):
                for x in xs:
                    with mg.no_grad():
                        equal(graph(x), model(x))
            assert ("packed_product" in rows(folded)) == (n > 4)
            names = [call.name for call in folded.fuse().calls]
            assert names == ["activated_linear" if activation else "linear", "linear"]
    finally:
        mg.set_num_threads(before)


def test_gradients_are_written_over_what_is_not_needed_any_more(rng):
    """And over nothing else: not where what comes in is used again, or leaves."""
    x = mg.tensor(rng.standard_normal((7, 6)).astype("f"), requires_grad=True)
    w = nn.Parameter(rng.standard_normal((6, 6)).astype("f"))

    def once(x):
        return mg.grad(mg.sigmoid(x @ w) @ w, x, x @ w)

    def again(x):
        y = mg.sigmoid(x @ w)
        gy = mg.grad(y @ w, y, x @ w)
        return mg.grad(y, x, gy), gy * 2

    found = {}
    for function in (once, again):
        graph = mg.capture(function, x)
        for _ in range(4):
            results = [r if isinstance(r, tuple) else (r,) for r in (graph(x), function(x))]
            for a, b in zip(*results, strict=True):
                equal(a, b)
        found[function] = rows(graph)
    assert "sigmoid_grad_over" in found[once]
    assert "sigmoid_grad" in found[again]


def test_parameters_that_were_elsewhere_meanwhile(rng):
    """Moved away and back they lie in other memory than the program knows."""
    model = nn.Linear(6, 3)
    x = mg.tensor(rng.standard_normal((7, 6)).astype("f"))
    graph = mg.capture(model, x)
    with mg.no_grad():
        for _ in range(3):
            graph(x)
        model.to("strict").to("numpy")
        model.weight.data = np.ones((3, 6), np.float32)
        equal(graph(x), model(x))
