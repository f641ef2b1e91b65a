"""Modules: what they find, what they save and load, and where they move."""

from __future__ import annotations

import copy
from collections import deque

import numpy as np
import pytest
from helpers import content, leaf, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


class Block(nn.Module):
    def __init__(self, rng):
        self.linear = nn.Linear(2, 3, bias=False, rng=rng)
        self.bn = nn.BatchNorm(3)

    def forward(self, x):
        return mg.relu(self.bn(self.linear(x)))


class Net(nn.Module):
    """Parameters, buffers and modules in every place where they are found, two of them in two places."""

    def __init__(self, rng):
        self.scale = nn.Parameter([2.0])
        self.label = "no part of the state"
        self.blocks = [Block(rng), nn.ReLU()]
        self.pair = (nn.Parameter([1.0]), nn.Buffer([3.0]))
        self.nested = [[nn.Linear(3, 1, rng=rng)]]
        self.tied = self.scale
        self.again = self.blocks[0].linear

    def forward(self, x):
        x = self.blocks[1](self.blocks[0](x))
        return self.nested[0][0](x) * self.scale + self.pair[0]


PARAMETERS = ["scale", "blocks.0.linear.weight", "blocks.0.bn.gamma", "blocks.0.bn.beta", "pair.0"]
PARAMETERS += ["nested.0.0.weight", "nested.0.0.bias"]
BUFFERS = [f"blocks.0.bn.{name}" for name in ("running_mean", "running_var", "num_batches")]
BUFFERS += ["pair.1"]
MODULES = ["", "blocks.0", "blocks.0.linear", "blocks.0.bn", "blocks.1", "nested.0.0"]


@pytest.fixture
def net(rng):
    return Net(rng)


@pytest.fixture
def x(rng):
    return mg.tensor(rng.standard_normal((4, 2)).astype(np.float32))


def shifted(module):
    return {name: a + 1 for name, a in module.state_dict().items()}


def equal(state, other):
    assert state.keys() == other.keys()
    for name, a in state.items():
        np.testing.assert_array_equal(a, other[name], err_msg=name, strict=True)


class TestFinding:
    @pytest.mark.parametrize(
        ("kind", "names"),
        [("parameters", PARAMETERS), ("buffers", BUFFERS), ("modules", MODULES)],
    )
    def test_everything_once_and_in_order(self, net, kind, names):
        named = list(getattr(net, f"named_{kind}")())
        assert [name for name, _ in named] == names
        assert [id(value) for value in getattr(net, kind)()] == [id(value) for _, value in named]

    def test_what_is_assigned_later_is_found_and_what_is_removed_is_not(self, net):
        net.late = nn.Parameter([1.0])
        net.pair = None
        names = [name for name, _ in net.named_parameters()]
        assert "late" in names and "pair.0" not in names

    def test_a_plain_tensor_is_no_parameter(self, net):
        net.constant = mg.ones(2, requires_grad=True)
        assert [name for name, _ in net.named_parameters()] == PARAMETERS

    def test_kinds(self, net):
        assert all(p.requires_grad for p in net.parameters())
        assert not any(b.requires_grad for b in net.buffers())

    def test_an_integer_parameter_is_refused(self):
        with pytest.raises(TypeError, match="floating"):
            nn.Parameter(np.arange(3))


class Nest(nn.Module):
    """A module whose parts stand in containers of all kinds, one of them in itself."""

    def __init__(self):
        self.by_name = {"one": nn.Linear(1, 2), 2: [nn.Parameter([1.0])]}
        self.deep = ([{"x": deque([nn.Buffer([2.0]), 3, "four"])}],)
        self.again = [self.by_name, {"one": self.by_name["one"]}]
        self.words = {"many": 1, "others": None}
        self.again.append(self.again)


def test_containers_however_nested():
    nest = Nest()
    names = ["by_name.one.weight", "by_name.one.bias", "by_name.2.0"]
    assert [name for name, _ in nest.named_parameters()] == names
    assert [name for name, _ in nest.named_buffers()] == ["deep.0.0.x.0"]
    assert [name for name, _ in nest.named_modules()] == ["", "by_name.one"]
    nest.eval()
    assert not nest.by_name["one"].training
    assert repr(nest).count("Linear(1, 2, bias=True)") == 3
    other = Nest()
    other.load_state_dict(nest.state_dict())
    assert content(other) == content(nest)
    nest.by_name["late"] = nn.Tanh()
    assert "by_name.late" in dict(nest.named_modules())


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("scale", "Parameter", [mg.ones(1), leaf([1.0]), np.ones(1), 2.0, [1.0], "a"]),
        ("kept", "Buffer", [np.ones(1), 2.0, np.float32(2), [1.0]]),
    ],
)
def test_nothing_takes_the_place_of_a_parameter_or_buffer(net, name, kind, values):
    net.kept = nn.Buffer([3.0])
    before, old = content(net), getattr(net, name)
    for value in values:
        with refuses(TypeError, f"Net.{name} is a {kind}, and a {type(value).__name__} would take"):
            setattr(net, name, value)
    assert content(net) == before and getattr(net, name) is old


def test_what_may_replace_a_parameter_or_buffer(net):
    net.kept = nn.Buffer([3.0])
    net.scale = new = nn.Parameter([5.0])
    assert new in net.parameters()
    net.scale = None
    net.scale = nn.Tanh()
    net.scale = nn.Parameter([1.0])
    del net.scale
    assert "scale" not in net.state_dict()
    x = mg.tensor([4.0])
    net.kept = x
    assert type(net.kept) is nn.Buffer
    x += 1
    assert net.state_dict()["kept"] == 5
    net.kept = nn.Buffer([6.0])
    net.kept = None
    assert "kept" not in net.state_dict()


def test_in_place_operators_on_attributes(net):
    scale, names = net.scale, list(net.state_dict())
    with mg.no_grad():
        net.scale -= 0.5
        net.blocks[0].linear.weight *= 0
        net.pair[1].copy_(7)
    assert net.scale is scale and list(net.state_dict()) == names
    assert net.scale.item() == 1.5 and net.pair[1].item() == 7
    assert not net.blocks[0].linear.weight.numpy().any()
    with refuses(RuntimeError, "only under minigrad.no_grad()"):
        net.scale -= 1


class TestModes:
    def test_reach_everything_below(self, net):
        assert net.eval() is net
        assert [m.training for m in net.modules()] == [False] * len(MODULES)
        net.blocks[0].train()
        assert [n for n, m in net.named_modules() if m.training] == MODULES[1:4]
        assert net.train() is net
        assert all(m.training for m in net.modules())

    def test_are_no_state(self, net):
        before = content(net)
        net.eval()
        assert content(net) == before


class TestStateDict:
    def test_names_and_values(self, net):
        state = net.state_dict()
        assert list(state) == PARAMETERS + BUFFERS
        assert all(type(a) is np.ndarray for a in state.values())
        equal(
            state, {name: t.numpy() for name, t in [*net.named_parameters(), *net.named_buffers()]}
        )

    def test_copies(self, net):
        before = content(net)
        for a in net.state_dict().values():
            a += 1
        assert content(net) == before

    @pytest.mark.parametrize("wrap", [np.copy, mg.tensor])
    def test_round_trip(self, net, x, wrap):
        net(x)
        other = Net(np.random.default_rng(1))
        before = [id(t) for t in other.parameters() + other.buffers()]
        other.load_state_dict({name: wrap(a) for name, a in net.state_dict().items()})
        assert content(other) == content(net)
        assert [id(t) for t in other.parameters() + other.buffers()] == before
        np.testing.assert_array_equal(other(x).numpy(), net(x).numpy())
        assert other.tied is other.scale

    def test_what_was_loaded_is_a_copy(self, net):
        state = shifted(net)
        net.load_state_dict(state)
        before = content(net)
        for a in state.values():
            a += 1
        assert content(net) == before

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"scale": None}, KeyError, r"Net: missing \['scale'\], unexpected nothing"),
            ({"extra": np.ones(1)}, KeyError, r"missing nothing, unexpected \['extra'\]"),
            (
                {"pair.0": None, "pair.2": np.ones(1)},
                KeyError,
                r"missing \['pair.0'\], unexpected \['pair.2'\]",
            ),
            (
                {"nested.0.0.bias": np.ones(2, np.float32)},
                ValueError,
                r"nested.0.0.bias of shape \(1,\) and dtype float32, got \(2,\) and float32",
            ),
            ({"pair.1": np.ones(1)}, ValueError, "pair.1 of .* dtype float32, got .* float64"),
            ({"pair.1": np.ones((1, 1), np.float32)}, ValueError, r"pair.1 .* got \(1, 1\)"),
            ({"blocks.0.bn.num_batches": np.float32(1)}, ValueError, "dtype int64, got .* float32"),
        ],
    )
    def test_a_misfit_loads_nothing(self, net, change, error, message):
        before = content(net)
        state = {k: v for k, v in {**shifted(net), **change}.items() if v is not None}
        with pytest.raises(error, match=message):
            net.load_state_dict(state)
        assert content(net) == before

    def test_not_strict_loads_what_is_in_common(self, net):
        state = shifted(net)
        expected = {**net.state_dict(), "scale": state["scale"], "pair.1": state["pair.1"]}
        found = net.load_state_dict(
            {"extra": 1, "scale": state["scale"], "pair.1": state["pair.1"]}, strict=False
        )
        equal(net.state_dict(), expected)
        left = [name for name in net.state_dict() if name not in ("scale", "pair.1")]
        assert found.missing_keys == left and found.unexpected_keys == ["extra"]
        assert net.load_state_dict(state) == ([], [])

    def test_not_strict_refuses_a_misfit_too(self, net):
        before = content(net)
        with pytest.raises(ValueError, match=r"pair\.1 of shape"):
            net.load_state_dict({**shifted(net), "pair.1": np.ones(2)}, strict=False)
        assert content(net) == before


class TestMoving:
    def test_there_and_back(self, net, x, backend):
        other = "numpy" if backend != "numpy" else "strict"
        net(x)
        before, y = content(net), net.eval()(x).numpy()
        tensors = net.parameters() + net.buffers()
        net(x).sum().backward()
        assert net.to(other) is net
        assert {t.backend for t in tensors} == {other}
        assert content(net) == before
        assert all(p.requires_grad and p.grad is None for p in net.parameters())
        moved = net(x.to(other))
        assert moved.backend == other
        np.testing.assert_allclose(moved.numpy(), y, rtol=1e-5, atol=1e-6)
        net.to(backend)
        assert {t.backend for t in tensors} == {backend} and content(net) == before
        np.testing.assert_array_equal(net(x).numpy(), y)

    def test_to_where_it_is_changes_nothing(self, net, x, backend):
        net(x).sum().backward()
        net.to(backend)
        assert net.scale.grad is not None

    def test_to_nowhere(self, net, backend):
        with pytest.raises(ValueError, match="unknown backend 'nowhere'"):
            net.to("nowhere")
        assert {t.backend for t in net.parameters() + net.buffers()} == {backend}


def test_zero_grad(net, x):
    net.pair[0].requires_grad = False
    net(x).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_deep_copy_is_independent(net, x):
    net(x).sum().backward()
    before, twin = content(net), copy.deepcopy(net)
    assert content(twin) == before
    assert twin.tied is twin.scale and twin.again is twin.blocks[0].linear
    gradients = [p.grad.numpy() for p in net.parameters()]
    mg.optim.SGD(twin.parameters(), lr=1.0).step()
    twin.zero_grad()
    twin(x).sum().backward()
    assert content(net) == before
    after = content(twin)
    assert all(after[name] != before[name] for name in PARAMETERS)
    for p, gradient in zip(net.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), gradient)


def test_repr(net):
    assert (
        repr(nn.Sequential(net, nn.Dropout(0.1), nn.Flatten()))
        == """\
Sequential(
  0=Net(
    blocks.0=Block(
      linear=Linear(2, 3, bias=False),
      bn=BatchNorm(3, axis=1, momentum=0.99, eps=0.001)
    ),
    blocks.1=ReLU(),
    nested.0.0=Linear(3, 1, bias=True),
    again=Linear(2, 3, bias=False)
  ),
  1=Dropout(p=0.1),
  2=Flatten()
)"""
    )


class TestSequential:
    def test_calls_one_after_the_other(self, rng, x):
        first, second = nn.Linear(2, 3, rng=rng), nn.Tanh()
        y = nn.Sequential(first, second)(x)
        np.testing.assert_array_equal(y.numpy(), second(first(x)).numpy())

    def test_is_a_sequence(self):
        layers = [nn.ReLU(), nn.Tanh(), nn.Sigmoid()]
        net = nn.Sequential(*layers)
        assert len(net) == 3 and list(net) == layers
        assert net[0] is layers[0] and net[-1] is layers[2]
        with pytest.raises(IndexError):
            net[3]

    def test_one_layer_twice_is_called_twice_and_counted_once(self, rng):
        layer = nn.Linear(2, 2, rng=rng)
        net = nn.Sequential(layer, layer)
        x = mg.ones((1, 2))
        assert len(net) == 2 and len(net.parameters()) == 2
        np.testing.assert_array_equal(net(x).numpy(), layer(layer(x)).numpy())

    def test_empty(self, x):
        assert nn.Sequential()(x) is x and len(nn.Sequential()) == 0

    @pytest.mark.parametrize("wrong", [mg.relu, [nn.ReLU()], None])
    def test_only_modules(self, wrong):
        with pytest.raises(TypeError, match="Sequential: expected layer 1 to be a Module, got"):
            nn.Sequential(nn.ReLU(), wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: nn.Linear(2, 3, **k),
        lambda **k: nn.BatchNorm(3, **k),
        lambda **k: nn.Dropout(0.5, **k),
        lambda **k: nn.Sequential(nn.ReLU(), **k),
    ],
)
def test_an_unknown_keyword_is_named(make):
    with pytest.raises(TypeError, match="'epsilom'"):
        make(epsilom=1e-5)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no forward"):
        Empty()(1)
