"""Optimizers: PyTorch's numbers over twenty steps, and what they leave alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers import close, content, equal

import minigrad as mg
from minigrad.optim import (
    SGD,
    Adam,
    CosineAnnealingLR,
    ExponentialLR,
    RMSprop,
    StepLR,
    clip_grad_norm_,
    optimizers,
)

pytestmark = pytest.mark.usefixtures("backend")

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.5, "betas": (0.5, 0.9)}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.5, "centered": True}),
]
cases = pytest.mark.parametrize(("name", "settings"), CASES)


class Problem:
    """A fit by a net of one hidden layer, not convex, in minigrad's or PyTorch's tensors."""

    def __init__(self, tensor=mg.tensor):
        rng = np.random.default_rng(0)
        shapes = [(10, 3), (10, 4), (10, 2)]
        self.x, self.constant, self.y = (tensor(rng.standard_normal(shape)) for shape in shapes)
        self.params = [tensor(rng.standard_normal(s)) for s in [(3, 4), (4,), (4, 2)]]
        for p in self.params:
            p.requires_grad = True

    def loss(self, skip=False):
        """With constants in place of the first layer, whose parameters then have no gradient, if ``skip``."""
        first, bias, second = self.params
        hidden = self.constant if skip else (self.x @ first + bias).tanh()
        return ((hidden @ second - self.y) ** 2).mean()

    def step(self, optimizer, skip=False):
        optimizer.zero_grad()
        self.loss(skip).backward()
        optimizer.step()

    def values(self):
        return [p.numpy() for p in self.params]


def sgd(lr=0.1, **settings):
    return SGD([mg.ones(3, requires_grad=True)], lr, **settings)


# --- steps ---


@cases
@pytest.mark.parametrize("skipped", [(), (0,), (0, 1, 2, 7, 11, 12)], ids=["none", "one", "some"])
def test_twenty_steps_of_torch(torch, name, settings, skipped):
    """Also where the first layer has no gradient in some steps: Adam corrects each parameter's bias by its own."""
    ours, theirs = Problem(), Problem(torch.tensor)
    optimizer = getattr(mg.optim, name)(ours.params, **settings)
    oracle = getattr(torch.optim, name)(theirs.params, **settings)
    losses = []
    for step in range(20):
        if step == 10:
            optimizer.lr = oracle.param_groups[0]["lr"] = 0.01
        ours.step(optimizer, step in skipped)
        theirs.step(oracle, step in skipped)
        for p, q in zip(ours.params, theirs.params, strict=True):
            close(p, q.detach().numpy(), 1e-10)
        losses.append(ours.loss().item())
    assert losses[-1] < 0.95 * losses[0]
    updates = 20 - len(skipped)
    equal(optimizer.steps, [updates, updates, 20])


@cases
def test_parameters_without_a_gradient_are_left_alone(name, settings):
    """Weight decay and momentum included: a frozen parameter, one that lost its gradient, and all of them."""
    problem = Problem()
    optimizer = getattr(mg.optim, name)(problem.params, **settings)
    problem.loss().backward()
    gradients = [p.grad for p in problem.params]
    arrays = [g.numpy() for g in gradients]
    optimizer.step()
    for p, gradient, a in zip(problem.params, gradients, arrays, strict=True):
        assert p.grad is gradient and p.requires_grad
        equal(gradient, a)
    before, state = problem.values(), content(optimizer)
    optimizer.zero_grad()
    optimizer.step()
    for a, b in zip(problem.values(), before, strict=True):
        equal(a, b)
    assert content(optimizer) == state
    problem.params[0].requires_grad = False
    problem.step(optimizer)
    still = [np.array_equal(a, b) for a, b in zip(problem.values(), before, strict=True)]
    assert still == [True, False, False]
    changed = {n for n, a in content(optimizer).items() if a != state[n]}
    assert changed == {"steps"} | {f"{slot}.{i}" for slot in optimizer.slots for i in (1, 2)}


@pytest.mark.parametrize("skip", [False, True])
def test_a_step_is_one_op(monkeypatch, skip):
    """Also where some parameters have had fewer steps than others."""
    counts, apply = [], optimizers.apply
    monkeypatch.setattr(optimizers, "apply", lambda op, *a: (counts.append(op), apply(op, *a)))
    problem = Problem()
    optimizer = Adam(problem.params)
    for steps, skip_now in enumerate([skip, False], 1):
        problem.step(optimizer, skip_now)
        assert len(counts) == steps


def test_a_graph_from_before_the_step_is_refused():
    problem = Problem()
    optimizer = SGD(problem.params, lr=0.1)
    problem.loss().backward()
    graphs = [(p**2).sum() for p in problem.params]
    optimizer.step()
    for graph in graphs:
        with pytest.raises(RuntimeError, match="changed in place"):
            graph.backward()
    problem.params[1].requires_grad = False
    optimizer.zero_grad()
    assert [p.grad for p in problem.params] == [None] * 3


# --- groups ---


def grouped(problem, name="SGD", optim=mg.optim, **settings):
    """The first parameter alone, the others together, which have a rate of their own."""
    first, *others = problem.params
    groups = [{"params": first, "weight_decay": 0.1}, {"params": others, "lr": 0.01}]
    return getattr(optim, name)(groups, **settings)


GROUPED = [("SGD", {"lr": 0.1, "momentum": 0.9}), ("AdamW", {}), ("RMSprop", {"momentum": 0.5})]


@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_groups_of_torch(torch, name, settings):
    """Rates per group, changed by a schedule and by assignment."""
    ours, theirs = Problem(), Problem(torch.tensor)
    optimizer = grouped(ours, name, **settings)
    oracle = grouped(theirs, name, torch.optim, **settings)
    halve = ExponentialLR(optimizer, 0.5), torch.optim.lr_scheduler.ExponentialLR(oracle, 0.5)
    for step in range(12):
        ours.step(optimizer, skip=step == 3)
        theirs.step(oracle, skip=step == 3)
        if step == 5:
            optimizer.param_groups[1]["lr"] = oracle.param_groups[1]["lr"] = 0.2
        if step % 4 == 2:
            halve[0].step()
            halve[1].step()
        for p, q in zip(ours.params, theirs.params, strict=True):
            close(p, q.detach().numpy(), 1e-10)
    rates = [[g["lr"] for g in o.param_groups] for o in (optimizer, oracle)]
    assert rates[0] == rates[1]
    assert [len(g["params"]) for g in optimizer.param_groups] == [1, 2]


@pytest.mark.parametrize(("name", "settings"), GROUPED)
@pytest.mark.parametrize(
    "through", [lambda o: o.state_dict(), lambda o: pickle.loads(pickle.dumps(o)).state_dict()]
)
def test_states_of_groups(name, settings, through):
    whole, resumed = Problem(), Problem()
    first, second = grouped(whole, name, **settings), grouped(resumed, name, **settings)
    for _ in range(3):
        whole.step(first)
    first.param_groups[1]["lr"] = 0.3
    second.load_state_dict(through(first))
    assert content(second) == content(first)
    assert {"groups.0.lr", "groups.1.steps"} < content(second).keys()
    for p, q in zip(resumed.params, whole.params, strict=True):
        p.data = q.data.copy()
    whole.step(first)
    resumed.step(second)
    for a, b in zip(whole.values(), resumed.values(), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("lr", "0.1", "SGD: expected lr as a number"),
        ("momentum", 0.9, "SGD: momentum was 0 when the optimizer was made"),
        ("params", None, "Update: inputs are on different backends"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_group_that_is_refused_changes_no_other(setting, value, words, count, backend):
    p, q = mg.ones(2, requires_grad=True), mg.ones(2, requires_grad=True)
    optimizer = SGD([{"params": [p, q]}] if count == 1 else [{"params": p}, {"params": q}], 0.1)
    (p * q).sum().backward()
    before = content(optimizer)
    if setting == "params":
        q.grad = mg.ones(2, backend="numpy" if backend != "numpy" else "strict")
    else:
        optimizer.param_groups[-1][setting] = value
    with pytest.raises((TypeError, ValueError), match=words):
        optimizer.step()
    optimizer.param_groups[-1]["lr"] = 0.1
    assert content(optimizer) == before
    equal(p * q, np.ones(2, "f"))


def test_attributes_of_groups():
    optimizer = grouped(Problem(), momentum=0.9)
    says = r"SGD.lr: each of the 2 groups has its own; use .param_groups\[0\]\['lr'\]"
    with pytest.raises(AttributeError, match=says):
        optimizer.lr = 1
    with pytest.raises(AttributeError, match=says):
        assert optimizer.lr
    with pytest.raises(AttributeError, match="'SGD' object has no attribute 'rate'"):
        assert optimizer.rate
    assert repr(optimizer) == (
        "SGD(\n  SGD(lr=0.001, momentum=0.9, nesterov=False, weight_decay=0.1, 1 parameter),\n"
        "  SGD(lr=0.01, momentum=0.9, nesterov=False, weight_decay=0.0, 2 parameters)\n)"
    )
    alone = SGD([{"params": Problem().params, "lr": 3}], lr=1)
    assert (alone.lr, alone.groups) == (3, (alone,))


# --- clipping ---


@pytest.mark.parametrize("norm_type", [2, 1, 3.5, np.inf])
@pytest.mark.parametrize("max_norm", [0.1, 1e3])
def test_clipping_of_torch(torch, norm_type, max_norm):
    ours, theirs = Problem(), Problem(torch.tensor)
    for problem in (ours, theirs):
        problem.loss(skip=True).backward()
        problem.loss().backward()
        (problem.params[0] * 10).sum().backward()
    norm = clip_grad_norm_(iter(ours.params), max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs.params, max_norm, norm_type)
    close(norm, expected.numpy(), 1e-12)
    for p, q in zip(ours.params, theirs.params, strict=True):
        close(p.grad, q.grad.numpy(), 1e-12)


def test_clipping_in_edge_cases():
    p, half = mg.ones(2, requires_grad=True), mg.ones(3, requires_grad=True, dtype=np.float16)
    equal(clip_grad_norm_([p], 1), np.zeros((), "f"))
    half.grad = mg.full(3, 30000, dtype=np.float16)  # the sum of squares is infinite in float16
    close(clip_grad_norm_([p, half], 1), np.float32(30000 * np.sqrt(3)), 1e-6)
    close(half.grad.astype(np.float32), np.full(3, 3**-0.5, np.float32), 1e-3)
    assert (half.grad.dtype, p.grad) == (np.float16, None)
    (p * np.nan).sum().backward()
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        clip_grad_norm_(p, 1, error_if_nonfinite=True)


@pytest.mark.parametrize("owner", ["model", "optimizer"])
def test_gradients_that_become_0(owner):
    """Eagerly and in replays: no momentum without a step, but weight decay."""
    model = mg.nn.Linear(3, 2)
    optimizer = SGD(model.parameters(), lr=0.5, weight_decay=1.0)

    @mg.jit
    def step(x):
        {"model": model, "optimizer": optimizer}[owner].zero_grad(set_to_none=False)
        y = (model(x) * 0).sum()
        y.backward()
        optimizer.step()
        return y

    before = model.weight.numpy()
    model.weight.grad = mg.full((2, 3), np.nan)
    for _ in range(4):
        step(mg.ones(4, 3))
    close(model.weight, before / 16, 1e-6)
    model.zero_grad(set_to_none=False)
    equal(model.weight.grad, np.zeros((2, 3), "f"))


# --- states ---


@cases
def test_a_state_goes_on_to_the_same_bits(name, settings):
    def run(optimizer, problem, steps):
        for step in steps:
            optimizer.lr = 0.1 / (1 + step // 4)
            problem.step(optimizer, skip=step % 3 == 0)

    whole, begun, resumed = (Problem() for _ in range(3))
    run(getattr(mg.optim, name)(whole.params, **settings), whole, range(10))
    first = getattr(mg.optim, name)(begun.params, **settings)
    run(first, begun, range(5))
    second = getattr(mg.optim, name)(resumed.params, **{**settings, "lr": 7})
    second.load_state_dict(first.state_dict())
    assert content(second) == content(first)
    for p, q in zip(resumed.params, begun.params, strict=True):
        p.data = q.data.copy()
    run(first, begun, range(5, 7))  # which must not reach into the second's state
    run(second, resumed, range(5, 10))
    for a, b in zip(whole.values(), resumed.values(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_states_have_names_and_are_copies():
    optimizer = Adam(Problem().params, lr=1)
    before, state = content(optimizer), optimizer.state_dict()
    slots = [f"{slot}.{i}" for slot in ("first_moment", "second_moment") for i in range(3)]
    assert list(state) == ["lr", "steps", *slots]
    assert list(sgd().state_dict()) == ["lr", "steps"]
    for a in state.values():
        a += 1
    assert content(optimizer) == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": None}, KeyError, r"missing or unexpected \['lr'\]"),
        ({"velocity.2": None, "velocity.3": 1}, KeyError, r"\['velocity.2', 'velocity.3'\]"),
        ({"velocity.1": np.ones(5)}, ValueError, r"velocity.1 of shape \(4,\) .* got \(5,\)"),
        ({"steps": np.ones(3)}, ValueError, "steps of .* dtype int64, got .* float64"),
        ({"lr": np.ones(3)}, ValueError, r"lr of shape \(\) .* got \(3,\)"),
    ],
)
def test_a_misfit_loads_nothing(change, error, message):
    optimizer = SGD(Problem().params, lr=0.1, momentum=0.9)
    before = content(optimizer)
    state = {name: a + 1 for name, a in optimizer.state_dict().items()}
    state = {name: a for name, a in {**state, **change}.items() if a is not None}
    with pytest.raises(error, match=f"load_state_dict into SGD: .*{message}"):
        optimizer.load_state_dict(state)
    assert content(optimizer) == before


# --- schedules ---

SCHEDULES = [
    ("ExponentialLR", {"gamma": 0.9}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 2}),
    ("CosineAnnealingLR", {"T_max": 4}),
    ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.5}),
]
schedules = pytest.mark.parametrize(("name", "settings"), SCHEDULES)


def scheduled(name, settings, lr=8.0):
    optimizer = sgd(lr)
    return optimizer, getattr(mg.optim, name)(optimizer, **settings)


@schedules
def test_rates_of_torch(torch, name, settings):
    _, schedule = scheduled(name, settings)
    oracle = torch.optim.SGD([torch.ones(1)], lr=8.0)
    peer = getattr(torch.optim.lr_scheduler, name)(oracle, **settings)
    for _ in range(10):
        oracle.step()
        schedule.step()
        peer.step()
        close(schedule.get_last_lr(), peer.get_last_lr(), 1e-14)


def test_schedules_multiply_the_current_rate():
    optimizer, rates = sgd(8.0), []
    halve, every_other = ExponentialLR(optimizer, 0.5), StepLR(optimizer, 2, 10)
    for step in range(5):
        if step == 3:
            optimizer.lr = 1.0
        halve.step()
        every_other.step()
        rates.append(optimizer.lr)
    assert rates == [4.0, 20.0, 10.0, 5.0, 2.5]


@schedules
@pytest.mark.parametrize("order", [1, -1])
def test_schedules_go_on_at_the_same_rates(name, settings, order):
    def run(optimizer, schedule, steps):
        rates = []
        for _ in range(steps):
            schedule.step()
            rates.append(optimizer.lr)
        return rates

    whole, begun, resumed = (scheduled(name, settings, lr) for lr in (8.0, 8.0, 7.0))
    rates = run(*whole, 10)
    run(*begun, 4)
    for own, other in list(zip(resumed, begun, strict=True))[::order]:
        own.load_state_dict(other.state_dict())
    assert run(*resumed, 6) == rates[4:]
    assert begun[1].state_dict()["steps"].dtype == np.int64


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({}, KeyError, r"missing or unexpected \['steps'\]"),
        ({"steps": 1, "lr": 2}, KeyError, r"\['lr'\]"),
        ({"steps": 1.0}, TypeError, "steps as an integer, got 1.0"),
        ({"steps": -1}, ValueError, "steps >= 0, got -1"),
        (None, TypeError, "expected names with their arrays, got None"),
    ],
)
def test_a_misfit_schedule_loads_nothing(state, error, message):
    schedule = StepLR(sgd(), 3)
    schedule.step()
    with pytest.raises(error, match=f"load_state_dict into StepLR: .*{message}"):
        schedule.load_state_dict(state)
    assert schedule.steps == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: SGD([], lr=0.1), ValueError, "SGD: expected at least one parameter, got none"),
        (lambda p: Adam(p), TypeError, "Adam: expected a list of Tensors, got one Tensor"),
        (lambda p: sgd(momentum=-1), ValueError, "momentum >= 0, got -1"),
        (lambda p: sgd(weight_decay=-1), ValueError, "weight_decay >= 0, got -1"),
        (lambda p: SGD([p, p], 0.1), ValueError, "SGD: a parameter is given twice"),
        (lambda p: SGD([p, p * 2], 0.1), ValueError, "parameter 1 is computed from others"),
        (lambda p: sgd(nesterov=True), ValueError, "nesterov needs momentum > 0"),
        (lambda p: Adam([p], betas=(1, 0.9)), ValueError, r"betas in \[0, 1\), got \(1, 0.9\)"),
        (lambda p: Adam([p], eps=-1), ValueError, "eps >= 0, got -1"),
        (lambda p: Adam([p], weight_decay=-1), ValueError, "weight_decay >= 0, got -1"),
        (
            lambda p: RMSprop([p], alpha=2),
            ValueError,
            r"RMSprop: expected alpha in \[0, 1\], got 2",
        ),
        (lambda p: SGD([{"lr": 1}]), ValueError, r"SGD, group 0: expected 'params', got \['lr'\]"),
        (lambda p: SGD([{"params": p}, p]), TypeError, "SGD, parameter 0: .* got dict"),
        (
            lambda p: SGD([{"params": p, "learning_rate": 1}]),
            TypeError,
            r"group 0: unknown \['learning_rate'\]; expected \['lr', 'momentum', ",
        ),
        (lambda p: SGD([{"params": p}, {"params": [p]}]), ValueError, "a parameter is given twice"),
        (lambda p: CosineAnnealingLR(sgd(), 0), ValueError, "T_max >= 1, an int, got 0"),
        (lambda p: clip_grad_norm_([p, 1], 1), TypeError, "clip_grad_norm_, parameter 1: expected"),
        (lambda p: clip_grad_norm_(1, 1), TypeError, "clip_grad_norm_: expected a list of Tensors"),
        (lambda p: SGD([p]).add_param_group({}), AttributeError, "use all groups at first"),
        (lambda p: clip_grad_norm_([p], -1), ValueError, "max_norm >= 0, got -1"),
        (lambda p: clip_grad_norm_([p], 1, 0), ValueError, "norm_type > 0, got 0"),
        (lambda p: mg.optim.lr_scheduler, AttributeError, "minigrad.optim.StepLR"),
        (lambda p: mg.nn.utils, AttributeError, "minigrad.optim.clip_grad_norm_"),
        (lambda p: StepLR(sgd(), 1, 0), ValueError, "StepLR: expected gamma > 0"),
    ],
)
def test_constructor_errors(make, error, message):
    with pytest.raises(error, match=message):
        make(mg.ones(3, requires_grad=True))
