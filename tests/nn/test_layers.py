"""The layers: each is its op, and Dropout is two things in training and in eval."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, double, normal

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")


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
        numbers = np.random.Philox(key=int(np.random.default_rng(3).integers(2**63)))
        expected = np.random.Generator(numbers).random((4, 5), np.float32) >= 0.5
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
        with pytest.raises(ValueError, match="flatten: expected at least 2 axes, got shape"):
            nn.Flatten()(mg.ones(shape))


class TestMaxout:
    def test_is_the_largest_of_its_maps(self, rng):
        layer, x = nn.Maxout(3, 2, 4, dtype=np.float64), normal(rng, 2, 5, 3)
        y = layer.linear(x).numpy().reshape(2, 5, 2, 4).max(-1)
        close(layer(x), y)
        assert repr(layer).startswith("Maxout(\n  linear=Linear(3, 8, bias=True)")

    def test_constructor_errors(self):
        with pytest.raises(ValueError, match="Maxout: expected pieces to be a positive integer"):
            nn.Maxout(3, 2, 0)
