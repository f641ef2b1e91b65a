"""Layers with PyTorch's names: the same arguments, state and numbers there and here."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, error_table, refuses

import minigrad as mg
from minigrad import nn
from minigrad.interop import from_torch, to_torch

pytestmark = pytest.mark.usefixtures("backend")


class Both:
    """One expression for torch.nn and nn: in float64 where there are parameters."""

    def __init__(self, module, float64):
        self.module, self.float64 = module, float64

    def __getattr__(self, name):
        made = getattr(self.module, name)
        return lambda *args, **settings: made(
            *args, **{k: self.float64 if k == "dtype" else v for k, v in settings.items()}
        )


F64 = {"dtype": "float64"}
IMAGES, INDICES = (2, 4, 7, 6), [[0, 3, 3], [2, 0, 1]]
#: an expression, and the shape of its input, or the input
LAYERS = {
    "LeakyReLU": (lambda n: n.LeakyReLU(), (3, 4)),
    "LeakyReLU, steeper": (lambda n: n.LeakyReLU(0.2), (3, 4)),
    "GELU": (lambda n: n.GELU(), (3, 4)),
    "GELU by tanh": (lambda n: n.GELU(approximate="tanh"), (3, 4)),
    "SiLU": (lambda n: n.SiLU(), (3, 4)),
    "Softplus": (lambda n: n.Softplus(), (3, 4)),
    "Softplus, sharper": (lambda n: n.Softplus(2.5), (3, 4)),
    "Softmax": (lambda n: n.Softmax(1), (3, 4, 2)),
    "Identity": (lambda n: n.Identity(54, unused=True), (3, 4)),
    "Embedding": (lambda n: n.Embedding(4, 3, **F64), INDICES),
    "Embedding with padding": (lambda n: n.Embedding(4, 3, padding_idx=-1, **F64), INDICES),
    "BatchNorm1d": (lambda n: n.BatchNorm1d(4, **F64), (5, 4)),
    "BatchNorm1d of sequences": (lambda n: n.BatchNorm1d(4, 1e-2, 0.3, **F64), (5, 4, 3)),
    "BatchNorm2d": (lambda n: n.BatchNorm2d(4, momentum=None, **F64), IMAGES),
    "BatchNorm2d, plain": (lambda n: n.BatchNorm2d(4, affine=False, **F64), IMAGES),
    "BatchNorm2d without bias": (lambda n: n.BatchNorm2d(4, bias=False, **F64), IMAGES),
    "BatchNorm3d": (lambda n: n.BatchNorm3d(4, **F64), (2, 4, 2, 3, 2)),
    "BatchNorm1d by the batch": (
        lambda n: n.BatchNorm1d(4, track_running_stats=False, **F64),
        (5, 4),
    ),
    "LayerNorm without bias": (lambda n: n.LayerNorm((3, 4), bias=False, **F64), (2, 3, 4)),
    "GroupNorm without bias": (lambda n: n.GroupNorm(2, 4, bias=False, **F64), IMAGES),
    "MaxPool2d": (lambda n: n.MaxPool2d(3, 2, 1, 2, ceil_mode=True), IMAGES),
    "AvgPool2d": (lambda n: n.AvgPool2d(3, 2, 1, True, False), IMAGES),
    "ModuleList": (
        lambda n: n.Sequential(*n.ModuleList([n.Linear(4, 3, **F64), n.Linear(3, 2, **F64)])),
        (5, 4),
    ),
}


@pytest.mark.parametrize(("make", "x"), LAYERS.values(), ids=LAYERS)
def test_numbers_and_names(rng, torch, make, x):
    """In training, whose statistics count, then in eval; with gradients."""
    ours, theirs = make(Both(nn, np.float64)), make(Both(torch.nn, torch.float64))
    with torch.no_grad():
        for p in theirs.parameters():
            p.uniform_(0.5, 2)
    from_torch(ours, theirs)
    assert list(to_torch(ours)) == list(theirs.state_dict())
    for training in [True, False]:
        ours.train(training), theirs.train(training)
        if isinstance(x, tuple):
            a = mg.tensor(rng.standard_normal(x), requires_grad=True)
            b = torch.tensor(a.numpy(), requires_grad=True)
            leaves, others = [a, *ours.parameters()], [b, *theirs.parameters()]
        else:
            a, b = mg.tensor(x, dtype="int64"), torch.tensor(x)
            leaves, others = ours.parameters(), list(theirs.parameters())
        y, z = ours(a), theirs(b)
        close(y, z.detach().numpy(), 1e-10)
        gy = rng.standard_normal(y.shape)
        found = mg.grad(y, leaves, mg.tensor(gy))
        for g, e in zip(found, torch.autograd.grad(z, others, torch.tensor(gy)), strict=True):
            close(g, e.numpy(), 1e-10)
    state = to_torch(ours)
    for name, expected in theirs.state_dict().items():
        close(state[name], expected.numpy(), 1e-10)


def test_gru(rng, torch):
    ours, theirs = nn.GRU(3, 4, dtype=np.float64), torch.nn.GRU(3, 4, batch_first=True).double()
    from_torch(ours, theirs)
    assert to_torch(ours).keys() == theirs.state_dict().keys()
    x, h = rng.standard_normal((2, 7, 3)), rng.standard_normal((2, 4))
    hidden, last = ours(mg.tensor(x), mg.tensor(h))
    expected, end = theirs(torch.tensor(x), torch.tensor(h)[None])
    close(hidden, expected.detach().numpy(), 1e-10)
    close(last, end[0].detach().numpy(), 1e-10)
    gy = rng.standard_normal(hidden.shape)
    grads = mg.grad(hidden, ours.parameters(), mg.tensor(gy))
    found = dict(zip((n for n, _ in ours.named_parameters()), grads, strict=True))
    expected.backward(torch.tensor(gy))
    for name, g in found.items():
        close(g, getattr(theirs, f"{name}_l0").grad.numpy(), 1e-10)


def test_momentum_is_shown_in_both_meanings():
    layer = nn.BatchNorm2d(3)
    assert layer.momentum == 0.9 and isinstance(layer, nn.BatchNorm)
    assert repr(layer) == "BatchNorm2d(3, axis=1, momentum=0.9 (0.1 in PyTorch), eps=1e-05)"
    assert "momentum=0.1 (0.9 in PyTorch)" in repr(nn.BatchNorm1d(3, momentum=0.9))
    assert "momentum=None" in repr(nn.BatchNorm1d(3, momentum=None))


def test_a_batch_norm_without_running_statistics():
    """It has none that something could read, load or move, and gets none; ``twin`` and ``unfreeze`` work."""
    layer, x = nn.BatchNorm2d(3, affine=False, track_running_stats=False), mg.randn(2, 3, 4, 4)
    assert not layer.buffers() and layer.running_mean is None
    for same in (layer.twin(), layer.unfreeze(), layer.eval(), mg.jit(layer)):
        close(same(x), mg.batch_norm(x, None, None, eps=1e-5)[0], 1e-6)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    mg.nn.population_statistics(model, [mg.randn(4, 3)])
    assert [gap.name for gap in mg.study.gap(model, [mg.randn(4, 3)])] == ["0"]


class Net(nn.Module):
    """Modules in lists and dicts, which are registered under the names that PyTorch gives them."""

    def __init__(self, n):
        self.blocks = n.ModuleList([n.Linear(4, 4)])
        self.blocks.extend([n.Linear(4, 4)])
        self.blocks.append(n.ModuleDict({"a": n.Linear(4, 3)}))
        self.heads = n.ModuleDict([("left", n.Linear(3, 2))])
        self.heads.update({"right": n.Identity()})
        self.plain = [nn.Linear(2, 2)]

    def forward(self, x):
        for block in self.blocks[:2]:
            x = block(x)
        return self.heads["left"](self.blocks[-1]["a"](x))


def test_containers(torch):
    model = Net(nn)
    names = ["blocks.0", "blocks.1", "blocks.2.a", "heads.left", "plain.0"]
    assert list(model.state_dict()) == [f"{n}.{p}" for n in names for p in ("weight", "bias")]
    net = torch.nn.Module()
    net.blocks, net.heads = Net(torch.nn).blocks, Net(torch.nn).heads
    assert list(net.state_dict()) == list(model.state_dict())[:-2]
    x, jitted = mg.ones((2, 4)), mg.jit(model)
    close(jitted(x), model(x), 1e-6)
    model.blocks[0] = nn.Linear(4, 4)
    del model.heads["right"]
    close(jitted(x), model(x), 1e-6)
    blocks, heads = model.blocks, model.heads
    first = blocks[0]
    blocks.insert(0, nn.Identity())
    assert blocks.index(first) == 1 and first in blocks and blocks.pop(0) is not first
    assert list(heads) == ["left"] and [*heads.values()] == [heads["left"]]
    assert heads == heads != nn.ModuleDict(heads) and len({heads, blocks}) == 2
    assert repr(heads) == f"ModuleDict(\n  left={heads['left']!r}\n)"
    blocks[:1] = [nn.Identity(), nn.ReLU()]
    assert len(blocks) == 4 and type(blocks[1:]) is nn.ModuleList


def test_an_embedding_in_jit_learns():
    layer, words = nn.Embedding(5, 2, padding_idx=0), mg.tensor([[0, 1, 1]], dtype="int64")
    before = layer.weight.numpy().copy()
    assert not before[0].any() and abs(before).sum() > 0
    step = mg.jit(lambda i: layer(i).sum().backward())
    for _ in range(2):
        layer.zero_grad()
        step(words)
        close(layer.weight.grad, [[0, 0], [2, 2], [0, 0], [0, 0], [0, 0]])


INT = {"dtype": "int64"}


@error_table(
    {
        "dim": (TypeError, "dim is called axis in minigrad", lambda: nn.Softmax(dim=1)),
        "approximation": (ValueError, "'none' or 'tanh'", lambda: nn.GELU("erf")(mg.ones(1))),
        "beta": (ValueError, "softplus: expected beta > 0", lambda: nn.Softplus(0)(mg.ones(1))),
        "1d": (
            ValueError,
            "BatchNorm1d: expected x of shape (n, 3[, length]), got (2, 3, 4, 4)",
            lambda: nn.BatchNorm1d(3)(mg.ones((2, 3, 4, 4))),
        ),
        "2d": (
            ValueError,
            "BatchNorm2d '0': expected x of shape (n, 3, height, width), got (2, 3)",
            lambda: nn.Sequential(nn.BatchNorm2d(3))(mg.ones((2, 3))),
        ),
        "momentum": (
            ValueError,
            "BatchNorm2d: expected momentum in [0, 1] or None, got 2",
            lambda: nn.BatchNorm2d(3, momentum=2),
        ),
        "features": (ValueError, "3 features", lambda: nn.BatchNorm1d(3)(mg.ones((2, 4)))),
        "floats": (
            TypeError,
            "Embedding: expected indices of an integer dtype, got float32; cast them",
            lambda: nn.Embedding(3, 2)(mg.ones(2)),
        ),
        "padding_idx": (
            ValueError,
            "expected padding_idx as an index of 3 embeddings or None, got 3",
            lambda: nn.Embedding(3, 2, 3),
        ),
        "no list": (TypeError, "got ReLU()", lambda: nn.ModuleList(nn.ReLU())),
        "a function": (TypeError, "ModuleDict: ", lambda: nn.ModuleDict({"a": mg.relu})),
        "dots": (ValueError, "without dots", lambda: nn.ModuleDict({"a.b": nn.ReLU()})),
        "calls": (
            NotImplementedError,
            "ModuleList defines no forward",
            lambda: nn.ModuleList()(mg.ones(1)),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()


@pytest.mark.parametrize("index", [-1, 3])
def test_indices_beyond_the_table(index, backend):
    if backend != "numpy":
        pytest.skip("a GPU does not look at indices")
    layer, known = nn.Embedding(3, 2), mg.tensor([0], **INT)
    graph = mg.capture(layer, known)
    with refuses(IndexError, f"Embedding: expected indices 0 ... 2, got {index}"):
        layer(mg.tensor([index], **INT))
    for _ in range(3):
        with pytest.raises(IndexError, match="index 3 is out of bounds"):
            graph(mg.tensor([index], **INT))
        graph(known)
