"""The layers: each is its op, and BatchNorm and Dropout are two things in training and in eval."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, normal

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


def double(layer):
    """The layer in float64, with random parameters and buffers."""
    rng = np.random.default_rng(7)
    for t in layer.parameters() + layer.buffers():
        if t.dtype.kind == "f":
            t.data = mg.tensor(rng.uniform(0.5, 2, t.shape)).data
    return layer


def content(module):
    return {name: a.tobytes() for name, a in module.state_dict().items()}


@pytest.mark.parametrize(
    ("layer", "op"),
    [(nn.Sigmoid(), mg.sigmoid), (nn.ReLU(), mg.relu), (nn.Tanh(), mg.tanh)],
    ids=["sigmoid", "relu", "tanh"],
)
def test_activations_are_their_ops(rng, layer, op):
    x = normal(rng, 4, 3)
    close(layer(x), op(x), 0)
    assert not layer.state_dict()


class TestLinear:
    @pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_is_its_op(self, rng, shape, bias):
        layer, x = double(nn.Linear(3, 2, bias=bias, dtype=np.float64)), normal(rng, *shape)
        y = x.numpy() @ layer.weight.numpy().T
        close(layer(x), y + layer.bias.numpy() if bias else y)

    def test_parameters(self, rng):
        layer = nn.Linear(3, 2, rng=rng)
        assert {name: a.shape for name, a in layer.state_dict().items()} == {
            "weight": (2, 3),
            "bias": (2,),
        }
        assert all(a.dtype == np.float32 for a in layer.state_dict().values())
        assert list(nn.Linear(3, 2, bias=False).state_dict()) == ["weight"]

    @pytest.mark.parametrize("sizes", [(0, 2), (3, 0), (-1, 2), (3, 2.0), ("3", 2)])
    def test_sizes_are_positive_integers(self, sizes):
        with pytest.raises(
            ValueError, match=r"Linear: expected (in|out)_features to be a positive"
        ):
            nn.Linear(*sizes)

    def test_sizes_may_be_numpy_integers(self):
        assert nn.Linear(np.int64(3), np.int32(2)).weight.shape == (2, 3)


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
    def test_training_applies_batch_norm(self, rng, shape, features, axis, averaged):
        bn = double(nn.BatchNorm(features, axis, dtype=np.float64))
        x = normal(rng, *shape)
        y, _, _ = mg.batch_norm(x, bn.gamma, bn.beta, axis, bn.epsilon)
        close(bn(x), y, 0)

    @layouts
    def test_eval_applies_frozen_batch_norm(self, rng, shape, features, axis, averaged):
        bn = double(nn.BatchNorm(features, axis, epsilon=0.01, dtype=np.float64)).eval()
        x = normal(rng, *shape)
        statistics = bn.running_mean, bn.running_var
        y = bn(x)
        close(y, mg.frozen_batch_norm(x, bn.gamma, bn.beta, *statistics, axis, 0.01), 0)
        wide = [n if i not in np.atleast_1d(averaged) else 1 for i, n in enumerate(shape)]
        gamma, beta, mean, var = (t.numpy().reshape(wide) for t in (bn.gamma, bn.beta, *statistics))
        close(y, gamma * (x.numpy() - mean) / np.sqrt(var + 0.01) + beta)

    @layouts
    @pytest.mark.parametrize("momentum", [0.99, 0.7, 0, 1])
    def test_running_statistics(self, rng, shape, features, axis, averaged, momentum):
        bn = nn.BatchNorm(features, axis, momentum, dtype=np.float64)
        mean, var = np.zeros(bn.running_mean.shape), np.ones(bn.running_var.shape)
        for step in range(1, 4):
            x = 3 * normal(rng, *shape) + step
            bn(x)
            mean = momentum * mean + (1 - momentum) * x.numpy().mean(averaged)
            var = momentum * var + (1 - momentum) * x.numpy().var(averaged, ddof=1)
            close(bn.running_mean, mean)
            close(bn.running_var, var)
            assert bn.num_batches.item() == step

    def test_running_statistics_by_hand(self):
        bn = nn.BatchNorm(1, momentum=0.75)
        bn(mg.tensor([[1], [2], [6]]))
        # The mean is 3, the sum of squares 4 + 1 + 9 = 14, and the unbiased variance 14 / 2.
        close(bn.running_mean, [0.25 * 3], 0)
        close(bn.running_var, [0.75 * 1 + 0.25 * 7], 1e-7)

    def test_without_momentum_they_are_averages(self, rng):
        bn = nn.BatchNorm(3, momentum=None, dtype=np.float64)
        batches = [normal(rng, n, 3) * n for n in (4, 2, 7, 5)]
        for i, x in enumerate(batches, 1):
            bn(x)
            close(bn.running_mean, np.mean([x.numpy().mean(0) for x in batches[:i]], 0))
            close(bn.running_var, np.mean([x.numpy().var(0, ddof=1) for x in batches[:i]], 0))

    @pytest.mark.parametrize("momentum", [0.9, None])
    def test_eval_leaves_them_alone(self, rng, momentum):
        bn = double(nn.BatchNorm(3, momentum=momentum, dtype=np.float64)).eval()
        before = content(bn)
        x = normal(rng, 4, 3, requires_grad=True)
        bn(x).sum().backward()
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

    @pytest.mark.parametrize("training", [True, False])
    def test_whose_gradient_depends_on_whom(self, rng, training):
        """The graphs differ: only in training do the examples of a batch depend on each other."""
        bn = double(nn.BatchNorm(3, dtype=np.float64)).train(training)
        x = normal(rng, 4, 3, requires_grad=True)
        (bn(x)[0] * normal(rng, 3)).sum().backward()
        gx = x.grad.numpy()
        assert (gx[0] != 0).all()
        assert (gx[1:] != 0).all() if training else (gx[1:] == 0).all()

    @pytest.mark.parametrize("training", [True, False])
    def test_gradients(self, rng, training):
        bn = double(nn.BatchNorm(3, momentum=1, dtype=np.float64)).train(training)

        def function(x, gamma, beta):
            bn.gamma, bn.beta = gamma, beta
            return bn(x)

        assert mg.gradcheck(function, [normal(rng, 4, 3), normal(rng, 3), normal(rng, 3)], order=2)

    @pytest.mark.parametrize("training", [True, False])
    def test_a_bias_before_it(self, rng, training):
        """In training the mean takes it away again: its gradient is zero (arXiv:1502.03167, section 3.2)."""
        linear = double(nn.Linear(3, 2, dtype=np.float64))
        net = nn.Sequential(linear, double(nn.BatchNorm(2, dtype=np.float64))).train(training)
        (net(normal(rng, 5, 3)) * normal(rng, 5, 2)).sum().backward()
        assert abs(linear.weight.grad.numpy()).min() > 1e-3
        zero = abs(linear.bias.grad.numpy()) < 1e-14
        assert zero.all() if training else not zero.any()

    @pytest.mark.parametrize("training", [True, False])
    def test_float16(self, rng, training):
        bn = nn.BatchNorm(3, momentum=0.5).train(training)
        bn.num_batches.data = bn.num_batches.data + 1
        x = (1000 + normal(rng, 64, 3)).astype(np.float16)
        y = bn(x)
        assert y.dtype == np.float16
        assert {t.dtype.name for t in bn.parameters() + bn.buffers()} == {"float32", "int64"}
        if training:
            exact = x.numpy().astype(np.float64)
            close(bn.running_mean, exact.mean(0) / 2, 1e-6)
            close(bn.running_var, 0.5 + exact.var(0, ddof=1) / 2, 1e-5)
        y.backward(y.filled(1))
        np.testing.assert_array_equal(bn.beta.grad.numpy(), np.full(3, 64, np.float32), strict=True)

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            (
                np.ones((4, 2), np.float32),
                ValueError,
                r"BatchNorm: expected 3 features along axis 1",
            ),
            (np.ones((4, 2), np.float32), ValueError, r"got an input of shape \(4, 2\)"),
            (np.ones(3, np.float32), ValueError, r"at least 2 axes, got shape \(3,\)"),
            (np.ones((4, 3), np.int64), TypeError, "expected a floating dtype, got int64"),
            (np.ones((4, 3)), TypeError, "of dtype float64, got float32"),
        ],
    )
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("affine", [True, False])
    def test_errors_change_nothing(self, values, error, message, training, affine):
        bn = nn.BatchNorm(3, center=affine, scale=affine).train(training)
        bn.num_batches.data = bn.num_batches.data + 1
        before = content(bn)
        with pytest.raises(error, match=message):
            bn(mg.tensor(values))
        assert content(bn) == before

    @pytest.mark.parametrize("n", [0, 1])
    def test_a_batch_without_variance(self, n):
        bn, x = nn.BatchNorm(3), mg.ones((n, 3))
        bn.num_batches.data = bn.num_batches.data + 1
        before = content(bn)
        with pytest.raises(ValueError, match=f"at least 2 values per channel, got {n} from shape"):
            bn(x)
        assert content(bn) == before
        assert bn.eval()(x).shape == (n, 3)

    def test_other_inputs_change_nothing(self, backend):
        bn, other = nn.BatchNorm(3), "numpy" if backend != "numpy" else "strict"
        before = content(bn)
        with pytest.raises(TypeError, match=r"wrap it with minigrad\.tensor"):
            bn(np.ones((4, 3), np.float32))
        with pytest.raises(TypeError, match=f"different backends, {other} and {backend}"):
            bn(mg.ones((4, 3), backend=other))
        assert content(bn) == before

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_features": 0}, "expected num_features to be a positive integer, got 0"),
            ({"num_features": 2.5}, "expected num_features to be a positive integer, got 2.5"),
            ({"num_features": (3, 0), "axis": (1, 2)}, "num_features .* got 0"),
            ({"num_features": (), "axis": ()}, "num_features .* got 0"),
            ({"momentum": -0.1}, r"expected momentum in \[0, 1\] or None, got -0.1"),
            ({"momentum": 1.1}, "momentum .* got 1.1"),
            ({"momentum": np.nan}, "momentum .* got nan"),
            ({"epsilon": 0}, "expected epsilon > 0, got 0"),
            ({"epsilon": -1e-3}, "epsilon > 0, got -0.001"),
            ({"axis": (1, 2)}, r"one axis per feature dimension, got axis=\(1, 2\)"),
            ({"num_features": (2, 3)}, r"got axis=1 for num_features=\(2, 3\)"),
        ],
    )
    def test_constructor_errors(self, arguments, message):
        with pytest.raises(ValueError, match=f"BatchNorm: .*{message}"):
            nn.BatchNorm(**{"num_features": 3, **arguments})

    def test_sizes_may_be_numpy_integers(self):
        assert nn.BatchNorm(np.int64(3)).gamma.shape == (3,)

    @pytest.mark.parametrize("shape", [(8, 3), (4, 3, 5)])
    def test_twenty_steps_of_torch(self, rng, torch, shape):
        """Outputs, gradients, parameters under SGD, running statistics, then eval."""
        ours = nn.BatchNorm(3, momentum=0.99, epsilon=1e-3, dtype=np.float64)
        theirs = torch.nn.BatchNorm1d(3, momentum=0.01, eps=1e-3, dtype=torch.float64)
        optimizers = (
            mg.optim.SGD(ours.parameters(), lr=0.1),
            torch.optim.SGD(theirs.parameters(), lr=0.1),
        )
        for step in range(20):
            values, gy = rng.standard_normal(shape) * (step + 1) + step, rng.standard_normal(shape)
            x, x_torch = mg.tensor(values, requires_grad=True), torch.tensor(values)
            x_torch.requires_grad = True
            for optimizer in optimizers:
                optimizer.zero_grad()
            y, y_torch = ours(x), theirs(x_torch)
            y.backward(mg.tensor(gy))
            y_torch.backward(torch.tensor(gy))
            for optimizer in optimizers:
                optimizer.step()
            pairs = [
                (y, y_torch),
                (x.grad, x_torch.grad),
                (ours.gamma, theirs.weight),
                (ours.beta, theirs.bias),
                (ours.running_mean, theirs.running_mean),
                (ours.running_var, theirs.running_var),
            ]
            for a, b in pairs:
                close(a, b.detach().numpy(), 1e-10)
        assert ours.num_batches.item() == theirs.num_batches_tracked.item() == 20
        close(ours.eval()(x), theirs.eval()(x_torch).detach().numpy(), 1e-10)


class TestDropout:
    @pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9])
    def test_values_and_mean(self, rng, p):
        y = nn.Dropout(p, rng)(mg.ones((100, 100))).numpy()
        assert set(np.unique(y)) <= {0, np.float32(1) / np.float32(1 - p)}
        # The deviation of one value is sqrt(p / (1 - p)), of the mean of 10,000 a hundredth of it.
        assert abs(y.mean() - 1) <= 0.04 * np.sqrt(p / (1 - p)) + 1e-6

    def test_the_gradient_passes_where_values_do(self, rng):
        x = normal(rng, 20, 20, requires_grad=True)
        y = nn.Dropout(0.3, rng)(x)
        y.sum().backward()
        close(x.grad, np.where(y.numpy() == 0, 0, 1 / 0.7), 1e-6)
        assert 0 < (y.numpy() == 0).mean() < 1

    def test_eval_is_the_identity(self, rng):
        x = normal(rng, 4, 3)
        assert nn.Dropout(0.9).eval()(x) is x

    @pytest.mark.parametrize("default", [True, False])
    def test_a_seed_decides_on_every_backend(self, default):
        def masks(seed):
            mg.manual_seed(seed if default else 0)
            layer = nn.Dropout(0.5, None if default else np.random.default_rng(seed))
            return [layer(mg.ones((4, 5))).numpy() for _ in range(2)]

        one, next_one = masks(3)
        np.testing.assert_array_equal([one, next_one], masks(3))
        assert (one != next_one).any() and (one != masks(4)[0]).any()
        expected = np.random.default_rng(3).random((4, 5), np.float32) >= 0.5
        np.testing.assert_array_equal(one, 2 * expected)

    @pytest.mark.parametrize("p", [-0.1, 1, 1.5, np.nan])
    def test_constructor_errors(self, p):
        with pytest.raises(ValueError, match=f"Dropout: expected 0 <= p < 1, got {p}"):
            nn.Dropout(p)


class TestFlatten:
    @pytest.mark.parametrize(
        ("shape", "flat"),
        [((4, 3), (4, 3)), ((4, 3, 2), (4, 6)), ((2, 3, 4, 5), (2, 60)), ((0, 3, 2), (0, 6))],
    )
    def test_keeps_the_first_axis(self, rng, shape, flat):
        x = rng.standard_normal(shape)
        close(nn.Flatten()(mg.tensor(x)), x.reshape(flat), 0)

    @pytest.mark.parametrize("shape", [(), (3,)])
    def test_needs_two_axes(self, shape):
        with pytest.raises(ValueError, match="Flatten: expected at least 2 axes, got shape"):
            nn.Flatten()(mg.ones(shape))
