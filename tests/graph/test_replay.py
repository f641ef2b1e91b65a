"""Replays as recorded lists of kernels: what is in them, that nothing is guessed, and the bits of eager code."""

import threading

import numpy as np
import pytest
from graph.shared import batches, compiled_only, network, step_of
from helpers import equal

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import get
from minigrad.kernels.recording import Recording, _start
from minigrad.kernels.watched import Watched
from minigrad.op import Op
from minigrad.tensor import apply

pytestmark = compiled_only


def steps(graph):
    """The names of what a graph that has been replayed runs: of an op, where a replay calls its ``forward``."""
    names = []
    for (function, _), call in zip(graph._plan.steps, graph._plan.calls, strict=True):
        if getattr(function, "func", None) is _start:
            function = function.args[0]
        name = getattr(function, "func", function).__name__
        names.append(call.name if name in ("step", "forward") else name.strip("_"))
    return names


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
    "linear": (lambda rng: nn.Linear(6, 5), (7, 6), {"product"}),
    "few rows": (lambda rng: nn.Linear(6, 5), (2, 6), {"few"}),
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
        {"columns_backward", "product", "column_sums"},
    ),
    "planes backward": (
        lambda rng: backward(nn.Sequential(nn.BatchNorm(3), nn.ReLU())),
        (4, 3, 6, 5),
        {"planes_backward"},
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
        assert expected <= {*steps(graph)}
    finally:
        mg.set_num_threads(before)


def test_all_of_a_step_but_dropout_and_updates_is_recorded(rng):
    model, data = network(), batches(rng)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    graph = mg.capture(step_of(model, optimizer), *data[0])
    for batch in data:
        graph(*batch)
    called = {"dropout_mask", "update"}
    ops = {
        call.name
        for (f, _), call in zip(graph._plan.steps, graph._plan.calls, strict=True)
        if getattr(getattr(f, "func", f), "__name__", "") in ("step", "forward")
    }
    assert ops == called


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


class Does(Op):
    """An op that does something to an array of its own, in a way that Python does not show."""

    differentiable = False
    __slots__ = ("what",)

    def __init__(self, what):
        self.what = what

    def forward(self, k, x):
        y = x + 1
        return self.what(y, x)


def changed(method, *args):
    def what(y, x):
        getattr(y, method)(*args)
        return y

    return what


def half_of_the_first(y, x):
    return y * float(x[0])


def times(y, x):
    np.multiply(y, x, out=y)
    return y


def plus(y, x):
    y += x
    return y


def where(y, x):
    np.add(y, x, out=y, where=x > 0)
    return y


def copied(y, x):
    np.copyto(y, x[::-1])
    return y


def set_in_part(y, x):
    y[1:] = x[:-1]
    y[x > 0] = 5
    return y


OPS = {
    "sort": changed("sort"),
    "partition": changed("partition", 2),
    "put": changed("put", [0, 1], 7),
    "fill": changed("fill", 3),
    "setfield": changed("setfield", 3, np.float32),
    "item": half_of_the_first,
    "out": times,
    "in place": plus,
    "where": where,
    "copyto": copied,
    "setitem": set_in_part,
    "max": lambda y, x: y / x.max(),
    "truth": lambda y, x: y if x.sum() > 0 else -y,
    "any": lambda y, x: y if (x > 0).all() else -y,
    "argmax": lambda y, x: y + x.argmax(),
    "count": lambda y, x: y + np.count_nonzero(x > 0),
    "list": lambda y, x: y + max(x.tolist()),
    "iteration": lambda y, x: y + sum(float(v) for v in x),
    "at": lambda y, x: (np.add.at(y, [0, 0], x[0]), y)[1],
    "accumulate": lambda y, x: np.add.accumulate(y),
    "outer": lambda y, x: np.multiply.outer(y, x),
    "mean": lambda y, x: y - x.mean(),
    "flat": lambda y, x: y.flat[::-1] * 1,
    "view": lambda y, x: np.asarray(y)[::-1],
    "hidden": lambda y, x: np.exp(np.asarray(y), out=np.asarray(y)),
    "hidden, then returned": lambda y, x: (np.asarray(y).__imul__(3), y)[1],
    "hidden, in a part": lambda y, x: (np.ascontiguousarray(y)[1:].sort(), y)[1],
    "new": lambda y, x: np.concatenate([y, x]),
    "broadcast": lambda y, x: np.broadcast_to(y, (3, *y.shape)),
    "cast": lambda y, x: (y * 2).astype(np.int64).astype(np.float32),
    "modf": lambda y, x: np.modf(y)[0],
    "dot": lambda y, x: np.full(2, y.dot(x), np.float32),
}


@pytest.mark.parametrize("name", OPS)
def test_nothing_is_guessed(rng, name):
    """Whatever an op does to arrays, with NumPy or by looking at them: each replay does it anew."""
    op = Does(OPS[name])
    xs = [mg.tensor(rng.standard_normal(5).astype("f")) for _ in range(6)]

    def function(x):
        return apply(op, x * 2) * 3

    graph = mg.capture(function, xs[0])
    for x in xs:
        equal(graph(x), function(x))


def test_memory_of_intermediate_results_is_not_read_before_it_is_written(rng):
    """Replays have the same bits whatever the recording's memory holds."""
    model, data = network(p=0), batches(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.0)
    graph = mg.capture(step_of(model, optimizer), *data[0])
    expected = [graph(*batch).numpy() for batch in data]
    for byte in (0xFF, 0x7F):
        for batch, loss in zip(data, expected, strict=True):
            for block in graph._plan.blocks:
                block.fill(byte)
            equal(graph(*batch), loss)


def test_values_that_a_kernel_reads_for_python_decide_anew():
    """Statistics that compiled code finds finite when recorded may not be in a replay."""
    recording = Recording(get("numpy").kernels)
    watched = recording.brought(np.ones((2, 3), "f"))[:1]
    recording.apply(lambda k, var: (var * 2 if k.finite(var) else var * 0,), watched)
    assert recording.steps[0][0].__name__ == "step"  # which calls all of it


def test_memory_is_used_again():
    recording = Recording(get("numpy").kernels)
    a = recording.empty((100,), np.float32)
    start = a.ctypes.data
    view = a[10:]
    del a
    other = recording.empty((100,), np.float32)
    assert other.ctypes.data != start  # the view needs it
    del view
    assert recording.empty((90,), np.float32).ctypes.data == start
    assert type(recording.empty((1,), np.int64)) is Watched


@pytest.mark.parametrize("layout", ["C", "transposed", "sliced", "reversed"])
def test_arguments_in_any_layout(rng, layout):
    def arranged(x):
        return {"C": x, "transposed": x.T, "sliced": x[:, ::2], "reversed": x[::-1]}[layout]

    def function(x):
        return mg.sigmoid(x @ x.T).sum(1), x.T, x + 1

    data = [mg.Tensor(arranged(rng.standard_normal((6, 6)).astype("f"))) for _ in range(5)]
    graph = mg.capture(function, data[0])
    for x in (*data, mg.tensor(data[0].numpy()), *data):
        for a, b in zip(graph(x), function(x), strict=True):
            equal(a, b)
