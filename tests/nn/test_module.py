"""Modules: what they find, what they save and load, and where they move."""

from __future__ import annotations

import copy
from collections import deque

import numpy as np
import pytest
from helpers import content, equal, leaf, refuses

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
    """Parameters, buffers and modules in containers, two of them in two places."""

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


# --- finding ---


@pytest.mark.parametrize(
    ("kind", "names"), [("parameters", PARAMETERS), ("buffers", BUFFERS), ("modules", MODULES)]
)
def test_everything_is_found_once_and_in_order(net, kind, names):
    named = list(getattr(net, f"named_{kind}")())
    assert [name for name, _ in named] == names
    assert [id(value) for value in getattr(net, kind)()] == [id(value) for _, value in named]
    if kind != "modules":
        assert {t.requires_grad for _, t in named} == {kind == "parameters"}


def test_attributes_may_change(net):
    """A plain tensor is no parameter."""
    net.constant = mg.ones(2, requires_grad=True)
    net.late = nn.Parameter([1.0])
    net.pair = None
    expected = [name for name in PARAMETERS if name != "pair.0"]
    assert [name for name, _ in net.named_parameters()] == [*expected, "late"]
    with refuses(TypeError, "floating"):
        nn.Parameter(np.arange(3))


class Nest(nn.Module):
    """A module with containers of all kinds, one of them in itself."""

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


# --- assignment ---


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
    for other in (None, nn.Tanh(), nn.Parameter([1.0])):
        net.scale = other
    del net.scale
    assert "scale" not in net.state_dict()
    x = mg.tensor([4.0])
    net.kept = x
    assert type(net.kept) is nn.Buffer
    x += 1
    assert net.state_dict()["kept"] == 5
    for other in (nn.Buffer([6.0]), None):
        net.kept = other
    assert "kept" not in net.state_dict()


def test_modes_reach_everything_below_and_are_no_state(net):
    before = content(net)
    assert net.eval() is net
    assert [m.training for m in net.modules()] == [False] * len(MODULES)
    net.blocks[0].train()
    assert [n for n, m in net.named_modules() if m.training] == MODULES[1:4]
    assert net.train() is net
    assert all(m.training for m in net.modules())
    assert content(net) == before


# --- states ---


def test_states_are_named_copies(net):
    before, state, other = content(net), net.state_dict(), shifted(net)
    assert list(state) == PARAMETERS + BUFFERS
    for name, t in [*net.named_parameters(), *net.named_buffers()]:
        np.testing.assert_array_equal(state[name], t.numpy(), strict=True)
        state[name] += 1
    assert content(net) == before
    net.load_state_dict(other)
    before = content(net)
    for a in other.values():
        a += 1
    assert content(net) == before


@pytest.mark.parametrize("wrap", [np.copy, mg.tensor])
def test_round_trip(net, x, wrap):
    net(x)
    other = Net(np.random.default_rng(1))
    before = [id(t) for t in other.parameters() + other.buffers()]
    other.load_state_dict({name: wrap(a) for name, a in net.state_dict().items()})
    assert content(other) == content(net)
    assert [id(t) for t in other.parameters() + other.buffers()] == before
    equal(other(x), net(x))
    assert other.tied is other.scale


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"scale": None}, KeyError, "Net: missing ['scale'], unexpected nothing"),
        ({"extra": np.ones(1)}, KeyError, "missing nothing, unexpected ['extra']"),
        (
            {"pair.0": None, "pair.2": np.ones(1)},
            KeyError,
            "missing ['pair.0'], unexpected ['pair.2']",
        ),
        (
            {"nested.0.0.bias": np.ones(2, np.float32)},
            ValueError,
            "nested.0.0.bias of shape (1,) and dtype float32, got (2,) and float32",
        ),
        ({"pair.1": np.ones(1)}, ValueError, "pair.1 of shape (1,) and dtype float32, got (1,) an"),
        ({"pair.1": np.ones((1, 1), np.float32)}, ValueError, "got (1, 1) and float32"),
        ({"blocks.0.bn.num_batches": np.float32(1)}, ValueError, "dtype int64, got () and float32"),
    ],
)
def test_a_misfit_loads_nothing(net, change, error, words):
    before = content(net)
    state = {k: v for k, v in {**shifted(net), **change}.items() if v is not None}
    with pytest.raises(error) as caught:
        net.load_state_dict(state)
    assert words in str(caught.value.args[0])
    if error is ValueError:
        with refuses(error, words):
            net.load_state_dict(state, strict=False)
    assert content(net) == before


def test_not_strict_loads_what_is_in_common(net):
    state = shifted(net)
    common = {name: state[name] for name in ("scale", "pair.1")}
    expected = {**net.state_dict(), **common}
    found = net.load_state_dict({"extra": 1, **common}, strict=False)
    for name, a in net.state_dict().items():
        np.testing.assert_array_equal(a, expected[name])
    assert found.missing_keys == [name for name in expected if name not in common]
    assert found.unexpected_keys == ["extra"]
    assert net.load_state_dict(state) == ([], [])


# --- moving and copying ---


def test_there_and_back(net, x, backend):
    other = "numpy" if backend != "numpy" else "strict"
    net(x)
    before, y = content(net), net.eval()(x).numpy()
    tensors = net.parameters() + net.buffers()
    net(x).sum().backward()
    net.to(backend)
    assert net.scale.grad is not None  # nothing moved
    with refuses(ValueError, "unknown backend 'nowhere'"):
        net.to("nowhere")
    assert net.to(other) is net
    assert {t.backend for t in tensors} == {other}
    assert content(net) == before
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    moved = net(x.to(other))
    assert moved.backend == other
    np.testing.assert_allclose(moved.numpy(), y, rtol=1e-5, atol=1e-6)
    net.to(backend)
    assert {t.backend for t in tensors} == {backend} and content(net) == before
    equal(net(x), y)


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
        equal(p.grad, gradient)


REPR = """\
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


def test_repr(net):
    assert repr(nn.Sequential(net, nn.Dropout(0.1), nn.Flatten())) == REPR


# --- Sequential ---


def test_sequential(rng, x):
    """Is a sequence; one layer twice is called twice and counted once."""
    layers = [nn.Linear(2, 2, rng=rng), nn.Tanh()]
    layers.append(layers[0])
    net = nn.Sequential(*layers)
    equal(net(x), layers[0](layers[1](layers[0](x))))
    assert len(net) == 3 and list(net) == layers and len(net.parameters()) == 2
    assert net[0] is layers[0] and net[-2] is layers[1]
    with pytest.raises(IndexError):
        net[3]
    assert nn.Sequential()(x) is x and len(nn.Sequential()) == 0


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
    with refuses(TypeError, "'epsilom'"):
        make(epsilom=1e-5)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with refuses(NotImplementedError, "Empty defines no forward"):
        Empty()(1)


def test_hooks_of_torch(torch):
    """What they are given, in which order they run, what they replace, and that removed ones are gone."""

    def run(layer, x):
        seen = []

        def note(name, answer=None):
            def hook(module, *given):
                assert module is layer
                seen.append((name, len(given), [type(g) is tuple for g in given]))
                return answer and answer(*given)

            return hook

        before = layer.register_forward_pre_hook(note("a", lambda args: args[0] * 2))
        layer.register_forward_pre_hook(note("b", lambda args: (args[0] + 1,)))
        after = layer.register_forward_hook(note("c", lambda args, y: y * args[0]))
        layer.register_forward_hook(note("d"))
        results = [layer(x)]
        before.remove(), after.remove(), after.remove()
        return seen, [
            y.tolist() if torch.is_tensor(y) else y.numpy().tolist() for y in [*results, layer(x)]
        ]

    assert run(nn.ReLU(), mg.ones(2)) == run(torch.nn.ReLU(), torch.ones(2))


def test_hooks_are_functions():
    with refuses(TypeError, "ReLU: expected a function as hook, got 3"):
        nn.ReLU().register_forward_hook(3)
    hooked = nn.Sequential(nn.Linear(2, 2))
    before = repr(hooked), [*hooked.state_dict()]
    hooked.register_forward_hook(print)
    assert before == (repr(hooked), [*hooked.state_dict()])
    copy.deepcopy(hooked)


@pytest.mark.parametrize("method", ["cuda", "cpu"])
def test_names_of_backends(monkeypatch, method):
    """``to``, under PyTorch's names."""
    for kind in (nn.Module, mg.Tensor):
        monkeypatch.setattr(kind, "to", lambda self, backend: (self, backend))
    for thing in (nn.ReLU(), mg.ones(1)):
        assert getattr(thing, method)() == (thing, {"cuda": "cupy", "cpu": "numpy"}[method])
