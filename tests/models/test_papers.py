"""What each paper says of its network: parameters, sizes, equations, and PyTorch's numbers for the same weights."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from helpers import close, refuses

import minigrad as mg
from minigrad import nn
from minigrad.interop import from_torch, to_torch
from models import resnet
from models.attention import EncoderLayer, positions, transformer_encoder
from models.bn_lstm import BNLSTM, bn_lstm, lstm
from models.conv_lstm import Cell, conv_lstm
from models.highway import Highway, highway
from models.inception_bn import TABLE, ConvBN, Inception, inception_bn, inception_bn_small
from models.lenet_bn import LeNet, lenet_bn
from models.maxout_network import Maxout, MaxoutConv2d, maxout_mlp, maxout_network
from models.mlp import MLP
from models.network_in_network import network_in_network
from models.resnet import Block, Bottleneck, ResNet
from models.tdnn import tdnn, waibel_tdnn


def values(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return mg.tensor(rng.standard_normal(shape).astype(np.float32))


def count(model):
    return sum(p.size for p in model.parameters())


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.fixture
def undrawn(monkeypatch):
    """Initial weights are zeros: large networks are built for their shapes alone."""
    for name in ("normal", "uniform"):
        monkeypatch.setattr(nn.init, name, lambda shape, *_, **__: np.zeros(shape, np.float32))


#: (model, published number of parameters, digits to which it is rounded)
PARAMETERS = {
    # Table 6 of the paper
    **{
        f"resnet{depth}": (getattr(resnet, f"resnet{depth}"), millions * 1e6, digits)
        for depth, millions, digits in [
            (20, 0.27, -4),
            (32, 0.46, -4),
            (44, 0.66, -4),
            (56, 0.85, -4),
            (110, 1.7, -5),
        ]
    },
    # torchvision.models.resnet18() and the others
    "resnet18": (resnet.resnet18, 11_689_512, 0),
    "resnet34": (resnet.resnet34, 21_797_672, 0),
    "resnet50": (resnet.resnet50, 25_557_032, 0),
    "resnet101": (resnet.resnet101, 44_549_160, 0),
    "resnet152": (resnet.resnet152, 60_192_808, 0),
    # Table 1 of the paper
    "conv_lstm 256": (lambda: conv_lstm(hidden=(256,)), 13_524_496, 0),
    "conv_lstm 128-128": (lambda: conv_lstm(hidden=(128, 128)), 10_042_896, 0),
    "conv_lstm 128-64-64": (conv_lstm, 7_585_296, 0),
    "inception": (inception_bn, 11_194_984, 0),
    # the network that the authors published for CIFAR-10
    "network_in_network": (network_in_network, 966_986, 0),
    # 48, 48 and 24 channels with the authors' kernels; 240 units with 5 pieces, twice
    "maxout": (
        maxout_network,
        96 * (8 * 8 + 1) + 96 * (48 * 8 * 8 + 1 + 48 * 5 * 5 + 1) + 10 * (24 * 4 + 1),
        0,
    ),
    "maxout_mlp": (maxout_mlp, 1200 * (784 + 1 + 240 + 1) + 10 * (240 + 1), 0),
    # section 3: four maps of 512 features, 2,048 units between two more, two norms
    "a layer of the base transformer": (
        lambda: EncoderLayer(512, 8, 2048, 0.1),
        4 * 512 * 513 + 2048 * 513 + 512 * 2049 + 4 * 512,
        0,
    ),
    # about 5,000 in each layer of 50 units (section 3.1)
    "highway 20": (lambda: highway(20), 785 * 50 + 19 * 5100 + 51 * 10, 0),
    "bn_lstm": (lambda: BNLSTM(3, 5, 4), 4 * 5 * (3 + 5 + 1) + 2 * 4 * 5 + 2 * 5, 0),
}


@pytest.mark.parametrize(("make", "expected", "digits"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters(undrawn, make, expected, digits):
    assert round(count(make()), digits) == expected


#: (model by whether it has batch norm, number of biases that it replaces)
PAIRS = {
    "mlp": (lambda b, rng: MLP(batch_norm=b, rng=rng), 3),
    "lenet": (lambda b, rng: LeNet(batch_norm=b, rng=rng), 3),
    "network_in_network": (lambda b, rng: network_in_network(width=6, batch_norm=b, rng=rng), 8),
    "maxout": (lambda b, rng: maxout_network(width=4, batch_norm=b, rng=rng), 3),
    "highway": (lambda b, rng: highway(5, batch_norm=b, rng=rng), 4),
    "lstm": (lambda b, rng: (bn_lstm if b else lstm)(features=3, hidden=5, rng=rng), 0),
}


@pytest.mark.parametrize(("make", "biases"), PAIRS.values(), ids=PAIRS)
def test_batch_norm_replaces_biases_and_keeps_weights(make, biases):
    found = {}
    for batch_norm in (True, False):
        model = make(batch_norm, np.random.default_rng(0))
        assert not (batch_norm and any(isinstance(m, nn.Dropout) for m in model.modules()))
        found[batch_norm] = dict(model.named_parameters())
    with_bn, without = (
        sum(name.endswith("bias") for name in found[batch_norm]) for batch_norm in (True, False)
    )
    assert without - with_bn == biases
    weights = ([p for p in named.values() if p.ndim > 1] for named in found.values())
    for a, b in zip(*weights, strict=True):
        close(a, b, 0)


# --- LeNet ---


@pytest.mark.parametrize("size", [0, 6, 30])
def test_lenet_sizes(size):
    with refuses(ValueError, f"LeNet: expected size to be a multiple of 4, got {size}"):
        lenet_bn(size=size)


# --- residual networks ---


@pytest.mark.parametrize("zero_gamma", [True, False])
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("block", [Block, Bottleneck])
def test_zero_gamma_makes_a_block_its_shortcut(block, small, zero_gamma):
    """Exactly: where the shape stays, that is the identity."""
    model = ResNet(block, (2, 2), width=4, small=small, zero_gamma=zero_gamma)
    blocks = [b for b in model.modules() if isinstance(b, Block)]
    channels = [4, *(4 * block.expansion * stage for stage in (1, 1, 2))]
    for b, inputs in zip(blocks, channels, strict=True):
        x = mg.relu(values(2, inputs, 8, 8))
        shortcut = x if b.downsample is None else mg.relu(b.downsample(x))
        assert np.array_equal(b(x).numpy(), shortcut.numpy()) == zero_gamma
    assert sum(b.downsample is None for b in blocks) == (3 if block is Block else 2)


def test_zero_gamma_still_learns():
    """At first only the last gammas do, and the shortcut; a step later all."""
    model = resnet.cifar(1, width=4, zero_gamma=True)
    optimizer, branch = mg.optim.SGD(model.parameters(), lr=0.1), model.layer1[0]
    for learned in (False, True):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(values(4, 3, 8, 8)), mg.tensor(np.arange(4)))
        loss.backward()
        assert branch.bn2.gamma.grad.numpy().any()
        assert branch.conv1.weight.grad.numpy().any() == learned
        optimizer.step()


# --- the same weights in PyTorch, under its names ---


class Twin:
    """Networks in eval, in PyTorch's functions, for a state with PyTorch's names."""

    def __init__(self, torch, state):
        self.f = torch.nn.functional
        self.s = {name: torch.from_numpy(a) for name, a in state.items()}

    def conv(self, x, name, stride=1):
        weight = self.s[f"{name}.weight"]
        return self.f.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(self, x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return self.f.batch_norm(x, *(self.s[f"{name}.{n}"] for n in names))

    def linear(self, x, name):
        return self.f.linear(x, self.s[f"{name}.weight"], self.s.get(f"{name}.bias"))

    def lenet(self, x, activation):
        for i in "12":
            x = activation(self.norm(self.conv(x, f"conv{i}"), f"bn{i}"))
            x = self.f.max_pool2d(x, 2)
        return self.linear(activation(self.norm(self.linear(x.flatten(1), "fc1"), "bn3")), "fc2")

    def block(self, x, name, stride):
        depth, y = 3 if f"{name}.conv3.weight" in self.s else 2, x
        for i in range(1, depth + 1):
            step = stride if i == depth - 1 else 1
            y = self.norm(self.conv(y, f"{name}.conv{i}", step), f"{name}.bn{i}")
            y = self.f.relu(y) if i < depth else y
        if f"{name}.downsample.0.weight" in self.s:
            projected = self.conv(x, f"{name}.downsample.0", stride)
            x = self.norm(projected, f"{name}.downsample.1")
        elif new := y.shape[1] - x.shape[1]:
            x = self.f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, new // 2, new // 2))
        return self.f.relu(x + y)

    def resnet(self, x, depths, small):
        x = self.f.relu(self.norm(self.conv(x, "conv1", 1 if small else 2), "bn1"))
        x = x if small else self.f.max_pool2d(x, 3, 2, 1)
        for i, depth in enumerate(depths):
            for j in range(depth):
                x = self.block(x, f"layer{i + 1}.{j}", 2 if i and not j else 1)
        return self.linear(x.mean((2, 3)), "fc")


TWINS = {
    **{
        f"lenet, {name}": (
            lambda name=name: lenet_bn(activation=getattr(mg, name)),
            (1, 28, 28),
            lambda twin, x, torch, name=name: twin.lenet(x, getattr(torch, name)),
        )
        for name in ("relu", "sigmoid")
    },
    "resnet20": (resnet.resnet20, (3, 32, 32), lambda t, x, _: t.resnet(x, (3, 3, 3), True)),
    **{
        f"resnet, {block.__name__}": (
            lambda block=block: ResNet(block, (1, 2, 1, 1), classes=5, width=4),
            (3, 32, 32),
            lambda twin, x, _: twin.resnet(x, (1, 2, 1, 1), False),
        )
        for block in (Block, Bottleneck)
    },
}


@pytest.mark.parametrize(("make", "shape", "twin"), TWINS.values(), ids=TWINS)
def test_twin_in_torch(torch, rng, make, shape, twin):
    model, x = make(), values(8, *shape)
    with mg.no_grad():
        for p in model.parameters():
            p += mg.tensor(0.1 * rng.standard_normal(p.shape), dtype="float32")
        for _ in range(3):
            model(x * 2 + 1)
        y = model.eval()(x).numpy()
        assert abs(y - y[0]).max() > 0.1
        state = to_torch(model)
        close(twin(Twin(torch, state), torch.from_numpy(x.numpy()), torch).numpy(), y, 1e-4)
        again = make()
        from_torch(again, state)
        close(again.eval()(x), y, 0)


def test_an_encoder_layer_is_that_of_torch(torch, rng):
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    ours = EncoderLayer(8, 2, 16, 0.1).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(p.shape)))
        state = theirs.state_dict()
        for kind in ("weight", "bias"):
            maps = state.pop(f"self_attn.in_proj_{kind}").reshape(3, 8, -1)
            for name, part in zip(("query", "key", "value"), maps, strict=True):
                state[f"attention.{name}.{kind}"] = part if kind == "weight" else part[:, 0]
            state[f"attention.output.{kind}"] = state.pop(f"self_attn.out_proj.{kind}")
        from_torch(ours, state)
        x = values(3, 5, 8)
        close(ours(x), theirs(torch.from_numpy(x.numpy())).numpy(), 1e-5)


# --- transformer ---


def test_positions():
    """Section 3.5, number by number."""
    table = positions(7, 6)
    for pos, i in product(range(7), range(3)):
        angle = pos / 10_000 ** (2 * i / 6)
        close(table[pos, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)])
    assert table.shape == (7, 6) and positions(4, 5).shape == (4, 5)


def test_transformer_around_its_layers():
    """An embedding with positions added before them, the mean over positions after them; so order matters."""
    model, x = transformer_encoder(3, 4, width=8, layers=0).eval(), values(2, 5, 4)
    embedded = model.embedding(x).numpy() + positions(5, 8)
    close(model(x), model.fc(mg.tensor(embedded.mean(1), dtype="float32")), 1e-5)
    model = transformer_encoder(3, 4, width=8, heads=2).eval()
    turned = mg.tensor(np.ascontiguousarray(x.numpy()[:, ::-1]))
    assert abs(model(x).numpy() - model(turned).numpy()).max() > 1e-3
    for time in (1, 9):
        assert model(values(2, time, 4)).shape == (2, 3)


# --- recurrent batch norm ---


def parameters(layer):
    return {name.replace("steps.0.", ""): p.numpy() for name, p in layer.named_parameters()}


def test_bn_lstm_equations(rng):
    """6 to 8 of the paper, in NumPy."""
    layer, x = BNLSTM(3, 5, max_steps=4, noise=0, rng=rng), values(7, 4, 3)
    for p in layer.parameters():
        p.data = mg.tensor(rng.standard_normal(p.shape).astype(np.float32)).data
    p = parameters(layer)

    def bn(a):
        return (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-3)

    h = c = np.zeros((7, 5))
    hidden, (last_h, last_c) = layer(x)
    for t in range(4):
        from_h = p["bn_h.gamma"] * bn(h @ p["weight_hh"].T)
        from_x = p["bn_x.gamma"] * bn(x.numpy()[:, t] @ p["weight_ih"].T)
        i, f, g, o = np.split(from_h + from_x + p["bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(p["bn_c.gamma"] * bn(c) + p["bn_c.beta"])
        close(hidden[:, t], h, 1e-4)
    close(last_h, h, 1e-4)
    close(last_c, c, 1e-4)


def test_bn_lstm_starts_as_in_the_paper():
    """Gammas at 0.1, one bias for the gates, whose batch norms have no beta; the forget gate's bias at 1."""
    p = parameters(BNLSTM(3, 5, max_steps=4))
    gammas = {"bn_x.gamma", "bn_h.gamma", "bn_c.gamma"}
    assert set(p) == {"weight_ih", "weight_hh", "bias", "bn_c.beta"} | gammas
    for name in gammas:
        close(p[name], np.full(p[name].shape, np.float32(0.1)), 0)
    close(p["bias"], np.repeat(np.float32([0, 1, 0, 0]), 5), 0)


def test_bn_lstm_has_statistics_for_each_step():
    layer, x = BNLSTM(3, 5, max_steps=4), values(7, 4, 3)
    layer(x[:, :3])
    for norm in (layer.bn_x, layer.bn_h, layer.bn_c):
        assert [int(step.num_batches.item()) for step in norm.steps] == [1, 1, 1, 0]
        means = [step.running_mean.numpy() for step in norm.steps]
        assert (means[1] != means[2]).any()
    expected = 0.1 * (x.numpy()[:, 1] @ layer.weight_ih.numpy().T).mean(0)
    close(layer.bn_x.steps[1].running_mean, expected, 1e-5)
    longer = layer.eval()(x)[0].numpy()
    assert np.isfinite(longer).all() and layer.bn_c.steps[3].num_batches.item() == 0
    close(layer(x[:, :3])[0], longer[:, :3], 1e-6)


def test_bn_lstm_has_noise_before_the_first_step_in_training(rng):
    """The first hidden state has a variance to divide by, so that sequences that begin alike train."""
    layer, x = BNLSTM(3, 5, max_steps=4, rng=np.random.default_rng(0)), values(7, 4, 3)
    h, c = layer.initial(mg.zeros((2000, 1, 3)))
    assert abs(h.numpy().std() - 0.1) < 0.005 and not c.numpy().any()
    assert (layer.initial(x)[0].numpy() != layer.initial(x)[0].numpy()).all()
    assert not layer.eval().initial(x)[0].numpy().any()
    assert not BNLSTM(3, 5, 4, noise=0).initial(x)[0].numpy().any()
    model, x = bn_lstm(classes=2, features=3, hidden=5, max_steps=20, rng=rng), values(8, 20, 3)
    x[:, :15] = 0
    mg.softmax_cross_entropy(model(x), mg.tensor(np.arange(8) % 2)).backward()
    assert max(abs(p.grad.numpy()).max() for p in model.parameters()) < 10


# --- ConvLSTM ---


def test_conv_lstm_without_peepholes_is_an_lstm_at_each_place(rng):
    """By a kernel of one place; the rows of all gates are in the same order."""
    cell, layer = Cell(2, 3, 1, rng), nn.LSTM(2, 3)
    weight = cell.conv.weight.reshape(12, 5)
    layer.weight_ih.data, layer.weight_hh.data = weight[:, :2].data, weight[:, 2:].data
    for p in (cell.conv.bias, layer.bias):
        p.data = mg.tensor(np.linspace(-1, 1, 12, dtype=np.float32)).data
    x, h, c = values(4, 2, 5, 6), values(4, 3, 5, 6), values(4, 3, 5, 6, seed=1)
    seen, *state = (t.transpose(0, 2, 3, 1).reshape(120, -1) for t in (x, h, c))
    _, expected = layer(seen.reshape(120, 1, 2), tuple(state))
    for a, b in zip(cell(x, h, c), expected, strict=True):
        close(a.transpose(0, 2, 3, 1).reshape(120, 3), b, 1e-5)


def test_conv_lstm_gates_see_the_cell(rng):
    """Those of input and forgetting the last one, that of the output the new one (equation 3)."""
    cell, h, c = Cell(0, 2, 3, rng), values(3, 2, 4, 4), values(3, 2, 4, 4, seed=1)
    w, b = np.arange(1, 7).reshape(3, 2, 1, 1), np.linspace(-1, 1, 8).reshape(4, 2, 1, 1)
    cell.conv.weight.data = cell.conv.weight.filled(0).data
    cell.peepholes.data = mg.tensor(w.astype(np.float32)).data
    cell.conv.bias.data = mg.tensor(b.ravel().astype(np.float32)).data
    new_h, new_c = (t.numpy() for t in cell(None, h, c))
    i, f = sigmoid(b[0] + w[0] * c.numpy()), sigmoid(b[1] + w[1] * c.numpy())
    close(new_c, f * c.numpy() + i * np.tanh(b[2]), 1e-5)
    close(new_h, sigmoid(b[3] + w[2] * new_c) * np.tanh(new_c), 1e-5)


def test_conv_lstm_films(rng):
    """Longer forecasts begin with the shorter ones, each frame is another, and every given frame counts."""
    model, x = conv_lstm(channels=2, hidden=(4, 3), kernel_size=3, rng=rng), values(2, 3, 2, 5, 6)
    short, long = model(x, steps=2), model(x, steps=4).numpy()
    assert long.shape == (2, 4, 2, 5, 6) and (long > 0).all() and (long < 1).all()
    close(short, long[:, :2], 1e-6)
    assert all(abs(long[:, i] - long[:, i + 1]).max() > 1e-3 for i in range(3))
    for t in (0, 2):
        other = x.numpy()
        other[:, t] += 1
        assert abs(model(mg.tensor(other)).numpy() - long[:, :1]).max() > 1e-4
    # All states begin at zero: with zeros and no biases nothing ever moves.
    close(model(x * 0, steps=2), np.full((2, 2, 2, 5, 6), 0.5), 1e-6)


# --- highway networks ---


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("gate_bias", [-50, 0, 50])
def test_highway_gates(gate_bias, batch_norm):
    """Closed, in between, and open."""
    layer, x = Highway(6, gate_bias, batch_norm), values(4, 6)
    t, h = mg.sigmoid(layer.gate(x)).numpy(), layer.transform(x)
    h = mg.relu(layer.bn(h) if batch_norm else h).numpy()
    close(layer(x), {-50: x.numpy(), 0: t * h + (1 - t) * x.numpy(), 50: h}[gate_bias], 1e-6)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients_reach_the_first_of_fifty_highway_layers(rng, batch_norm):
    model = highway(50, classes=3, inputs=6, width=10, batch_norm=batch_norm, rng=rng)
    assert sum(isinstance(m, Highway) for m in model) == 49
    mg.softmax_cross_entropy(model(values(16, 6)), mg.tensor(np.arange(16) % 3)).backward()
    first, last = (abs(model[i].weight.grad.numpy()).mean() for i in (0, len(model) - 1))
    assert 0.02 < first / last < 50


# --- Inception ---

#: the column "output size" of the table: channels, and height and width for images of 224
OUTPUTS = {"3a": (256, 28), "3b": (320, 28), "3c": (576, 14)}
OUTPUTS |= dict.fromkeys(("4a", "4b", "4c", "4d"), (576, 14))
OUTPUTS |= dict.fromkeys(("4e", "5a", "5b"), (1024, 7))


@pytest.mark.parametrize("name", TABLE)
def test_outputs_of_an_inception_module(name, undrawn):
    """The paper's table gives the input size of a module that halves the image; here it is the output size."""
    names = list(OUTPUTS)
    inputs, size = OUTPUTS[names[names.index(name) - 1]] if name != "3a" else (192, 28)
    module = Inception(inputs, TABLE[name])
    with mg.no_grad():
        y = module(mg.zeros((1, inputs, size, size)))
    assert y.shape == (1, *OUTPUTS[name], OUTPUTS[name][1]) and module.outputs == y.shape[1]


def test_inception_branches_stand_side_by_side(rng):
    """In the order of the table's columns; where a module halves the image, its input passes through the pool."""
    x, module = values(2, 4, 6, 6), Inception(4, (0, 2, 3, 2, 5, nn.MaxPool2d, 0), rng)
    y = module(x).numpy()
    assert y.shape == (2, 12, 3, 3)
    np.testing.assert_array_equal(y[:, 8:], mg.max_pool2d(x, 3, 2, 1).numpy())
    np.testing.assert_array_equal(y[:, :3], module.branches[0](x).numpy())
    module = Inception(4, (1, 2, 3, 2, 5, nn.AvgPool2d, 2), rng)
    assert [type(b[0]) for b in module.branches] == [ConvBN, ConvBN, ConvBN, nn.AvgPool2d]
    assert [len(b) for b in module.branches] == [1, 2, 3, 2]
    assert module(x).shape == (2, 11, 6, 6)


def test_the_whole_inception_network(undrawn):
    """The stem takes an eighth of the image; no convolution has a bias; widths follow the scale."""
    model = inception_bn()
    assert model[-1].weight.shape == (1000, 1024)
    with mg.no_grad():
        stem = nn.Sequential(*model.layers[:5])
        assert stem(mg.zeros((1, 3, 64, 64))).shape == (1, 192, 8, 8)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm)]
    assert len(convolutions) == len(norms) == 3 + 8 * 7 + 2 * 5
    assert all(c.bias is None for c in convolutions)
    rows = [m for m in inception_bn_small(scale=0.25).modules() if isinstance(m, Inception)]
    assert [m.outputs for m in rows] == [64, 80, 144, 144, 256, 256]


# --- maxout, and network in network ---


@pytest.mark.parametrize("batch_norm", [False, True])
def test_maxout_takes_the_largest_piece_then_the_largest_place(rng, batch_norm):
    layer, x = MaxoutConv2d(2, 3, 4, 3, 1, 2, batch_norm, rng), values(5, 2, 6, 6)
    maps = layer.conv(x)
    maps = (layer.bn(maps) if batch_norm else maps).numpy()
    pieces = np.stack([maps[:, 4 * c : 4 * c + 4].max(axis=1) for c in range(3)], axis=1)
    close(layer(x), pieces.reshape(5, 3, 3, 2, 3, 2).max(axis=(3, 5)), 1e-6)


def test_a_maxout_unit_is_the_largest_of_its_maps(rng):
    layer, x = Maxout(3, 2, 4, dtype="float64"), mg.tensor(rng.standard_normal((2, 5, 3)))
    close(layer(x), layer.linear(x).numpy().reshape(2, 5, 2, 4).max(axis=-1), 0)


@pytest.mark.parametrize("factory", [maxout_network, maxout_mlp])
def test_maxout_has_dropout_before_every_layer(factory):
    """An input is dropped less often than a hidden unit."""
    model = factory(width=4)
    p = [layer.p for layer in model if isinstance(layer, nn.Dropout)]
    layers = [m for m in model if isinstance(m, (Maxout, MaxoutConv2d, nn.Linear))]
    assert p == [0.2, *[0.5] * (len(layers) - 1)]


@pytest.mark.parametrize("size", [8, 11, 32])
def test_network_in_network_averages_a_map_for_each_class(size):
    """A quarter as large as the image, which may be of any size."""
    model, x = network_in_network(classes=7, width=6), values(2, 3, size, size)
    maps = nn.Sequential(*model.eval().layers[:-1])(x)
    assert maps.shape == (2, 7, -(-size // 4), -(-size // 4))
    close(model(x), maps.numpy().mean((2, 3)), 1e-6)
    assert sum(isinstance(layer, nn.Dropout) for layer in model) == 2
    layers = list(network_in_network(width=6, batch_norm=True))
    for layer, following in pairwise(layers):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(following, nn.BatchNorm) == (layer.bias is None)


# --- time-delay networks ---


@pytest.mark.parametrize(
    ("make", "t", "expected"),
    [
        # sums of one offset of each layer: from 13 frames before to 9 after
        *[
            (lambda: tdnn(features=4, width=32), t, {13 + t + sum(o) for o in offsets})
            for t in (0, 3)
            for offsets in [list(product(range(-2, 3), (-1, 2), (-3, 3), (-7, 2)))]
        ],
        (lambda: waibel_tdnn(features=4), 2, set(range(2, 2 + 3 + 5 - 1))),
    ],
)
def test_frames_that_a_tdnn_sees(make, t, expected):
    """In eval, since batch norm sees all in training."""
    model, x = make(), mg.tensor(values(8, 4, 30).numpy(), requires_grad=True)
    model(x)
    gx = mg.grad(model.eval().frames(x)[:, :, t].sum(), x)
    assert set(np.flatnonzero(gx.numpy().any((0, 1)))) == expected
    close(model(x), model.frames(x).numpy().mean(2), 1e-6)


def test_connections_of_the_tdnn_of_1989():
    """6,233 with those of the sum, whose weights are fixed: 9 for each class and a bias."""
    model, x = waibel_tdnn(), mg.zeros((1, 16, 15))
    assert model.layers[0](x).shape == (1, 8, 13) and model.frames(x).shape == (1, 3, 9)
    assert 13 * count(model.layers[0]) + 9 * count(model.output) + 3 * (9 + 1) == 6233
    assert model(x[:, :, :7]).shape == (1, 3)
