"""Initial values: their moments are those of the papers' formulas, and a seed repeats them to the bit."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from helpers import equal, error_table, refuses

import minigrad as mg
from minigrad import nn
from minigrad.nn import init

pytestmark = pytest.mark.usefixtures("backend")

#: standard deviation for fan_in = 300 and fan_out = 500, and the largest value
GLOROT, HE = math.sqrt(2 / 800), math.sqrt(2 / 300)
RANDOM = {
    init.normal: (0.01, math.inf),
    init.uniform: (0.05 / math.sqrt(3), 0.05),
    init.glorot_normal: (GLOROT, math.inf),
    init.glorot_uniform: (GLOROT, math.sqrt(3) * GLOROT),
    init.he_normal: (HE, math.inf),
    init.he_uniform: (HE, math.sqrt(3) * HE),
}


@pytest.mark.parametrize("function", [*RANDOM, init.constant, init.zeros, init.ones])
@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 2, 2)])
def test_dtypes(function, shape):
    """float64 has the same numbers to more digits, and layers draw in their own dtype."""
    seed = np.random.default_rng
    values, wide = function(shape, seed(5)), function(shape, seed(5), dtype=np.float64)
    assert type(values) is np.ndarray and values.shape == shape and values.dtype == np.float32
    np.testing.assert_array_equal(wide.astype(np.float32), values)
    if function in RANDOM:
        assert (wide != values).any() and (function(shape, seed(6)) != values).any()
        for wrong in (0, np.random.RandomState(0), np.random):
            with refuses(TypeError, "expected a numpy.random.Generator"):
                function(shape, wrong)
    if len(shape) == 2:
        for dtype in ("float64", "bfloat16"):
            layer = nn.Linear(3, 2, weight_init=function, rng=seed(5), dtype=dtype)
            assert layer.weight.dtype.name == dtype
            if dtype == "float64":
                equal(layer.weight, wide)


@pytest.mark.parametrize("function", RANDOM)
def test_moments(rng, function):
    values, (std, limit) = function((500, 300), rng).astype(np.float64), RANDOM[function]
    n = values.size
    # Four standard errors of a Gaussian's moments, those of a uniform's being smaller.
    assert abs(values.mean()) < 4 * std / math.sqrt(n)
    assert abs(values.std() / std - 1) < 4 / math.sqrt(2 * n)
    assert abs(values).max() <= limit * (1 + 1e-6)
    kurtosis = (values**4).mean() / std**4
    assert abs(kurtosis - (3 if limit == math.inf else 9 / 5)) < 4 * math.sqrt(96 / n)


def test_arguments(rng):
    values = init.normal((500, 300), rng, mean=2.0, std=0.5)
    assert abs(values.mean() - 2) < 0.01 and abs(values.std() - 0.5) < 0.01
    values = init.uniform((500, 300), rng, low=1.0, high=3.0)
    assert 1 <= values.min() < 1.001 and 2.999 < values.max() <= 3
    assert [*init.constant((1,), value=0.25), *init.zeros((1,)), *init.ones((1,))] == [0.25, 0, 1]


@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"),
    [((5, 3), 3, 5), ((5, 3, 7), 21, 35), ((5, 3, 2, 4), 24, 40)],
)
def test_fans(shape, fan_in, fan_out):
    """Of a convolution every output sums over, and every input feeds, as many channels as its kernel has places."""
    seed = np.random.default_rng
    glorot = init.normal(shape, seed(0), std=math.sqrt(2 / (fan_in + fan_out)))
    np.testing.assert_array_equal(init.glorot_normal(shape, seed(0)), glorot)
    he = init.normal(shape, seed(0), std=math.sqrt(2 / fan_in))
    np.testing.assert_array_equal(init.he_normal(shape, seed(0)), he)


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0), (3, 2, 0)])
def test_no_weight_has_such_a_shape(rng, shape):
    for function in (f for f in RANDOM if "_" in f.__name__):
        with refuses(ValueError, "expected a weight of shape (out, in, ...), got"):
            function(shape, rng)


TENTH = {"dtype": "float64", "weight_init": partial(init.constant, value=0.1)}
GAMMA = {"dtype": "float64", "gamma_init": partial(init.constant, value=0.1)}


@pytest.mark.parametrize(
    "parameter",
    [
        lambda: nn.Linear(3, 2, **TENTH).weight,
        lambda: nn.Linear(3, 2, dtype="float64", bias_init=TENTH["weight_init"]).bias,
        lambda: nn.Linear(2, 2, dtype="float64", weight_init=lambda s, rng: np.full(s, 0.1)).weight,
        lambda: nn.Conv1d(2, 2, 3, **TENTH).weight,
        lambda: nn.Conv2d(2, 2, 3, **TENTH).weight,
        lambda: nn.ConvTranspose2d(2, 2, 3, **TENTH).weight,
        lambda: nn.RNN(2, 3, **TENTH).weight_ih,
        lambda: nn.LSTM(2, 3, **TENTH).weight_hh,
        lambda: nn.BatchNorm(3, **GAMMA).gamma,
        lambda: nn.BatchNorm(3, dtype="float64", running_var_init=GAMMA["gamma_init"]).running_var,
        lambda: nn.RecurrentBatchNorm(3, 2, dtype="float64").steps[1].gamma,
        lambda: nn.FrozenBatchNorm.of(nn.BatchNorm(3, **GAMMA)).gamma,
    ],
)
def test_layers_hold_the_digits_of_their_dtype(parameter):
    equal(parameter(), np.full(parameter().shape, 0.1))


@error_table(
    {
        "a number": (
            TypeError,
            "BatchNorm: expected an initializer, a function of (shape, rng), got 0.1; "
            "functools.partial(nn.init.constant, value=0.1) is one",
            lambda: nn.BatchNorm(3, gamma_init=0.1),
        ),
        "another shape": (
            ValueError,
            "Conv2d: expected an initial value of shape (2, 1, 3, 3), got (2,)",
            lambda: nn.Conv2d(1, 2, 3, weight_init=lambda shape, rng: np.zeros(2)),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()


def test_the_default_generator():
    def drawn():
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4, gamma_init=init.normal))
        return {name: a.tobytes() for name, a in net.state_dict().items()}

    mg.manual_seed(1)
    one, next_one = drawn(), drawn()
    mg.manual_seed(1)
    nn.Linear(3, 3, rng=np.random.default_rng(0))  # which does not use it
    assert drawn() == one
    assert {n for n in one if one[n] != next_one[n]} == {"0.weight", "1.gamma"}
    mg.manual_seed(2)
    assert drawn()["0.weight"] != one["0.weight"]


def test_a_generator_is_used_in_order(rng):
    """Weights, then biases, from one generator: so a model's values depend on its seed alone."""
    layer = nn.Linear(3, 2, weight_init=init.normal, bias_init=init.normal, rng=rng)
    again = np.random.default_rng(0)
    equal(layer.weight, init.normal((2, 3), again))
    equal(layer.bias, init.normal((2,), again))
