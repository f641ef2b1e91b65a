"""Copies and pickles of tensors, modules and optimizers in any state: the same bits, and the same training."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from functools import reduce

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn


def pickled(protocol):
    return lambda value: pickle.loads(pickle.dumps(value, protocol))


def out_of_band(value):
    """Read-only buffers that begin anywhere, as of a file or another process's memory."""
    buffers = []
    content = pickle.dumps(value, 5, buffer_callback=buffers.append)
    moved = [memoryview(b"!" + bytes(b.raw()))[1:] for b in buffers]
    return pickle.loads(content, buffers=moved)


WAYS = {f"pickle_{n}": pickled(n) for n in range(6)}
WAYS |= {"buffers": out_of_band, "deepcopy": copy.deepcopy, "copy": copy.copy}
AWAY = {name: way for name, way in WAYS.items() if name != "copy"}


def ways(table):
    return pytest.mark.parametrize("way", table.values(), ids=table.keys())


def leaf(shape=(3, 4), dtype=np.float32):
    values = np.random.default_rng(0).standard_normal(shape)
    return mg.tensor(values, requires_grad=True, dtype=dtype)


def with_gradient():
    x = leaf()
    (x * x).sum().backward()
    return x


def changed(x, times):
    """Change x in place after other operations on the tape."""
    for _ in range(times):
        x.data = x.data * 2
    return x


def freed():
    (y := mg.exp(leaf()).sum()).backward()
    return y


STATES = {
    "data": lambda: leaf().detach(),
    "leaf": leaf,
    "with_gradient": with_gradient,
    "gradient_of_a_gradient": lambda: mg.grad((x := leaf()) ** 3, x, leaf(), create_graph=True),
    "changed": lambda: changed(nn.Parameter(np.ones(3, np.float32)), 9),
    "bfloat16": lambda: leaf(dtype="bfloat16"),
    "integers": lambda: mg.tensor(np.arange(4)),
    "empty": lambda: leaf((0, 2)),
    "no_axes": lambda: leaf(()),
    "view": lambda: leaf().detach().T[1:],
    "large": lambda: mg.relu(leaf((300, 300))).detach(),  # memory that is used again
    "computed": lambda: mg.sigmoid(leaf()),
    "indexed": lambda: leaf()[1:, [0, 2]],
    "masked": lambda: (x := leaf())[x > 0],
    "one_of_several_outputs": lambda: mg.batch_norm(leaf(), None, None)[1],
    "freed": freed,
    "chain": lambda: reduce(lambda y, _: y + 1, range(5000), leaf()),
}


@ways(WAYS)
@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
@pytest.mark.usefixtures("backend")
def test_tensors(state, way):
    x = state()
    y = way(x)
    assert type(y) is type(x) and y.dtype == x.dtype and y.backend == x.backend
    assert y.requires_grad == x.requires_grad
    assert y.numpy().tobytes() == x.numpy().tobytes()
    if x.is_leaf and x.grad is not None:
        assert y.grad.numpy().tobytes() == x.grad.numpy().tobytes()
    if state is freed:
        with refuses(RuntimeError, "an earlier backward() freed this graph"):
            y.backward()
    elif x.requires_grad and way is not copy.copy:
        assert y.is_leaf
        y.grad = None
        (y * y).sum().backward()
        assert y.grad.numpy().tobytes() == (2 * y).numpy().tobytes()


@pytest.mark.usefixtures("backend")
def test_a_shallow_copy_is_the_same_value():
    x = leaf()
    y = copy.copy(x)
    loss = (x * x).sum()
    y.data = y.data * 2
    with refuses(RuntimeError, "was changed in place"):
        loss.backward()
    (y * 3).sum().backward()
    assert x.grad is y.grad and x.numpy().tobytes() == y.numpy().tobytes()


@ways(AWAY)
def test_what_is_shared_stays_shared(way):
    x = leaf()
    x, again, detached = way([x, x, x.detach()])
    assert again is x
    loss = (x * x).sum()
    detached.data = detached.data * 2
    with refuses(RuntimeError, "was changed in place"):
        loss.backward()


def test_memory_that_is_no_plain_array_of_this_machine():
    """Memory maps, as from joblib, and the other byte order."""
    for array in (np.ones(3).view(np.memmap), np.ones(3, ">f8")):
        new, args, state = leaf().__reduce_ex__(5)
        x = new(*args)
        x.__setstate__(state | {"_data": array})
        assert type(x.data) is np.ndarray and x.dtype.isnative
        (2 * x).sum().backward()
        assert x.grad.numpy().tolist() == [2, 2, 2]


class Labelled(nn.Parameter):
    def __init__(self, data, label):
        super().__init__(data)
        self.label = label


@ways(WAYS)
def test_attributes_of_subclasses(way):
    assert way(Labelled([1.0], "a")).label == "a"


class Net(nn.Module):
    """Tied parameters, a twin, a generator, and a jitted method."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.first, self.second = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)
        self.second.weight = self.first.weight
        self.bn = nn.BatchNorm(4)
        self.twin = self.bn.twin()
        self.dropout = nn.Dropout(0.5, rng=rng)
        self.fast = mg.jit(self.forward)

    def forward(self, x):
        return self.second(self.twin(self.dropout(self.bn(self.first(x)))))


def train(model, optimizer, schedule, steps=3):
    """Losses, each by the jitted attribute."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model.fast(mg.tensor(np.random.default_rng(1).standard_normal((5, 4)))) ** 2).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss)
    return losses


def build(optimizer):
    model = Net()
    for t in model.parameters() + model.buffers():
        if t.dtype == np.float32:
            t._data = t.astype(np.float64)._data
    trained = optimizer(model.parameters(), lr=0.01)
    return model, trained, mg.optim.StepLR(trained, 2, gamma=0.5)


def arrays(model, optimizer, schedule):
    parts = {**model.state_dict(), **optimizer.state_dict()}
    return {name: a.tobytes() for name, a in parts.items()}


def same_afterwards(moved, stayed):
    model = moved[0]
    assert model.second.weight is model.first.weight and model.twin.gamma is model.bn.gamma
    assert model.fast.function.__self__ is model
    assert all(p is q for p, q in zip(model.parameters(), moved[1].params, strict=True))
    assert arrays(*moved) == arrays(*stayed)
    losses = [[y.item() for y in train(*parts)] for parts in (moved, stayed)]
    assert losses[0] == losses[1] and arrays(*moved) == arrays(*stayed)


OPTIMIZERS = {
    "sgd": lambda params, lr: mg.optim.SGD(params, lr, momentum=0.9),
    "adam": mg.optim.Adam,
}


@ways(AWAY)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("before", [0, 3])
def test_training_goes_on(way, optimizer, before):
    parts = build(optimizer)
    train(*parts, before)
    moved = way(parts)
    same_afterwards(moved, parts)


def work(parts):
    """In another process; the losses have been freed there."""
    return parts, train(*parts)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    parts = build(mg.optim.Adam)
    train(*parts)
    with multiprocessing.get_context(method).Pool(1) as pool:
        (moved, losses), (again, _) = pool.map_async(work, [parts, parts]).get(timeout=120)
    assert [y.item() for y in losses] == [y.item() for y in train(*parts)]
    with refuses(RuntimeError, "an earlier backward() freed this graph"):
        losses[0].backward()
    same_afterwards(moved, parts)
    train(*again)
    assert arrays(*again) == arrays(*parts)


@mg.jit
def jitted(x):
    return x * 2


@ways(WAYS)
def test_a_jitted_function_goes_by_its_name(way):
    assert way(jitted) is jitted


@ways(WAYS)
def test_a_graph_is_refused(way):
    graph = mg.capture(mg.relu, leaf().detach())
    with refuses(TypeError, "<Graph 'relu', 1 ops> is bound to the tensors"):
        way(graph)


@ways(AWAY)
def test_inside_of_a_capture_values_would_be_frozen(way):
    with refuses(mg.CaptureError, "pickle or copy.deepcopy reads the values"):
        mg.capture(lambda x: way(x) * 2, leaf().detach())
