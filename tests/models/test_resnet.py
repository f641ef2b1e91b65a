"""Residual networks: the published counts, the blocks, and PyTorch's twin."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import nn
from minigrad.interop import from_torch, to_torch
from models import resnet
from models.resnet import Block, Bottleneck, PadShortcut, ResNet

#: millions of parameters in Table 6 of the paper
CIFAR = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
#: parameters of torchvision.models.resnet18() and the others
IMAGENET = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


def count(model):
    return sum(p.size for p in model.parameters())


def images(n=2, channels=3, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return mg.tensor(rng.standard_normal((n, channels, size, size)).astype(np.float32))


@pytest.mark.parametrize("depth", CIFAR)
def test_parameters_of_the_networks_for_cifar(depth):
    model = getattr(resnet, f"resnet{depth}")()
    millions = CIFAR[depth]
    assert round(count(model) / 1e6, 1 if depth == 110 else 2) == millions
    weights = [name for name, p in model.named_parameters() if p.ndim > 1]
    assert len(weights) == depth, "layers with weights are what the paper counts"


@pytest.mark.parametrize("depth", IMAGENET)
def test_parameters_of_the_networks_for_imagenet(depth, monkeypatch):
    """Of their shapes: values are not drawn."""
    monkeypatch.setattr(nn.init, "normal", lambda shape, *_, **__: np.zeros(shape, np.float32))
    model = getattr(resnet, f"resnet{depth}")()
    assert count(model) == IMAGENET[depth]
    weights = [name for name, p in model.named_parameters() if p.ndim > 1]
    assert len([name for name in weights if "downsample" not in name]) == depth


def test_classes_and_channels():
    model = resnet.resnet20(7, 1, width=2)
    assert model(images(channels=1)).shape == (2, 7)
    model = resnet.resnet50(classes=7, channels=1, width=1)
    assert model(images(channels=1, size=32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (ResNet(Block, (1, 1, 1), width=2, small=True), [32, 32, 16, 8]),
        (ResNet(Bottleneck, (1, 1, 1, 1), width=2), [16, 8, 4, 2, 1]),
    ],
    ids=["cifar", "imagenet"],
)
def test_sizes_of_the_stages(model, sizes):
    """Tables 1 and 6, for images of 32 x 32; channels double where the image is halved."""
    x, channels = images(size=32), []
    found = [(x := model.conv1(x)).shape[2]]
    x = x if model.maxpool is None else model.maxpool(x)
    for i in range(1, model.stages + 1):
        x = getattr(model, f"layer{i}")(x)
        found.append(x.shape[2])
        channels.append(x.shape[1])
    assert found == sizes
    assert channels == [channels[0] * 2**i for i in range(len(channels))]


class TestBlocks:
    @pytest.mark.parametrize("zero_gamma", [True, False])
    @pytest.mark.parametrize("small", [True, False])
    @pytest.mark.parametrize("block", [Block, Bottleneck])
    def test_zero_gamma_makes_a_block_its_shortcut(self, block, small, zero_gamma):
        """Exactly: where the shape stays, that is the identity."""
        settings = {"width": 4, "small": small, "zero_gamma": zero_gamma}
        model, n = ResNet(block, (2, 2), **settings), 0
        blocks = [b for b in model.modules() if isinstance(b, Block)]
        channels = [4, *(4 * block.expansion * stage for stage in (1, 1, 2))]
        for b, inputs in zip(blocks, channels, strict=True):
            x = mg.relu(images(channels=inputs))
            shortcut = x if b.downsample is None else mg.relu(b.downsample(x))
            n += b.downsample is None
            same = np.array_equal(b(x).numpy(), shortcut.numpy())
            assert same == zero_gamma
        assert n == (3 if block is Block else 2)

    def test_zero_gamma_still_learns(self):
        """At first only the last gammas do, and the shortcut; a step later all."""
        model = resnet.cifar(1, width=4, zero_gamma=True)
        x, labels = images(4), mg.tensor(np.arange(4))
        optimizer, branch = mg.optim.SGD(model.parameters(), lr=0.1), model.layer1[0]
        for learned in (False, True):
            optimizer.zero_grad()
            mg.softmax_cross_entropy(model(x), labels).backward()
            assert branch.bn2.gamma.grad.numpy().any()
            assert branch.conv1.weight.grad.numpy().any() == learned
            optimizer.step()

    def test_shortcuts_without_parameters(self):
        x = images(channels=3)
        y = PadShortcut(3)(x).numpy()
        assert y.shape == (2, 6, 4, 4)
        np.testing.assert_array_equal(y[:, 1:4], x.numpy()[:, :, ::2, ::2])
        assert not y[:, [0, 4, 5]].any()
        model = resnet.resnet20(width=2)
        assert not [name for name, _ in model.named_parameters() if "downsample" in name]


def torch_twin(torch, bottleneck, depths, width, classes, small):
    """The network as those who use PyTorch write it."""
    t, f = torch.nn, torch.nn.functional

    def conv(inputs, outputs, kernel, stride=1):
        return t.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    class TorchBlock(t.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            outputs = 4 * width if bottleneck else width
            kernels = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
            sizes = [inputs, *[width] * (len(kernels) - 1), outputs]
            self.depth, self.new, self.downsample = len(kernels), outputs - inputs, None
            for i, (kernel, step) in enumerate(kernels):
                self.add_module(f"conv{i + 1}", conv(sizes[i], sizes[i + 1], kernel, step))
                self.add_module(f"bn{i + 1}", t.BatchNorm2d(sizes[i + 1]))
            if (stride > 1 or inputs != outputs) and not small:
                projection = conv(inputs, outputs, 1, stride)
                self.downsample = t.Sequential(projection, t.BatchNorm2d(outputs))

        def forward(self, x):
            y = x
            for i in range(1, self.depth + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = f.relu(y) if i < self.depth else y
            if self.downsample is not None:
                x = self.downsample(x)
            elif self.new:
                x = f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
            return f.relu(x + y)

    class TorchResNet(t.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = conv(3, width, 3) if small else conv(3, width, 7, 2)
            self.bn1, inputs = t.BatchNorm2d(width), width
            for i, depth in enumerate(depths):
                blocks, stage = [], width * 2**i
                for j in range(depth):
                    blocks.append(TorchBlock(inputs, stage, 2 if i and not j else 1))
                    inputs = 4 * stage if bottleneck else stage
                self.add_module(f"layer{i + 1}", t.Sequential(*blocks))
            self.fc = t.Linear(inputs, classes)

        def forward(self, x):
            x = f.relu(self.bn1(self.conv1(x)))
            x = x if small else f.max_pool2d(x, 3, 2, 1)
            for i in range(len(depths)):
                x = getattr(self, f"layer{i + 1}")(x)
            return self.fc(x.mean((2, 3)))

    return TorchResNet()


TWINS = {
    "resnet20": (resnet.resnet20, (False, (3, 3, 3), 16, 10, True)),
    "bottlenecks": (
        lambda: ResNet(Bottleneck, (1, 2, 1, 1), classes=5, width=4),
        (True, (1, 2, 1, 1), 4, 5, False),
    ),
    "basic": (
        lambda: ResNet(Block, (1, 2, 1, 1), classes=5, width=4),
        (False, (1, 2, 1, 1), 4, 5, False),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_twin_in_torch(torch, name):
    """Its state has the same names and shapes; loaded here it gives the same outputs, and back there too."""
    torch.manual_seed(0)
    make, settings = TWINS[name]
    x, twin = images(8, size=32), torch_twin(torch, *settings)
    theirs = torch.from_numpy(x.numpy())
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1 * torch.randn(p.shape))
        for _ in range(3):
            twin(theirs * 2 + 1)  # so that no statistics and no parameters are those of the start
        expected = twin.eval()(theirs).numpy()
    model = make()
    with mg.no_grad():
        model(x)
        from_torch(model, twin.state_dict())
        assert abs(expected - expected[0]).max() > 0.1
        close(model.eval()(x), expected, 1e-5)
        model = make()
        model(x)
        expected = model.eval()(x).numpy()
    with torch.no_grad():
        twin.load_state_dict({n: torch.from_numpy(a) for n, a in to_torch(model).items()})
        close(twin(theirs).numpy(), expected, 1e-5)
