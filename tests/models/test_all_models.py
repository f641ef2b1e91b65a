"""What holds for every model: shapes, learning, the difference between training and eval, seeds, backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from helpers import close, content

import minigrad as mg
from minigrad import nn
from models.attention import transformer_encoder
from models.bn_lstm import bn_lstm, lstm
from models.conv_lstm import conv_lstm
from models.highway import highway
from models.inception_bn import inception_bn_small
from models.lenet_bn import LeNet, lenet_bn
from models.maxout_network import maxout_mlp, maxout_network
from models.mlp import MLP
from models.network_in_network import network_in_network
from models.resnet import Block, Bottleneck, ResNet
from models.tdnn import tdnn, waibel_tdnn


class Case(NamedTuple):
    """A small model, as a function of a generator; the shapes of an example and of its output."""

    make: Callable[[np.random.Generator], nn.Module]
    shape: tuple[int, ...]
    output: tuple[int, ...] = (3,)

    def batch(self, n, seed=0):
        """Examples and their targets: classes, or images of zeros and ones."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, *self.shape)).astype(np.float32)
        if len(self.output) == 1:
            return mg.tensor(x), mg.tensor(np.arange(n) % self.output[0])
        return mg.tensor(x), mg.tensor(rng.integers(0, 2, (n, *self.output)).astype(np.float32))

    def loss(self, y, target):
        return mg.softmax_cross_entropy(y, target) if y.ndim == 2 else mg.mse_loss(y, target)

    def trained(self, steps, seed=0, n=6, optimizer=mg.optim.Adam):
        """The model after ``steps`` on one batch."""
        model, (x, target) = self.make(np.random.default_rng(seed)), self.batch(n)
        optimizer = optimizer(model.parameters(), lr=0.02)
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss(model(x), target).backward()
            optimizer.step()
        return model


def case(factory, *shape, **settings):
    return Case(lambda rng: factory(classes=3, **settings, rng=rng), shape)


def mlp(classes, rng):
    return MLP((6, 10, 10, classes), std=1, rng=rng)


def resnet(classes, block=Block, depths=(1, 1), width=4, **settings):
    return ResNet(block, depths, classes, width=width, **settings)


def forecaster(rng):
    return conv_lstm(channels=2, hidden=(4, 3), kernel_size=3, rng=rng)


BATCH_NORM = {
    "mlp": case(mlp, 6),
    "lenet": case(lenet_bn, 1, 8, 8, size=8),
    "lenet_sigmoid": case(lenet_bn, 2, 8, 8, channels=2, size=8, activation=mg.sigmoid),
    "network_in_network": case(network_in_network, 2, 8, 8, channels=2, width=12, batch_norm=True),
    "maxout": case(maxout_network, 1, 28, 28, width=4, batch_norm=True),
    "highway": case(highway, 6, depth=4, inputs=6, width=8, batch_norm=True),
    "resnet": case(resnet, 3, 8, 8, small=True),
    "resnet_imagenet": case(resnet, 1, 32, 32, channels=1),
    "resnet_bottleneck": case(resnet, 3, 16, 16, block=Bottleneck),
    "inception": case(inception_bn_small, 3, 8, 8, scale=1 / 16, modules=("3a", "3c", "5b")),
    "bn_lstm": case(bn_lstm, 5, 4, features=4, hidden=8, max_steps=5),
    "tdnn": case(tdnn, 4, 26, features=4, width=8),
}
DROPOUT = {
    "network_in_network_dropout": case(network_in_network, 3, 8, 8, width=24, dropout=0.2),
    "maxout_dropout": case(maxout_network, 1, 28, 28, width=8, dropout=(0.1, 0.2)),
    "maxout_mlp": case(maxout_mlp, 6, inputs=6, width=24),
    "attention": case(transformer_encoder, 5, 4, features=4, width=8, heads=2),
}
PLAIN = {
    "lenet_plain": case(LeNet, 1, 8, 8, size=8, batch_norm=False),
    "highway_plain": case(highway, 6, depth=4, inputs=6, width=8),
    "lstm": case(lstm, 5, 4, features=4, hidden=8),
    "waibel_tdnn": case(waibel_tdnn, 16, 15),
    "conv_lstm": Case(forecaster, (3, 2, 4, 4), (1, 2, 4, 4)),
}
#: steps of Adam until the batch is known by heart
STEPS = {"mlp": 100, "tdnn": 100, "waibel_tdnn": 150, "conv_lstm": 200}
STEPS |= dict.fromkeys(DROPOUT, 200)


every_model = pytest.mark.parametrize(
    ("name", "case"), [pytest.param(n, c, id=n) for n, c in (BATCH_NORM | DROPOUT | PLAIN).items()]
)


def statistics(model):
    return [b.numpy() for name, b in model.named_buffers() if "running" in name]


@every_model
def test_it_learns_a_batch_by_heart(name, case):
    """In eval too: by then the running statistics are those of the batch."""
    model, (x, target) = case.trained(STEPS.get(name, 50)), case.batch(6)
    with mg.no_grad():
        y = model.eval()(x)
    assert y.shape == (6, *case.output)
    assert case.loss(y, target).item() < 0.05, name


@every_model
def test_every_parameter_learns(name, case):
    """None is unused, and none is a bias that a batch norm cancels: its gradient would be a rounding error.

    So is that of the keys' bias in attention, which adds the same to all scores.
    """
    model, (x, target) = case.make(np.random.default_rng(0)), case.batch(6)
    case.loss(model(x), target).backward()
    for parameter, p in model.named_parameters():
        assert p.grad is not None, parameter
        assert np.isfinite(p.grad.numpy()).all(), parameter
        assert abs(p.grad.numpy()).max() > 1e-6 or parameter.endswith("key.bias"), parameter


@every_model
def test_what_an_output_depends_on(name, case):
    """In training on the batch with batch norm, on draws with dropout, on neither without; in eval on its example."""
    model, (x, _) = case.trained(3), case.batch(6, seed=1)
    with mg.no_grad():
        alone, together = model(x[:3]).numpy(), model(x)[:3].numpy()
        if name in PLAIN:
            close(alone, together, 1e-4)
        else:
            assert abs(alone - together).max() > 1e-3
        before, y = content(model.eval()), model(x)
        np.testing.assert_array_equal(model(x).numpy(), y.numpy())
        close(model(x[2:3]), y[2:3], 1e-4)
        assert abs(y[2:3].numpy() - y[3:4].numpy()).max() > 1e-4
    assert content(model) == before


@every_model
def test_statistics_move_in_training_only(name, case):
    model, (x, _) = case.make(np.random.default_rng(0)), case.batch(6)
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm)]
    with mg.no_grad():
        start = statistics(model)
        model(x)
        once = statistics(model)
        assert len(once) == 2 * len(layers) and bool(layers) == (name in BATCH_NORM)
        assert all([(a != b).any() for a, b in zip(start, once, strict=True)])
        assert all([layer.num_batches.item() == 1 for layer in layers])
        model.eval()(x)
    for a, b in zip(once, statistics(model), strict=True):
        np.testing.assert_array_equal(a, b)


@every_model
def test_the_generator_decides_on_initial_values(name, case):
    one, same, other = (content(case.make(np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert one == same
    weights = [name for name in one if "weight" in name]
    assert weights and all([one[w] != other[w] for w in weights])
    mg.manual_seed(5)
    model = case.make(None)
    mg.manual_seed(5)
    assert content(case.make(None)) == content(model)


@every_model
def test_backends_agree(backend, name, case):
    """After a training step. Not with Adam, whose first step has the signs of gradients, which near 0 are rounding."""
    model = case.trained(1, n=4, optimizer=mg.optim.SGD)
    with mg.no_grad():
        y = model(case.batch(4)[0]).numpy()
    mg.set_backend("numpy")
    model = case.trained(1, n=4, optimizer=mg.optim.SGD)
    with mg.no_grad():
        close(y, model(case.batch(4)[0]), 1e-4)


@every_model
def test_it_may_be_moved_to_another_backend_than_the_default(backend, name, case):
    """What a model creates itself, zeros and noise and positions, is on the backend of its input."""
    mg.set_backend("numpy")
    model, (x, _) = case.trained(1), case.batch(6, seed=1)
    with mg.no_grad():
        expected = model.eval()(x).numpy()
        model, x = model.to(backend), mg.tensor(x.numpy(), backend=backend)
        y = model(x)
        assert y.backend == model.train()(x).backend == backend
    close(y, expected, 1e-4)
