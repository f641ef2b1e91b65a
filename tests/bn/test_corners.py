"""Combinations of batch norm's settings that once gave, or easily give, a wrong number or a partial update."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, device, equal, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


def test_numbers_whose_squares_do_not_overflow_are_finite(rng):
    bn = nn.BatchNorm(2000)
    bn(mg.tensor((1e18 * rng.standard_normal((4, 2000))).astype(np.float32)))
    assert bn.num_batches.item() == 1
    with np.errstate(over="ignore"), refuses(ValueError, "or numbers whose squares overflow"):
        bn(mg.tensor((1e20 * rng.standard_normal((4, 2000))).astype(np.float32)))


# --- frozen, but moving ---


def test_frozen_but_moving(rng):
    """It normalizes by the statistics before this batch, and may be called again before the backward pass."""
    bn, x = nn.BatchNorm(3, momentum=0, **F64), normal(rng, 8, 3, requires_grad=True)
    bn(x * 2 + 1)
    y = bn.eval()(x).numpy()
    bn.train().freeze(affine=False, moving=False)
    first, second = bn(x), bn(x)
    close(first, y)
    close(second, (x.numpy() - x.numpy().mean(0)) / np.sqrt(x.numpy().var(0, ddof=1) + 1e-3))
    (first + second).sum().backward()
    assert x.grad.numpy().all()
    assert bn.freeze()(mg.zeros((0, 3), dtype=np.float64)).shape == (0, 3)


def test_frozen_layers_skip_what_is_not_finite(rng):
    bn, values = nn.BatchNorm(3, on_nonfinite="skip", **F64), rng.standard_normal((8, 3))
    bn(mg.tensor(values))
    before = content(bn.freeze(moving=False))
    values[0] = np.nan
    with np.errstate(invalid="ignore"):
        bn(mg.tensor(values))
    assert content(bn) == before


def test_freezing_does_not_change_what_eval_computes(rng):
    bn, x = nn.BatchNorm(3, statistics="batch", **F64), normal(rng, 8, 3)
    bn(x * 2)
    y = bn.eval()(x)
    equal(bn.freeze()(x), y)
    equal(bn.train()(x), y)
    with refuses(ValueError, "FrozenBatchNorm.of: expected statistics to freeze"):
        nn.FrozenBatchNorm.of(bn)


def test_a_merged_batch_of_one_value_is_refused():
    words = "more than one value per channel in the whole batch, got 1.0"
    with nn.merging_statistics(lambda layer, own: own), refuses(ValueError, words):
        nn.BatchNorm(3, **F64)(mg.ones((1, 3), dtype=np.float64))


# --- running statistics that were not updated yet ---


@pytest.mark.parametrize(
    "around",
    [
        lambda bn: bn,
        lambda bn: nn.Sequential(nn.Sequential(bn)),
        lambda bn: lambda x: bn(x, mask=device(np.ones(2, bool))),
        lambda bn: mg.jit(nn.Sequential(bn)),
        lambda bn: lambda x: mg.capture(bn, x)(x),
    ],
)
def test_the_warning_points_at_the_caller(around):
    model = around(nn.BatchNorm(3).eval())
    with pytest.warns(UserWarning, match="never fed") as caught:
        model(mg.ones((2, 3)))
    assert {w.filename for w in caught} == {__file__}


def test_warnings_of_twins_and_of_values_set_by_hand(rng):
    fed, by_hand = nn.BatchNorm(3), nn.BatchNorm(3)
    fed(mg.tensor(rng.standard_normal((4, 3)), dtype=np.float32))
    by_hand.running_var.data = by_hand.running_var.data + 1
    for layer in (fed, by_hand):
        layer.eval()(mg.ones((2, 3)))
    custom = nn.BatchNorm(3, running_var_init=lambda shape, rng: np.full(shape, 2.0)).eval()
    for layer in (fed.twin(), custom, custom.twin()):
        with pytest.warns(UserWarning, match="never fed"):
            layer(mg.ones((2, 3)))
    equal(custom.twin().running_var, [2, 2, 2])


def test_twins_and_frozen_copies_stay_on_the_backend(rng, backend):
    other = "strict" if backend == "numpy" else "numpy"
    bn = nn.BatchNorm(3, axis=-1).to(other)
    x = mg.tensor(rng.standard_normal((2, 4, 3)), dtype=np.float32, backend=other)
    bn(x)
    equal(nn.FrozenBatchNorm.of(bn)(x), bn.eval()(x))
    assert {t.backend for t in bn.twin().buffers()} == {other}
    assert bn.twin().train()(x).backend == other


def test_repr_and_conventions(rng):
    assert "ddof_running=0" in repr(nn.BatchNorm(3, ddof_running=0))
    assert "statistics='batch'" in repr(nn.BatchNorm(3, statistics="batch"))
    axes = {name: nn.BatchNorm.like(name, 3).axis for name in nn.CONVENTIONS}
    first = dict.fromkeys(["torch", "chainer", "onnx", "paper"], 1)
    assert axes == first | dict.fromkeys(["keras", "tf1", "flax"], -1)
    x = normal(rng, 4, 3, 2)
    assert nn.BatchNorm(np.int64(3), axis=np.int64(1), **F64)(x).shape == x.shape
