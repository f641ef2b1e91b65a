"""``jit``: a graph for each kind of call."""

import sys
from threading import Thread

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import content, equal, refuses

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph import jitting


def pair(rng):
    """Two networks with their steps, alike to the last bit."""
    found = []
    for _ in range(2):
        mg.manual_seed(0)
        model = network()
        found.append((model, step_of(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))))
    return found


def test_a_ragged_last_batch_simply_works(backend, rng):
    (model, step), (twin, eager) = pair(rng)
    step = mg.jit(step)
    data = batches(rng, 3) + batches(rng, 1, n=2)
    for _ in range(4):
        for batch in data:
            equal(step(*batch), eager(*batch))
    assert content(model) == content(twin)
    assert len(step.graphs) == 2


def test_dtypes_and_modes_have_graphs_of_their_own(backend, rng):
    model = nn.Sequential(nn.BatchNorm(6), nn.Dropout(0.0))
    f = mg.jit(model)
    x = batches(rng)[0][0]
    for _ in range(3):
        f(x)
        f(x.astype("float16"))
        model.eval()
        f(x)
        model.train()
        with mg.no_grad():
            f(x)
    assert len(f.graphs) == 4
    assert model[0].num_batches.item() == 9


def test_as_a_decorator_of_a_method(backend, rng):
    class Doubling(nn.Module):
        def __init__(self, factor):
            self.factor = nn.Parameter([factor])

        @mg.jit
        def forward(self, x):
            return x * self.factor

    two, three, x = Doubling(2.0), Doubling(3.0), mg.ones(4)
    for _ in range(3):
        equal(two(x), np.full(4, 2, "f"))
        equal(three(x), np.full(4, 3, "f"))
    equal(mg.grad(two(x).sum(), two.factor), np.array([4], "f"))


def test_it_looks_like_the_function():
    @mg.jit
    def step(x):
        """A step."""
        return x

    assert step.__name__ == "step"
    assert step.__doc__ == "A step."


def test_other_values_of_fixed_arguments(backend):
    f = mg.jit(lambda x, power, names: x**power if names == "odd" else -(x**power))
    x = mg.tensor([2.0])
    for _ in range(3):
        for power in (1, 2):
            for names in ("odd", "even"):
                sign = 1 if names == "odd" else -1
                equal(f(x, power, names), np.array([sign * 2.0**power], "f"))
    assert len(f.graphs) == 4


def test_it_keeps_so_many_graphs(monkeypatch):
    monkeypatch.setattr(jitting, "MOST", 2)
    f = mg.jit(lambda x: x * 2)
    for n in (1, 2, 3, 3, 3, 1):
        equal(f(mg.ones(n)), np.full(n, 2, "f"))
    assert [g.inputs[0].shape for g in f.graphs] == [(3,), (1,)]


def test_the_function_runs_twice_and_no_more(backend):
    runs = []
    f = mg.jit(lambda x: (runs.append(1), x * 2)[1])
    for _ in range(5):
        f(mg.ones(2))
    assert len(runs) == 2


def test_a_failed_call_leaves_it_usable(backend):
    f = mg.jit(lambda x, t: mg.softmax_cross_entropy(x, t))
    x = mg.zeros((2, 3))
    for _ in range(3):
        with refuses(ValueError, "labels"):
            f(x, np.array([0, 5]))
        f(x, np.array([0, 2]))


class Scaled(nn.Module):
    """A module of which nothing is called."""

    def __init__(self):
        self.scale = 2.0

    def scaled(self, x):
        return x * self.scale

    @mg.jit
    def decorated(self, x):
        return x * self.scale


def test_settings_of_modules_that_are_not_called(backend):
    model, x = Scaled(), mg.ones(3)
    functions = [model.decorated, mg.jit(model.scaled), mg.jit(lambda x: model.scaled(x))]
    given = mg.jit(lambda x, owner: x * owner["a"].scale)
    functions.append(lambda x: given(x, {"a": model}))
    for scale in (2.0, 3.0):
        model.scale = scale
        for f in functions:
            for _ in range(3):
                equal(f(x), np.full(3, scale, "f"))


class Named(nn.Module):
    """A layer whose factor is an attribute of one of two names."""

    def forward(self, x):
        return x * (2 if hasattr(self, "two") else 3)


def test_every_way_to_change_an_attribute_is_seen(backend):
    """The values stay the same objects; what they are called, or how many there are, changes."""
    model, x = Named(), mg.ones(3)
    model.two = value = object()
    f = mg.jit(model)
    changes = [
        lambda: (delattr(model, "two"), setattr(model, "three", value)),
        lambda: vars(model).update(two=value),
        lambda: vars(model).pop("two"),
        lambda: vars(model).update(three=None, two=value),
    ]
    for change in (lambda: None, *changes):
        change()
        for _ in range(3):
            equal(f(x), model(x))


STEPS = {
    "a rate": lambda o: optim.ExponentialLR(o, 0.5),
    "a rate that stays": lambda o: optim.StepLR(o, step_size=3),
}


@pytest.mark.parametrize("schedule", STEPS)
def test_schedules_step_outside(backend, schedule):
    """Found whatever holds them; and a capture leaves them as they were."""
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.1)
    schedules = {"all": [STEPS[schedule](optimizer)]}

    def step(x):
        schedules["all"][0].step()
        return x * 2

    for call in (mg.jit(step), lambda x: mg.capture(step, x)):
        before = optimizer.lr, schedules["all"][0].steps
        with refuses(mg.CaptureError, "is set inside of the captured function"):
            call(mg.ones(3))
    assert (optimizer.lr, schedules["all"][0].steps) == before


def test_a_mode_that_is_set_and_put_back_inside(backend):
    model = nn.Sequential(nn.Dropout(0.5))

    def evaluated(x):
        y = model.eval()(x)
        model.train()
        return y

    with refuses(mg.CaptureError, "Sequential.training is set inside"):
        mg.capture(evaluated, mg.ones(3))
    assert model.training and model[0].training


def test_threads_may_share_it():
    """Each with sizes of its own, so that all the while one of the graphs moves to the end."""
    f, errors = mg.jit(lambda x: mg.sigmoid(x) * 2), []
    inputs = [mg.ones(n) for n in (1, 2, 3, 4)]
    expected = [(mg.sigmoid(x) * 2).numpy() for x in inputs]

    def work(first):
        try:
            for i in range(first, first + 400):
                equal(f(inputs[i % 4]), expected[i % 4])
        except Exception as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads], [t.join() for t in threads]
    finally:
        sys.setswitchinterval(before)
    assert errors == []


@pytest.mark.parametrize(
    "function",
    [
        lambda x: mg.sigmoid(x[:, 1:3]),
        lambda x: mg.sigmoid(x[::2].T),
        lambda x: mg.sigmoid(mg.broadcast_to(x[:1], (6, 40))),
    ],
)
def test_outputs_of_parts_of_arrays_are_compact(backend, function):
    compiled = mg.jit(function)
    for i in range(4):
        x = mg.tensor(np.random.default_rng(i).normal(size=(6, 40)), dtype="float32")
        np.testing.assert_array_equal(compiled(x).numpy(), function(x).numpy())
