"""States to and from PyTorch's names: the same network there and here, and nothing loaded by halves."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from helpers import close, content, refuses

import minigrad as mg
from minigrad import nn
from minigrad.interop import from_torch, to_torch

pytestmark = pytest.mark.usefixtures("backend")


def twin():
    """minigrad's side of ``trained``."""
    like = nn.BatchNorm.like
    hidden = [nn.Linear(6, 5), like("torch", 5), nn.Sigmoid()]
    return nn.Sequential(*hidden, nn.Linear(5, 4, bias=False), like("torch", 4), nn.Linear(4, 3))


def varied(module):
    """The module with other values in all of its state."""
    rng = np.random.default_rng(7)
    for t in module.parameters() + module.buffers():
        t.data = mg.tensor(rng.uniform(2, 9, t.shape).astype(t.dtype)).data
    return module


NAMES = ["0.weight", "0.bias", *(f"1.{n}" for n in ("weight", "bias", "running_mean"))]
NAMES += ["1.running_var", "1.num_batches_tracked", "3.weight", "4.weight", "4.bias"]
NAMES += ["4.running_mean", "4.running_var", "4.num_batches_tracked", "5.weight", "5.bias"]


@pytest.fixture
def trained(torch):
    """After some steps, so that no parameter and no statistic is what it began with."""
    torch.manual_seed(0)
    t = torch.nn
    model = t.Sequential(
        *(t.Linear(6, 5), t.BatchNorm1d(5), t.Sigmoid()),
        *(t.Linear(5, 4, bias=False), t.BatchNorm1d(4), t.Linear(4, 3)),
    )
    with torch.no_grad():
        for p in model.parameters():
            p.uniform_(-2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (model(3 * torch.randn(20, 6) + 1) ** 2).mean().backward()
        optimizer.step()
    return model


@pytest.fixture
def x(rng):
    return rng.standard_normal((7, 6)).astype(np.float32)


def test_names_and_layout(trained):
    ours, theirs = to_torch(twin()), trained.state_dict()
    assert list(ours) == list(theirs) == NAMES
    for name, array in ours.items():
        assert array.shape == tuple(theirs[name].shape), name
        assert array.dtype == theirs[name].numpy().dtype, name


def evaluated(model, x):
    """The outputs of a torch module in eval mode."""
    torch = sys.modules["torch"]
    with torch.no_grad():
        return model.eval()(torch.from_numpy(x)).numpy()


def test_from_torch(torch, trained, x):
    model = twin()
    from_torch(model, trained.state_dict())
    expected = evaluated(trained, x)
    assert abs(expected - trained.train()(torch.from_numpy(x)).detach().numpy()).max() > 0.1
    close(model.eval()(mg.tensor(x)), expected, 1e-6)
    assert model[1].num_batches.item() == 5


def test_to_torch(torch, trained, x):
    model = varied(twin())
    trained.load_state_dict({n: torch.from_numpy(a) for n, a in to_torch(model).items()})
    close(model.eval()(mg.tensor(x)), evaluated(trained, x), 1e-6)


def test_through_files(torch, trained, x, tmp_path):
    theirs = pytest.importorskip("safetensors.torch")
    theirs.save_file(trained.state_dict(), tmp_path / "theirs.safetensors")
    model = twin()
    from_torch(model, mg.load(tmp_path / "theirs.safetensors"))
    model[1].gamma.data = model[1].gamma.data * 2
    mg.save(tmp_path / "ours.safetensors", to_torch(model))
    trained.load_state_dict(theirs.load_file(tmp_path / "ours.safetensors"))
    close(model.eval()(mg.tensor(x)), evaluated(trained, x), 1e-6)


def test_parameters_that_require_gradients(trained):
    model = twin()
    from_torch(model, dict(trained.named_parameters()), strict=False)
    close(model[0].weight, trained[0].weight.detach().numpy(), 0)


def test_bfloat16_is_refused(trained):
    model = twin()
    before = content(model)
    state = trained.state_dict() | {"5.bias": trained[5].bias.bfloat16()}
    with refuses(TypeError, "from_torch into Sequential: 5.bias: "):
        from_torch(model, state)
    assert content(model) == before


class Tied(nn.Module):
    """Modules and tensors wherever they are found, some of them twice."""

    def __init__(self):
        self.first = nn.BatchNorm.like("torch", 2)
        self.blocks = [nn.Sequential(nn.Linear(2, 2), self.first.twin())]
        self.again = self.blocks[0][0]
        self.scale = nn.Parameter([1.0])
        self.frozen = nn.FrozenBatchNorm(2, eps=1e-5)
        self.unaffine = nn.BatchNorm.like("torch", 2, center=False, scale=False)


BN = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
TIED = [f"first.{n}" for n in BN] + ["blocks.0.0.weight", "blocks.0.0.bias"]
TIED += [f"blocks.0.1.{n}" for n in BN] + ["again.weight", "again.bias", "scale"]
TIED += [f"frozen.{n}" for n in BN[:4]] + [f"unaffine.{n}" for n in BN[2:]]


def test_layers():
    assert list(to_torch(twin())) == NAMES
    assert list(to_torch(nn.BatchNorm(3))) == BN
    assert list(to_torch(nn.Linear(3, 2))) == ["weight", "bias"]


def test_attributes_lists_and_what_is_shared():
    model = varied(Tied())
    state = to_torch(model)
    assert sorted(state) == sorted(TIED)
    close(state["blocks.0.1.weight"], state["first.weight"], 0)
    close(state["again.bias"], state["blocks.0.0.bias"], 0)
    other = Tied()
    from_torch(other, state)
    assert content(other) == content(model)


def test_values_are_copies():
    layer = nn.Linear(3, 2)
    before = content(layer)
    for array in to_torch(layer).values():
        array += 1
    assert content(layer) == before


def test_in_place(backend):
    layer = nn.BatchNorm.like("torch", 3)
    gamma = layer.gamma
    state = to_torch(varied(nn.BatchNorm(3)))
    state["weight"] = mg.tensor(state["weight"])
    from_torch(layer, state)
    assert layer.gamma is gamma and gamma.requires_grad and gamma.backend == backend
    close(gamma, state["weight"], 0)
    close(layer.beta, state["bias"], 0)


def test_what_is_in_common():
    layer = varied(nn.BatchNorm.like("torch", 3))
    bias = layer.beta.numpy()
    state = {"weight": np.full(3, 5, np.float32), "other": np.zeros(1)}
    found = from_torch(layer, state, strict=False)
    assert found.missing_keys == BN[1:] and found.unexpected_keys == ["other"]
    close(layer.gamma, [5.0] * 3, 0)
    close(layer.beta, bias, 0)


DEFAULTS = "eps=1e-05, momentum=0.1 (its defaults: a state dict does not say; pass the module)"
LIKE = nn.BatchNorm.like
SETTINGS = {
    "batch_norm": (lambda: nn.BatchNorm(3), f"BatchNorm has eps=0.001, momentum=0.01, and PyTorch's {DEFAULTS}"),
    "eps": (lambda: LIKE("torch", 3, eps=1e-3), "has eps=0.001, and PyTorch's eps=1e-05 ("),
    "momentum": (lambda: LIKE("torch", 3, momentum=0.99), "has momentum=0.01, and PyTorch's momentum=0.1 ("),
    "average": (lambda: LIKE("torch", 3, momentum=None), "has momentum=None, and PyTorch's momentum=0.1 ("),
    "ddof": (lambda: LIKE("torch", 3, ddof_running=0), "has ddof_running=0, and PyTorch's ddof_running=1 ("),
    "nested": (
        lambda: nn.Sequential(LIKE("torch", 3), nn.BatchNorm(3)), "Sequential: in PyTorch's terms, BatchNorm '1' has"
    ),
    "frozen": (lambda: nn.FrozenBatchNorm(3), "FrozenBatchNorm has eps=0.001, and PyTorch's eps=1e-05 ("),
    "layer_norm": (lambda: nn.LayerNorm(3, eps=1e-3), "LayerNorm has eps=0.001, and"),
    "group_norm": (lambda: nn.GroupNorm(1, 3, eps=1e-3), "GroupNorm has eps=0.001, and"),
    "instance_norm": (lambda: nn.InstanceNorm(3, eps=1e-3), "InstanceNorm has eps=0.001, and"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), SETTINGS.values(), ids=SETTINGS.keys())
def test_what_a_state_dict_does_not_say(make, words):
    layer, state = make(), to_torch(varied(make()))
    with pytest.warns(UserWarning, match=re.escape(words)) as caught:
        from_torch(layer, state)
    assert [w.filename for w in caught] == [__file__]
    assert all((to_torch(layer)[name] == a).all() for name, a in state.items())


@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_a_module_is_compared_itself(torch, eps, momentum, rng):
    theirs = torch.nn.Sequential(torch.nn.BatchNorm1d(3, eps=eps, momentum=momentum))
    x = rng.standard_normal((5, 3)).astype(np.float32)
    theirs(torch.from_numpy(x))
    alike = LIKE("torch", 3, eps=eps, momentum=None if momentum is None else 1 - momentum)
    alike = nn.Sequential(alike)
    assert from_torch(alike, theirs) == ([], [])
    close(alike.eval()(mg.tensor(x)), theirs.eval()(torch.from_numpy(x)).detach().numpy(), 1e-6)
    words = "BatchNorm '0' has eps=0.5, momentum=0.75, and PyTorch's "
    words += f"eps={eps:g}, momentum={momentum}. They compute"
    with pytest.warns(UserWarning, match=re.escape(words)):
        from_torch(nn.Sequential(nn.BatchNorm(3, 1, 0.25, 0.5)), theirs)


def test_groups(torch):
    words = "GroupNorm has num_groups=2, and PyTorch's num_groups=4."
    with pytest.warns(UserWarning, match=words):
        from_torch(nn.GroupNorm(2, 4), torch.nn.GroupNorm(4, 4))


def test_layers_that_are_not_loaded():
    model = nn.Sequential(nn.BatchNorm(3), nn.Linear(3, 2))
    from_torch(model, {"1.bias": np.ones(2, np.float32)}, strict=False)


def test_errors_load_nothing():
    """The other errors are those of ``load_state_dict``, under PyTorch's names."""
    layer = nn.BatchNorm(3)
    before, state = content(layer), to_torch(varied(nn.BatchNorm(3)))
    wrong = state | {"running_var": np.ones(4, np.float32)}
    with refuses(ValueError, "expected running_var of shape (3,) and dtype float32, got (4,)"):
        from_torch(layer, wrong)
    state["gamma"] = state.pop("weight")
    with refuses(KeyError, "from_torch into BatchNorm: missing ['weight'], unexpected ['gamma']"):
        from_torch(layer, state)
    assert content(layer) == before
