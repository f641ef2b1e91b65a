"""BatchNorm: two ops, the statistics it remembers, and the switches between them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    close,
    content,
    device,
    double,
    equal,
    leaf,
    normal,
    refuses,
    settle,
)

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


#: input shape, num_features, axis, and the axes that are averaged over
LAYOUTS = [
    ((6, 3), 3, 1, 0),
    ((4, 3, 2), 3, 1, (0, 2)),
    ((4, 2, 2, 3), 3, -1, (0, 1, 2)),
    ((4, 2, 5, 3), (2, 3), (1, 3), (0, 2)),
    ((4, 2, 5, 3), (2, 3), (-1, 1), (0, 2)),
]
layouts = pytest.mark.parametrize(("shape", "features", "axis", "averaged"), LAYOUTS)


class TestBatchNorm:
    @layouts
    @pytest.mark.parametrize("momentum", [0.99, 0.7, 0, 1, None])
    def test_is_its_two_ops(self, rng, shape, features, axis, averaged, momentum):
        """And the averages of the statistics between them, which eval does not change."""
        bn = double(nn.BatchNorm(features, axis, momentum, eps=0.01, dtype=np.float64))
        bn.num_batches.data = bn.num_batches.data * 0
        mean, var = bn.running_mean.numpy(), bn.running_var.numpy()
        for step in range(1, 4):
            x = 3 * normal(rng, *shape) + step
            close(bn(x), mg.batch_norm(x, bn.gamma, bn.beta, axis, 0.01)[0], 0)
            kept = (step - 1) / step if momentum is None else momentum
            mean = kept * mean + (1 - kept) * x.numpy().mean(averaged)
            var = kept * var + (1 - kept) * x.numpy().var(averaged, ddof=1)
            close(bn.running_mean, mean)
            close(bn.running_var, var)
            assert bn.num_batches.item() == step
        before, x.requires_grad = content(bn.eval()), True
        statistics = bn.running_mean, bn.running_var
        close(y := bn(x), mg.frozen_batch_norm(x, bn.gamma, bn.beta, *statistics, axis, 0.01), 0)
        y.sum().backward()
        assert content(bn) == before

    def test_they_move_with_the_forward_pass_only(self, rng):
        bn = nn.BatchNorm(3, dtype=np.float64)
        x = normal(rng, 4, 3, requires_grad=True)
        with mg.no_grad():
            bn(x)
        y = bn(x)
        before = content(bn)
        (gx,) = mg.grad((y**3).sum(), [x], create_graph=True)
        (gx**2).sum().backward()
        assert content(bn) == before and bn.num_batches.item() == 2
        assert not any(b.requires_grad for b in bn.buffers())

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("center", [True, False])
    @pytest.mark.parametrize("scale", [True, False])
    def test_center_and_scale(self, rng, training, center, scale):
        bn = double(nn.BatchNorm(3, center=center, scale=scale, dtype=np.float64)).train(training)
        names = [name for name, _ in bn.named_parameters()]
        assert names == ["gamma"] * scale + ["beta"] * center
        plain = double(nn.BatchNorm(3, center=False, scale=False, dtype=np.float64))
        plain.load_state_dict(bn.state_dict(), strict=False)
        x = normal(rng, 4, 3)
        y = plain.train(training)(x)
        y = y * bn.gamma if scale else y
        close(bn(x), y + bn.beta if center else y)

    def test_initial_values(self, rng):
        bn = nn.BatchNorm(3, gamma_init=nn.init.normal)
        assert bn.gamma.numpy().std() > 0
        bn = nn.BatchNorm((2, 3), axis=(1, 2))
        values = {"gamma": 1, "beta": 0, "running_mean": 0, "running_var": 1}
        state = bn.state_dict()
        assert state.pop("num_batches") == 0
        for name, a in state.items():
            np.testing.assert_array_equal(a, np.full((2, 3), values[name], np.float32), strict=True)


def fed(**settings):
    """A float64 layer of three features that has seen four batches."""
    bn = nn.BatchNorm(3, momentum=0.9, dtype=np.float64, **settings)
    rng = np.random.default_rng(3)
    for _ in range(4):
        bn(mg.tensor(rng.standard_normal((8, 3)) * 2 + 1))
    return bn


# --- which statistics normalize ---


def test_statistics_of_the_batch_in_eval(rng):
    bn, x = fed(statistics="batch").eval(), normal(rng, 8, 3)
    before = content(bn)
    equal(bn(x), mg.batch_norm(x, bn.gamma, bn.beta)[0])
    assert content(bn) == before


def test_population_statistics_only(rng):
    bn, x = fed(statistics="population"), normal(rng, 8, 3)
    assert bn.num_batches.item() == 0 and not bn.running_mean.numpy().any()
    equal(bn(x), mg.batch_norm(x, bn.gamma, bn.beta)[0])
    with refuses(ValueError, "BatchNorm: there are no population statistics yet"):
        bn.eval()(x)
    nn.population_statistics(bn, [x], "total")
    close(bn(x), mg.frozen_batch_norm(x, bn.gamma, bn.beta, x.mean(0), x.var(0)))
    bn.train()(x * 2)
    close(bn.running_mean, x.mean(0))


@pytest.mark.parametrize("ddof", [0, 1])
def test_degrees_of_freedom(rng, ddof):
    x = normal(rng, 5, 3)
    remembers = nn.BatchNorm(3, momentum=0, ddof_running=ddof, dtype=np.float64)
    remembers(x)
    close(remembers.running_var, x.numpy().var(0, ddof=ddof))
    normalizes = nn.BatchNorm(3, momentum=0, ddof_norm=ddof, eps=1e-30, dtype=np.float64)
    close(normalizes(x).numpy().var(0, ddof=ddof), np.ones(3))
    close(normalizes.running_var, x.numpy().var(0, ddof=1))


# --- freezing ---

SWITCHES = ["affine", "moving", "normalizing"]


@pytest.mark.parametrize("chosen", SWITCHES)
def test_three_switches(rng, chosen):
    """Each part of freeze does its own and nothing else, through train() and eval(), until it is undone."""
    bn, x = fed(), normal(rng, 8, 3, requires_grad=True)
    part = {name: name == chosen for name in SWITCHES}
    for frozen in [True, False]:
        assert (bn.freeze if frozen else bn.unfreeze)(**part) is bn
        bn.eval().train()
        before = content(bn)
        by_running = bn.eval()(x).numpy()
        y = bn.train()(x)
        y.backward(mg.tensor(rng.standard_normal((8, 3))))
        bn(x, mask=device(np.ones(8, bool)))
        stayed = {"affine": bn.gamma.grad is None, "moving": content(bn) == before}
        stayed["normalizing"] = np.array_equal(y.numpy(), by_running)
        assert stayed == {name: frozen and name == chosen for name in SWITCHES}


def test_freezing_without_gamma_and_beta():
    bn = nn.BatchNorm(3, center=False, scale=False).freeze().unfreeze()
    assert bn.moving and not bn.frozen
    assert not nn.BatchNorm(3, statistics="population").freeze().unfreeze().moving


# --- one layer at several places ---


def test_twins_share_what_is_trained_and_not_what_is_seen(rng):
    class Twice(nn.Module):
        def __init__(self):
            self.first = nn.BatchNorm(3, momentum=0.5)
            self.second = self.first.twin()

        def forward(self, x):
            return self.second(self.first(x) + 5)

    net = Twice()
    net(mg.tensor(rng.standard_normal((8, 3)), dtype=np.float32))
    assert [name for name, _ in net.named_parameters()] == ["first.gamma", "first.beta"]
    assert len(net.buffers()) == 6
    assert np.abs(net.first.running_mean.numpy()).max() < 1
    close(net.second.running_mean, np.full(3, 2.5), 1e-5)
    net.first.gamma.data = net.first.gamma.data * 2
    equal(net.second.gamma, [2, 2, 2])


# --- masks and weights ---

PADDED = {
    "(n, time, channels)": (-1, lambda a: a),
    "(n, channels, time)": (1, lambda a: a.swapaxes(1, 2)),
}


@pytest.mark.parametrize(("axis", "arrange"), PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("junk", [0.0, 1e30, np.nan, np.inf])
def test_a_mask_gives_what_the_ragged_batch_gives(rng, axis, arrange, junk):
    lengths = [5, 2, 4]
    mask = np.arange(5) < np.array(lengths)[:, None]
    values, cotangent = rng.standard_normal((2, 3, 5, 2))
    values[~mask] = junk
    padded, ragged = (nn.BatchNorm(2, axis, dtype=np.float64) for axis in (axis, 1))
    for layer in (padded, ragged):
        layer.gamma.data = mg.tensor([1.5, -0.5], dtype=np.float64).data
    for training in [True, False]:
        x, flat = leaf(arrange(values)), leaf(values[mask])
        y, expected = padded.train(training)(x, mask=device(mask)), ragged.train(training)(flat)
        y.backward(mg.tensor(arrange(cotangent)))
        expected.backward(mg.tensor(cotangent[mask]))
        for a, b in [(y, expected), (x.grad, flat.grad)]:
            close(arrange(a.numpy())[mask], b)
            assert not arrange(a.numpy())[~mask].any()
    for a, b in zip(padded.parameters(), ragged.parameters(), strict=True):
        close(a.grad, b.grad)
    for a, b in zip(padded.buffers(), ragged.buffers(), strict=True):
        close(a, b)


def test_a_weight_of_two_is_an_example_given_twice(rng):
    """Gradients are tested with the function."""
    a, b = (nn.BatchNorm(3, dtype=np.float64) for _ in range(2))
    x, weight = normal(rng, 4, 3, 2), np.array([2, 1, 0, 3])
    rows = np.repeat(np.arange(4), weight)
    y, z = a(x, weight=device(weight)), b(mg.tensor(x.numpy()[rows]))
    close(y.numpy()[weight > 0], z.numpy()[np.unique(rows, return_index=True)[1]])
    for p, q in zip(a.buffers(), b.buffers(), strict=True):
        close(p, q)


# --- statistics that stay ---


def test_holding(rng):
    """Also in a gradient check, which is no training."""
    inner, outer = fed(), fed()
    model, x = nn.Sequential(inner, outer), normal(rng, 8, 3)
    before = content(model)
    with nn.hold_statistics(model):
        y = model(x)
    with nn.hold_statistics():
        equal(model(x), y)
    assert mg.gradcheck(inner, x[:4])
    assert content(model) == before
    before = content(inner), content(outer)
    with nn.hold_statistics(inner), pytest.raises(RuntimeError), nn.hold_statistics(mg.nn.ReLU()):
        model(x)
        raise RuntimeError
    assert content(inner) == before[0] and content(outer) != before[1]
    model(x)
    assert content(inner) != before[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_never_enter(rng, value):
    values = rng.standard_normal((8, 3))
    values[2, 1] = value
    for settings in [{}, {"on_nonfinite": "skip"}]:
        model = nn.Sequential(nn.ReLU(), fed(**settings))
        before = content(model)
        with np.errstate(invalid="ignore"):
            if settings:
                model[1](mg.tensor(values))
            else:
                with refuses(ValueError, "the batch has NaN or Inf in it"):
                    model[1](mg.tensor(values))
        assert content(model) == before


def test_eval_without_statistics_warns_once(rng):
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm(3), nn.ReLU())).eval()
    x = mg.ones((2, 3))
    with pytest.warns(UserWarning, match=r"BatchNorm '1.0': eval with running statistics that wer"):
        y = model(x)
    equal(model(x), y)  # a second warning would be an error
    other = nn.BatchNorm(3)
    other.running_mean.data = other.running_mean.data + 1
    other.eval()(x)  # set by hand


# --- bad input: the layer is named, and nothing changes ---

F32 = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
F64 = F32.astype(np.float64)
#: words, the input, and settings of the layer: wrong in training and eval, with gamma and beta and without
ALWAYS = {
    "other features": ("expected 3 features along axis 1, got an inp", F32[:, :2], {}),
    "other features, without updates": (
        "expected 3 features along axis 1, got an inp",
        F32[:, :2],
        {"statistics": "population"},
    ),
    "one axis": ("at least 2 axes, got shape (4,)", F32[:, 0], {}),
    "axis out of range": ("axis 2 is out of range for 2 dim", F32, {"axis": 2}),
    "integers": ("expected a floating dtype, got int64", np.ones((4, 3), np.int64), {}),
    "another dtype": ("float32: cast x with x.astype('float32')", F64, {}),
}
#: words, the input, and options of the call: wrong in training
TRAINING = {
    "one value per channel": ("expected at least 2 values per channel, got 1", F32[:1], {}),
    "an empty batch": ("expected at least 2 values per channel, got 0", F32[:0], {}),
    "NaN": ("the batch has NaN or Inf in it", F32 * np.nan, {}),
    "a long mask": (
        "expected a mask or weight of shape (4,), or of the first of these axes, for x (4, 3)",
        F32,
        {"mask": np.ones(5, bool)},
    ),
    "a mask of channels": ("got (4, 3)", F32, {"mask": np.ones((4, 3), bool)}),
    "a mask of numbers": ("expected a boolean mask, got dtype int64", F32, {"mask": [1, 1, 0, 0]}),
    "all masked": ("at least 2 positions that count, got 0 of 4", F32, {"mask": [False] * 4}),
    "all but one masked": (
        "at least 2 positions that count, got 1 of 4",
        F32,
        {"mask": [True, False, False, False]},
    ),
    "negative weights": ("expected finite weights >= 0", F32, {"weight": [1, 1, 1, -1]}),
    "NaN weights": ("expected finite weights >= 0", F32, {"weight": [1, 1, 1, np.inf]}),
    "weights of nothing": (
        "expected more than ddof_running=1 values per channel, got 0.5",
        F32,
        {"weight": [0.25, 0.25, 0, 0]},
    ),
    "a scalar weight": ("got ()", F32, {"weight": np.array(1.0)}),
    "mask and weight": (
        "expected a mask or a weight, got both",
        F32,
        {"mask": [True] * 4, "weight": [1] * 4},
    ),
}


def require_refusal(layer, x, words, options):
    """Inside a network the error names the layer, and nothing changes."""
    options = {name: device(value) for name, value in options.items()}
    layer.num_batches.data = layer.num_batches.data + 1  # else eval warns

    class Net(nn.Module):
        def __init__(self):
            self.layers = [layer]

        def forward(self, x):
            return self.layers[0](x, **options)

    net = Net()
    net.layers[0].training, before = layer.training, content(net)
    with pytest.raises((TypeError, ValueError)) as caught:
        net(x)
        settle()
    told = str(caught.value)
    # A device that reports it later does not know the layer any more.
    assert told.startswith(
        ("BatchNorm 'layers.0': ", "batch norm over 3 channels: the batch has NaN")
    )
    assert words in told
    assert content(net) == before


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("words", "values", "settings"), ALWAYS.values(), ids=ALWAYS)
def test_bad_input(words, values, settings, training, affine):
    layer = nn.BatchNorm(3, center=affine, scale=affine, **settings).train(training)
    require_refusal(layer, mg.tensor(values), words, {})


@pytest.mark.parametrize(("words", "values", "options"), TRAINING.values(), ids=TRAINING)
def test_bad_batches(words, values, options):
    require_refusal(nn.BatchNorm(3), mg.tensor(values), words, options)


def test_no_tensor_and_another_backend(backend):
    other = "strict" if backend == "numpy" else "numpy"
    words = "batch_norm, argument x: expected a minigrad Tensor, got numpy.ndarray; wrap it with"
    require_refusal(nn.BatchNorm(3), F32, words, {})
    words = f"inputs are on different backends, {other} and {backend}"
    require_refusal(nn.BatchNorm(3), mg.tensor(F32, backend=other), words, {})


@pytest.mark.parametrize("n", [0, 1])
def test_eval_takes_batches_without_variance(n):
    bn = nn.BatchNorm(3).eval()
    bn.num_batches.data = bn.num_batches.data + 1
    assert bn(mg.ones((n, 3))).shape == (n, 3)


SETTINGS = {
    "num_features to be a positive integer, got 0": {"num_features": 0},
    "num_features to be a positive integer, got 2.5": {"num_features": 2.5},
    "num_features to be a positive integer, got 0 ": {"num_features": (3, 0), "axis": (1, 2)},
    "num_features to be a positive integer, got 0  ": {"num_features": (), "axis": ()},
    "momentum in [0, 1] or None, got -0.1": {"momentum": -0.1},
    "momentum in [0, 1] or None, got 1.5": {"momentum": 1.5},
    "momentum in [0, 1] or None, got nan": {"momentum": np.nan},
    "eps > 0, got 0": {"eps": 0},
    "eps > 0, got -0.001": {"eps": -1e-3},
    "eps > 0, got 1e-50, in float32": {"eps": 1e-50},
    "dtype float32, which serves float16": {"dtype": "float16"},
    "one axis per feature dimension, got axis=(1, 2)": {"axis": (1, 2)},
    "got axis=1 for num_features=(2, 3)": {"num_features": (2, 3)},
    "expected different axes, got (1, 1)": {"num_features": (3, 3), "axis": (1, 1)},
    "expected ddof_norm 0 or 1, got 2": {"ddof_norm": 2},
    "expected ddof_running 0 or 1, got 2": {"ddof_running": 2},
    "expected statistics 'running', 'batch' or 'population', got 'mean'": {"statistics": "mean"},
    "expected on_nonfinite 'raise' or 'skip', got 'warn'": {"on_nonfinite": "warn"},
}


@pytest.mark.parametrize(("words", "settings"), SETTINGS.items(), ids=SETTINGS)
def test_bad_settings(words, settings):
    with refuses(ValueError, words.strip()) as caught:
        nn.BatchNorm(**{"num_features": 3, **settings})
    assert str(caught.value).startswith("BatchNorm: ")


def test_a_framework_without_conventions():
    words = "BatchNorm.like: expected one of torch, keras, tf1, chainer, flax, onnx, paper, got"
    with refuses(ValueError, words):
        nn.BatchNorm.like("jax", 3)
