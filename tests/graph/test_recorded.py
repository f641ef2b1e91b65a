"""Graphs as one recording of what a device is told, on the stand-in for a stream that is captured."""

from __future__ import annotations

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import equal

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph.recorded import Recorded
from minigrad.op import Op
from minigrad.tensor import Tensor, apply

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda p: optim.Adam(p, lr=0.1),
    ],
    ids=["SGD", "momentum", "Adam"],
)
def test_a_replay_has_the_bits_of_eager_code(optimizer, rng):
    found = []
    for captured in (False, True):
        mg.manual_seed(0)
        model = network()
        moving = optimizer(model.parameters())
        step = step_of(model, moving)
        data = batches(np.random.default_rng(0))
        graph = step = mg.capture(step, *data[0]) if captured else step
        losses = [step(*batch).numpy() for batch in data]
        grads = [p.grad.numpy() for p in model.parameters()]
        found.append([losses, grads, [*model.state_dict().values(), *moving.state_dict().values()]])
    assert isinstance(graph._plan, Recorded)
    for ours, theirs in zip(*found, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_convolutional_network_is_recorded(rng):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2))
    graph = mg.capture(lambda x: model(x), mg.tensor(rng.standard_normal((3, 2, 6, 6))).astype("f"))
    with mg.no_grad():
        for _ in range(3):
            x = mg.tensor(rng.standard_normal((3, 2, 6, 6)).astype("f"))
            equal(graph(x), model(x))
    assert isinstance(graph._plan, Recorded)


def test_state_and_arguments_leave_as_themselves(rng):
    weight = nn.Parameter(np.ones(3))
    graph = mg.capture(lambda x: (x * weight, weight, weight.reshape(3, 1), x), mg.ones(3))
    with mg.no_grad():
        for value in range(4):
            x = mg.full(3, value, dtype=np.float32)
            y, parameter, view, argument = graph(x)
            equal(y, np.full(3, value))
            assert parameter is weight and argument is x
            del y
    assert isinstance(graph._plan, Recorded)
    weight.data = weight.data * 7
    equal(view, np.full((3, 1), 7))  # the state's own memory, as in eager code


KEEPING = {
    "a tensor": lambda y: y,
    "its array": lambda y: y.data,
    "a view": lambda y: y[1:],
    "a view of its array": lambda y: y.data.reshape(3, 2)[1:],
    "without the tape": lambda y: y.detach(),
}


@pytest.mark.parametrize("keep", KEEPING.values(), ids=KEEPING)
@pytest.mark.parametrize("f", [lambda x: x * 2, lambda x: (x.T * 2).T], ids=["rows", "columns"])
def test_what_a_caller_keeps_stays(keep, f):
    def values(kept):
        return (kept if isinstance(kept, mg.Tensor) else Tensor(kept)).numpy()

    graph = mg.capture(f, mg.ones((2, 3)))
    kept, plans = [], []
    for value in range(6):
        kept.append(keep(graph(mg.full((2, 3), value, dtype=np.float32))))
        plans.append(graph._plan)
    for value, found in enumerate(kept):
        equal(values(found), values(keep(mg.full((2, 3), 2.0 * value, dtype=np.float32))))
    assert len(set(plans)) == 2  # the first one lent its results; from then on they are copied
    assert isinstance(plans[-1], Recorded)


@pytest.mark.parametrize("keep", [False, True])
def test_a_result_and_its_view_share_memory_as_in_eager_code(keep):
    graph, kept = mg.capture(lambda x: (y := x * 2, y.reshape(6)), mg.ones((2, 3))), []
    for _ in range(6):
        y, view = graph(mg.ones((2, 3)))
        y += 1
        equal(view, np.full(6, 3))
        kept += [y, view] if keep else []
        del y, view
    assert isinstance(graph._plan, Recorded) is not keep
    assert all((t.numpy() == 3).all() for t in kept)


def test_a_view_of_an_argument_is_one():
    graph = mg.capture(lambda x: (x.T, x * 2), mg.ones((2, 3)))
    for _ in range(4):
        x = mg.ones((2, 3))
        graph(x)[0].copy_(7)
        equal(x, np.full((2, 3), 7))


def test_a_gradient_from_before_the_call_leaves_as_itself():
    weight = nn.Parameter(np.ones(3, "f"))

    def accumulate(x):
        before = weight.grad
        mg.sum(weight * x).backward()
        return before

    weight.grad = mg.zeros(3)
    graph, seen = mg.capture(accumulate, mg.ones(3)), []
    for _ in range(5):
        own = weight.grad
        seen.append(graph(mg.ones(3)))
        assert seen[-1] is own
    for i, gradient in enumerate(seen):
        equal(gradient, np.full(3, i))
    assert isinstance(graph._plan, Recorded)


def test_a_graph_that_returns_nothing_is_recorded():
    total, weight = nn.Buffer(np.zeros(3, "f")), nn.Parameter(np.ones(3, "f"))
    optimizer = optim.SGD([weight], lr=0.5)

    def add(x):
        total.copy_(total + x)

    def step():
        optimizer.zero_grad()
        mg.sum(weight * 2).backward()
        optimizer.step()
        optimizer.zero_grad()

    graphs = mg.capture(add, mg.ones(3)), mg.capture(step)
    with mg.no_grad():
        for _ in range(4):
            graphs[0](mg.ones(3))
    for _ in range(4):
        graphs[1]()
    equal(total, np.full(3, 4))
    equal(weight.detach(), np.full(3, -3))
    assert all(isinstance(graph._plan, Recorded) for graph in graphs)


def test_what_a_tape_keeps_stays():
    weight = nn.Parameter(np.ones(3))
    graph = mg.capture(lambda x: x * 2, mg.ones(3))
    losses = [mg.sum(graph(mg.full(3, value)) * weight) for value in range(6)]
    for value, loss in enumerate(losses):
        equal(mg.grad(loss, [weight])[0], np.full(3, 2 * value))


def test_what_nobody_keeps_is_not_copied(rng):
    model = network(p=0)
    x, t = batches(rng)[0]
    step = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), x, t)
    places, plans = [], []
    for _ in range(6):
        loss = step(x, t)  # as everybody has it: the last one is kept until there is another
        places.append([step._home.kernels.launch.address(p.grad.data) for p in model.parameters()])
        plans.append(step._plan)
    assert np.isfinite(loss.item())
    assert plans[3] is plans[5] and places[3] == places[4] == places[5]


def test_other_settings_and_other_memory_make_another_recording(rng):
    model = network(p=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    (x, t), *_ = batches(rng)
    step = mg.capture(step_of(model, optimizer), x, t)
    step(x, t), step(x, t)
    before, plan = model.state_dict(), step._plan
    optimizer.lr = 0.0
    step(x, t)
    assert step._plan is not plan
    for name, p in model.named_parameters():
        equal(p, before[name])
    plan = step._plan
    step(x, t)
    assert step._plan is plan
    step(mg.tensor(np.asfortranarray(x.numpy())), t)
    assert step._plan is not plan


def test_parameters_that_were_moved_away_and_back(rng):
    model = network(p=0)
    (x, t), *_ = batches(rng)
    step = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), x, t)
    step(x, t), step(x, t)
    model.to("numpy")
    model.to("strict")
    before = model.state_dict()
    step(x, t)
    assert any((p.numpy() != before[name]).any() for name, p in model.named_parameters())


class Look(Op):
    """An op that asks the device for a value."""

    differentiable = False

    def forward(self, k, x):
        return x * 2 if x.max().item() > 0 else x


def test_what_looks_at_values_is_replayed_op_by_op():
    graph = mg.capture(lambda x: apply(Look(), x) + 1, mg.ones(3))
    for value in (1, -1, 2):
        equal(graph(mg.full(3, value)), np.full(3, value * (1 + (value > 0)) + 1))
    assert graph._plan is None


def test_each_mask_has_a_seed_of_its_own():
    first, second = (nn.Dropout(0.5, rng=np.random.default_rng(s)) for s in (1, 2))
    graph = mg.capture(lambda x: (first(x), second(x)), mg.ones(50))
    graph(mg.ones(50))
    a, b = (y.numpy() for y in graph(mg.ones(50)))
    assert (a != b).any()


def test_seeds_are_drawn_for_each_replay():
    rng = np.random.default_rng(3)
    drop = nn.Dropout(0.5, rng=rng)
    graph = mg.capture(drop, mg.ones(50))
    graph(mg.ones(50))
    state = rng.bit_generator.state
    masks = [graph(mg.ones(50)).numpy() for _ in range(2)]
    assert (masks[0] != masks[1]).any()
    rng.bit_generator.state = state
    for mask in masks:
        equal(drop(mg.ones(50)), mask)
