"""Captured graphs: what is in them, and that a replay is what eager code would have done, bit for bit."""

import gc
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import content, device, equal, refuses

import minigrad as mg
from minigrad import nn, optim


def trained(make_optimizer, wrap, data, steps, between=lambda i, optimizer: None):
    """Losses, and all that training left behind."""
    mg.manual_seed(0)
    model = network()
    optimizer = make_optimizer(model.parameters())
    step = wrap(step_of(model, optimizer))
    losses = []
    for i in range(steps):
        between(i, optimizer)
        losses.append(step(*data[i % len(data)]).numpy().tobytes())
    gradients = [p.grad.numpy().tobytes() for p in model.parameters()]
    state = {name: a.tobytes() for name, a in optimizer.state_dict().items()}
    return losses, content(model), gradients, state


SHARING = {
    "one result twice": lambda x, state: (y := x * 2, y),
    "a result and its view": lambda x, state: (y := x * 2, y.reshape(4)),
    "two views": lambda x, state: (y := x * 2, (y.T, y[0]))[1],
    "an argument and its view": lambda x, state: (x, x.T),
    "a buffer and its view": lambda x, state: (state, state.reshape(4)),
}


@pytest.mark.parametrize("f", SHARING.values(), ids=SHARING)
def test_results_that_share_memory_share_their_version(backend, f):
    state, weight = nn.Buffer(np.ones((2, 2), "f")), nn.Parameter(np.ones((2, 2), "f"))
    graph = mg.capture(lambda x: f(x, state), mg.ones((2, 2)))
    for replay in (f, *[lambda x, state: graph(x)] * 4):
        used, changed = replay(mg.ones((2, 2)), state)
        product = mg.sum(used * weight)
        changed += 1
        with refuses(RuntimeError, "was changed in place"):
            mg.grad(product, [weight])


@pytest.mark.parametrize("taped", [False, True], ids=["replayed", "applied again"])
def test_a_returned_constant_may_be_changed(backend, taped):
    weight = nn.Parameter(np.ones(3), requires_grad=taped)

    def f():
        ones = mg.constant(np.ones(3))
        return ones, ones.reshape(3, 1), weight * 2

    graph = mg.capture(f)
    for _ in range(4):
        *constants, y = graph()
        assert y.requires_grad is taped
        for constant in constants:
            equal(constant, np.ones(constant.shape))
            constant += 1


OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda params: optim.Adam(params, lr=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_thousand_steps_are_the_same_bits(backend, rng, optimizer):
    data, steps = batches(rng), 1000 if backend != "strict" else 100
    eager = trained(OPTIMIZERS[optimizer], lambda step: step, data, steps)
    captured = trained(OPTIMIZERS[optimizer], lambda step: mg.capture(step, *data[0]), data, steps)
    jitted = trained(OPTIMIZERS[optimizer], mg.jit, data, steps)
    assert captured == eager
    assert jitted == eager


def test_a_schedule_takes_effect_in_the_next_replay(backend, rng):
    def between(i, optimizer):
        optimizer.lr = 0.1 / (1 + i)

    data = batches(rng)
    eager = trained(OPTIMIZERS["momentum"], lambda step: step, data, 20, between)
    captured = trained(
        OPTIMIZERS["momentum"], lambda step: mg.capture(step, *data[0]), data, 20, between
    )
    assert captured == eager
    assert captured != trained(OPTIMIZERS["momentum"], lambda step: step, data, 20)


def test_a_loaded_state_takes_effect_in_the_next_replay(backend, rng):
    model, other = network(), network()
    x, _ = batches(rng)[0]
    model.eval(), other.eval()
    other[1].running_mean.data = mg.full(8, 0.5).data
    model[1].running_mean.data = mg.full(8, 0.25).data
    graph = mg.capture(model, x)
    before = graph(x).numpy()
    model.load_state_dict(other.state_dict())
    assert (graph(x).numpy() != before).any()
    equal(graph(x), other(x))


def test_dropout_draws_anew_in_each_replay(backend):
    graph = mg.capture(lambda x: mg.dropout(x), mg.ones(100))
    mg.manual_seed(1)
    first, second = graph(mg.ones(100)).numpy(), graph(mg.ones(100)).numpy()
    assert (first != second).any()
    mg.manual_seed(1)  # also where the generator is another one than when it was captured
    equal(mg.dropout(mg.ones(100)), first)
    mg.manual_seed(1)
    equal(graph(mg.ones(100)), first)


class TestCapturingLeavesNoTrace:
    def test_state_gradients_and_generators_are_as_they_were(self, backend, rng):
        model = network()
        optimizer = optim.Adam(model.parameters())
        step = step_of(model, optimizer)
        data = batches(rng)
        step(*data[0])
        gradients = [p.grad for p in model.parameters()]
        before = content(model), optimizer.state_dict(), [g.numpy() for g in gradients]
        generator = model[3].rng.bit_generator.state
        mg.capture(step, *data[1])
        assert content(model) == before[0]
        for name, array in optimizer.state_dict().items():
            equal(array, before[1][name])
        assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
        for g, old in zip(gradients, before[2], strict=True):
            equal(g, old)
        assert model[3].rng.bit_generator.state == generator

    def test_also_where_the_function_raises(self, backend, rng):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step = step_of(model, optimizer)

        def fails(x, t):
            step(x, t)
            raise ZeroDivisionError

        before = content(model)
        with pytest.raises(ZeroDivisionError):
            mg.capture(fails, *batches(rng)[0])
        assert content(model) == before
        assert [p.grad for p in model.parameters()] == [None] * 5
        step(*batches(rng)[0])  # nobody listens any more

    def test_also_where_layers_are_made_inside(self, backend):
        mg.manual_seed(0)
        with pytest.raises(mg.CaptureError):
            mg.capture(lambda x: nn.Linear(6, 2)(x), mg.ones((5, 6)))
        found = mg.dropout(mg.ones(50))
        mg.manual_seed(0)
        equal(found, mg.dropout(mg.ones(50)))

    def test_a_tape_from_before_is_refused_only_after_a_replay(self, rng):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step, data = step_of(model, optimizer), batches(rng)
        graph = mg.capture(step, *data[0])
        loss = (model[0].weight ** 2).sum()
        mg.capture(step, *data[0])
        mg.grad(loss, model[0].weight)
        graph(*data[0])
        with pytest.raises(RuntimeError, match="changed in place"):
            loss.backward()


class TestWhatIsInAGraph:
    def test_a_training_step(self, backend, rng):
        """Its calls are in the table of test_showing."""
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        graph = mg.capture(step_of(model, optimizer), *batches(rng)[0])
        assert [v.name for v in graph.inputs] == ["x", "t"]
        names = {v.name for v in graph.state()}
        assert set(model.state_dict()) | {"steps"} | {f"velocity.{i}" for i in range(5)} == names
        first = graph.calls[0]
        assert first.outputs[0].shape == (5, 8)
        assert first.outputs[0].dtype == np.float32
        assert first.outputs[0].nbytes == 160
        assert first.inputs[1].tensor is model[0].weight

    def test_inputs_have_the_names_of_arguments(self, backend):
        def f(a, pair, *rest, k):
            return a + pair[0] * pair[1]["z"] + rest[0] + k

        one = mg.ones(2)
        graph = mg.capture(f, one, (one, {"z": one}), one, k=one)
        names = ["a", "pair[0]", "pair[1]['z']", "rest[0]", "k"]
        assert [v.name for v in graph.inputs] == names
        for function in (nn.Sequential(nn.ReLU()), mg.jit(mg.tanh), mg.tanh):
            assert [v.name for v in mg.capture(function, one).inputs] == ["x"]
        nameless = type("F", (), {"__call__": lambda self, x: x * 2, "__signature__": "none"})()
        assert [v.name for v in mg.capture(nameless, one).inputs] == ["input[0]"]

    def test_arguments_and_results_in_structures(self, backend):
        def f(pair, *, scale):
            return {"sum": pair["a"] + pair["b"], "rest": [pair["a"] * scale, None]}

        a, b = mg.tensor([1, 2]), mg.tensor([3, 4])
        graph = mg.capture(f, {"a": a, "b": b}, scale=3)
        found = graph({"a": b, "b": b}, scale=3)
        equal(found["sum"], np.array([6, 8], "f"))
        equal(found["rest"][0], np.array([9, 12], "f"))
        assert found["rest"][1] is None

    def test_arrays_are_inputs_too(self, backend, rng):
        logits, labels = rng.standard_normal((4, 3)).astype("f"), np.array([0, 2, 1, 1])
        graph = mg.capture(mg.softmax_cross_entropy, mg.tensor(logits), device(labels))
        other = np.array([1, 1, 0, 2])
        equal(
            graph(mg.tensor(logits), device(other)),
            mg.softmax_cross_entropy(mg.tensor(logits), device(other)),
        )

    def test_an_argument_may_be_returned_and_state_too(self, backend):
        model = nn.BatchNorm(2)
        graph = mg.capture(lambda x: (x, model.running_mean, model(x)), mg.ones((3, 2)))
        x = mg.zeros((3, 2))
        found = graph(x)
        assert found[0] is x
        assert found[1] is model.running_mean


class TestDifferentiating:
    """A replay whose results lead back to parameters goes through the door, and is recorded."""

    def test_gradients_are_those_of_eager_code(self, backend, rng):
        model, x = network(), batches(rng)[0][0]
        model[3].p = 0.0
        graph = mg.capture(model, x)
        eager = mg.grad((model(x) ** 2).sum(), model.parameters())
        replayed = mg.grad((graph(x) ** 2).sum(), model.parameters())
        for a, b in zip(replayed, eager, strict=True):
            equal(a, b)

    def test_to_second_order(self, backend, rng):
        x = mg.tensor(rng.standard_normal((4, 3)), requires_grad=True)

        def f(x):
            y, _, _ = mg.batch_norm(x, None, None)
            return (y**3).sum()

        graph = mg.capture(f, x)
        found = []
        for g in (f, graph):
            (gx,) = mg.grad([g(x)], [x], create_graph=True)
            found.append(mg.grad((gx**2).sum(), x))
        equal(*found)

    def test_what_was_computed_without_the_tape_stays_so(self, backend):
        w = nn.Parameter([2.0])

        def f(x):
            with mg.no_grad():
                scale = w * 3
            return x * scale + w

        graph = mg.capture(f, mg.ones(1))
        equal(mg.grad(graph(mg.ones(1)).sum(), w), np.array([1], "f"))

    def test_no_tape_is_kept_where_none_is_needed(self, backend, rng):
        model, x = network(), batches(rng)[0][0]
        graph = mg.capture(model, x)
        with mg.no_grad():
            assert not graph(x).requires_grad
        assert graph(x).requires_grad

    def test_accumulated_gradients(self, backend, rng):
        """Two backward passes into one gradient, inside, and from outside."""
        model = nn.Linear(6, 3)
        data = batches(rng, 2)

        def accumulate(a, b):
            model.zero_grad()
            for x, t in (a, b):
                mg.softmax_cross_entropy(model(x), t).backward()

        accumulate(*data)
        expected = [p.grad.numpy() for p in model.parameters()]
        graph = mg.capture(accumulate, *data)
        model.zero_grad()
        graph(*data)
        for p, g in zip(model.parameters(), expected, strict=True):
            equal(p.grad, g)


def test_a_graph_in_a_capture_becomes_part_of_it(backend, rng):
    model, x = network(), batches(rng)[0][0]
    inner, jitted = mg.capture(model, x), mg.jit(model)
    jitted(x)
    plain = mg.capture(lambda x: model(x) * 2, x)
    for part in (inner, jitted):
        graph = mg.capture(lambda x, part=part: part(x) * 2, x)
        assert [c.name for c in graph.calls] == [c.name for c in plain.calls]


def test_a_replay_holds_on_to_nothing(rng):
    """What it computes on the way is gone when it returns, without the garbage collector."""
    graph = mg.capture(lambda x: (x * 2 + 1).sum(), mg.ones(1000))
    gc.collect()
    gc.disable()
    try:
        x = mg.ones(1000)
        alive = weakref.ref(x._data)
        y = graph(x)
        assert y.item() == 3000
        del x
        assert alive() is None
    finally:
        gc.enable()


def test_a_graph_that_was_replayed_is_gone_with_its_last_name(rng):
    """With the memory of its fast replays, without the garbage collector."""
    graph = mg.capture(lambda x: mg.sigmoid(mg.linear(x, W)), mg.ones((5, 6)))
    gc.collect()
    gc.disable()
    try:
        with mg.no_grad():
            graph(mg.ones((5, 6))), graph(mg.ones((5, 6)))
        alive = weakref.ref(graph)
        del graph
        assert alive() is None
    finally:
        gc.enable()


def test_no_inputs_at_all(backend):
    w = nn.Parameter([1.0, 2.0])
    graph = mg.capture(lambda: (w * w).sum())
    w.data = mg.tensor([2.0, 3.0]).data
    assert graph().item() == 13


W = nn.Parameter(np.linspace(-1, 1, 48, dtype=np.float32).reshape(8, 6))


def _deep(h):
    for _ in range(3):
        h = mg.sigmoid(mg.linear(h, mg.constant(np.eye(8, dtype=np.float32))))
    return h


VIEWS = {
    "a part, used later": lambda h: (lambda part: (_deep(h), part.sum()))(h[:, :4]),
    "a part of a part": lambda h: (lambda part: (_deep(h), part[1:].sum()))(h[:, :4]),
    "a part, returned": lambda h: h[1:3],
    "stretched": lambda h: mg.broadcast_to(h, (2, 40, 8)),
    "in two shapes": lambda h: (h, h.reshape(8, 40), h.T, h.reshape(-1)),
    "of state": lambda h: (W.T, W[1:], h),
    "of constants": lambda h: (mg.zeros((2, 3)).reshape(6), mg.ones((2, 3))[0], h),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_keep_what_they_look_into(rng, view):
    def f(x):
        return VIEWS[view](mg.sigmoid(mg.linear(x, W)))

    data = [mg.tensor(rng.standard_normal((40, 6)).astype("f")) for _ in range(4)]
    with mg.no_grad():
        graph = mg.capture(f, data[0])
        for found, expected in [(graph(x), f(x)) for x in data]:
            several = isinstance(found, tuple)
            for a, b in zip(found, expected, strict=True) if several else [(found, expected)]:
                equal(a, b)


class _TwoRates(optim.SGD):
    """One whose rates stand in a list."""

    def update(self, k, steps, *columns):
        for rate, *column in zip(self.rates, *columns, strict=True):
            settings = {"lr": rate, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
            k.sgd(*((array,) for array in column), **settings)


def _two_rates(params):
    optimizer = _TwoRates(params, lr=0.1)
    optimizer.rates = [0.1] * len(optimizer.params)
    return optimizer


SETTINGS = {
    "another kernel": (OPTIMIZERS["momentum"], lambda o: setattr(o, "nesterov", True)),
    "in a tuple": (OPTIMIZERS["adam"], lambda o: setattr(o, "betas", (0.5, 0.9))),
    "in a list": (
        lambda params: optim.Adam(params, betas=[0.9, 0.99]),
        lambda o: o.betas.__setitem__(0, 0.5),
    ),
    "its own": (_two_rates, lambda o: o.rates.__setitem__(1, 0.5)),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_any_setting_of_an_optimizer_takes_effect_in_the_next_replay(rng, setting):
    make, change = SETTINGS[setting]
    data = batches(rng)

    def between(i, optimizer):
        if i == 4:
            change(optimizer)

    eager = trained(make, lambda step: step, data, 8, between)
    assert trained(make, lambda step: mg.capture(step, *data[0]), data, 8, between) == eager


def test_momentum_may_be_switched_off_but_not_on(rng):
    """Velocities are made with the optimizer."""
    for before, after in ((0.9, 0.0), (0.0, 0.9)):
        model = nn.Linear(6, 3)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=before)
        step, (data, *_) = step_of(model, optimizer), batches(rng)
        graph = mg.capture(step, *data)
        graph(*data), graph(*data)
        optimizer.momentum = after
        for f in (step, graph):
            with pytest.raises(ValueError, match="momentum was 0") if after else nullcontext():
                f(*data)
