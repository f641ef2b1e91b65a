"""Combinations of batch norm's settings that once gave, or easily give, a wrong number or a partial update."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, device, equal, leaf, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


def far(rng, n=256, mean=1e6):
    """float32 values whose deviations are small beside their mean, and their exact variance."""
    values = (mean + 0.1 * rng.standard_normal((n, 3))).astype(np.float32)
    return values, values.astype(np.float64).var(0)


def by_itself(layer, own):
    return own


# --- degrees of freedom ---


def test_weights_know_degrees_of_freedom(rng):
    x, ones = normal(rng, 8, 3), device(np.ones(8))
    expected = mg.batch_norm(x, None, None, ddof=1)[0]
    close(mg.weighted_batch_norm(x, ones, None, None, ddof=1)[0], expected)
    close(nn.BatchNorm(3, ddof_norm=1, **F64)(x, weight=ones), expected)
    with nn.merging_statistics(by_itself):
        close(nn.BatchNorm(3, ddof_norm=1, **F64)(x), expected)
    for ddof in (-1, 8, 9):
        with refuses(ValueError, "expected 0 <= ddof < 8"):
            mg.batch_norm(x, None, None, ddof=ddof)
        with refuses(ValueError, "expected 0 <= ddof < 8.0, the sum of the weights"):
            mg.weighted_batch_norm(x, ones, None, None, ddof=ddof)


def test_renorm_knows_degrees_of_freedom(rng):
    bn, x = nn.BatchRenorm(3, np.inf, np.inf, ddof_norm=1, **F64), normal(rng, 8, 3)
    bn(x * 2 + 1)
    y = bn.eval()(x)
    close(bn.train()(x), y)


# --- large means ---


def test_large_means_with_weights(rng):
    """Moments, the gradient of M2, outputs, and running statistics of a frozen layer that moves."""
    values, exact = far(rng)
    found = mg.moments(mg.tensor(values), weight=device(np.ones(256)))
    close(found.var(), exact, 1e-4)
    same = mg.tensor(np.full((9, 3), 1e6 / 3, np.float32))
    assert not mg.moments(same, weight=device(np.ones(9))).m2.numpy().any()
    single, double = (
        mg.grad(mg.moments(x).m2.sum(), x).numpy()
        for x in (leaf(values, dtype) for dtype in (np.float32, np.float64))
    )
    assert np.abs(single - double).max() < 1e-4 * np.abs(double).max()
    mask = rng.random(256) < 0.7
    y = nn.BatchNorm(3, eps=1e-6)(mg.tensor(values), mask=device(mask)).numpy()[mask]
    there = values[mask].astype(np.float64)
    close(y, (there - there.mean(0)) / np.sqrt(there.var(0) + 1e-6), 1e-5)
    bn = nn.BatchNorm(3, momentum=0).freeze(moving=False)
    bn.num_batches.data = bn.num_batches.data + 1
    bn(mg.tensor(values), mask=device(mask))
    close(bn.running_var, there.var(0, ddof=1), 1e-4)


def test_numbers_whose_squares_do_not_overflow_are_finite(rng):
    bn = nn.BatchNorm(2000)
    bn(mg.tensor((1e18 * rng.standard_normal((4, 2000))).astype(np.float32)))
    assert bn.num_batches.item() == 1
    with np.errstate(over="ignore"), refuses(ValueError, "or numbers whose squares overflow"):
        bn(mg.tensor((1e20 * rng.standard_normal((4, 2000))).astype(np.float32)))


# --- frozen, but moving ---


def test_frozen_but_moving(rng):
    """It normalizes by what it remembered before this batch, and may be called again before the backward pass."""
    bn, x = nn.BatchNorm(3, momentum=0, **F64), normal(rng, 8, 3, requires_grad=True)
    bn(x * 2 + 1)
    y = bn.eval()(x).numpy()
    bn.train().freeze(affine=False, moving=False)
    first, second = bn(x), bn(x)
    close(first, y)
    close(second, (x.numpy() - x.numpy().mean(0)) / np.sqrt(x.numpy().var(0, ddof=1) + 1e-3))
    (first + second).sum().backward()
    assert x.grad.numpy().all()


def test_frozen_whole_takes_an_empty_batch(rng):
    bn = nn.BatchNorm(3, **F64)
    bn(normal(rng, 8, 3))
    assert bn.freeze()(mg.zeros((0, 3), dtype=np.float64)).shape == (0, 3)


def test_frozen_layers_skip_what_is_not_finite(rng):
    bn, values = nn.BatchNorm(3, on_nonfinite="skip", **F64), rng.standard_normal((8, 3))
    bn(mg.tensor(values))
    bn.freeze(moving=False)
    before = content(bn)
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


# --- merging ---


def test_a_merged_batch_of_one_value_is_refused():
    words = "more than one value per channel in the whole batch, got 1.0"
    with nn.merging_statistics(by_itself), refuses(ValueError, words):
        nn.BatchNorm(3, **F64)(mg.ones((1, 3), dtype=np.float64))


# --- nothing half done ---


def test_a_bad_virtual_batch_moves_nothing(rng):
    ghost, values = nn.GhostBatchNorm(3, 3, **F64), rng.standard_normal((6, 3))
    values[4] = np.nan
    before = content(ghost)
    with refuses(ValueError, "NaN or Inf"):
        ghost(mg.tensor(values))
    assert content(ghost) == before
    ghost.on_nonfinite = "skip"
    ghost(mg.tensor(values))
    assert ghost.num_batches.item() == 1


def test_population_statistics_of_too_little_weight(rng):
    bn = nn.BatchNorm(3, **F64)
    model = Weighing(bn, 0.2)
    with refuses(ValueError, "expected more than one value per channel, got 0.8"):
        nn.population_statistics(model, [rng.standard_normal((4, 3))])
    with refuses(ValueError, "expected more than one value per channel, got 0.8"):
        mg.study.gap(model, [rng.standard_normal((4, 3))])


class Weighing(nn.Module):
    """Weighs all positions alike."""

    def __init__(self, bn, weight):
        self.bn, self.weight = bn, weight

    def forward(self, x):
        return self.bn(x, weight=device(np.full(len(x), self.weight)))


def test_population_statistics_keep_a_schedule(rng):
    bn = nn.BatchRenorm(3, **F64)
    bn.num_batches.data = bn.num_batches.data + 40_000
    nn.population_statistics(bn, [rng.standard_normal((4, 3))])
    assert bn.bounds() == (3, 5)


def test_population_statistics_of_time_steps(rng):
    bn, x = nn.RecurrentBatchNorm(3, 5, **F64), normal(rng, 6, 3)

    class Steps(nn.Module):
        def __init__(self):
            self.bn = bn

        def forward(self, x):
            return mg.stack([self.bn(x + 10 * t, t) for t in range(5)])

    for t in range(3):
        bn(x, t)
    nn.population_statistics(Steps(), [x], "total")
    for t, layer in enumerate(bn.steps):
        close(layer.running_mean, x.numpy().mean(0) + 10 * t)


def test_frozen_but_moving_layers_are_no_population(rng):
    a = nn.BatchNorm(3, **F64)
    a(normal(rng, 8, 3))
    before = content(a.freeze(moving=False))
    nn.population_statistics(
        nn.Sequential(a, nn.BatchNorm(3, **F64)), [rng.standard_normal((8, 3))]
    )
    assert content(a) == before
    with refuses(ValueError, "no batch norm that is not frozen"):
        nn.population_statistics(a, [np.ones((2, 3))])


# --- small print ---


def test_a_move_is_a_change_in_place(rng):
    bn, x = nn.BatchNorm(3, **F64), normal(rng, 8, 3)
    for buffer in bn.buffers():
        x.requires_grad = True
        y = (x * buffer.detach().astype(np.float64)).sum()
        bn(x)
        if buffer is bn.num_batches:
            continue  # its float64 copy is another tensor
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()


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
def test_the_warning_of_statistics_never_fed_points_at_the_caller(around):
    model = around(nn.BatchNorm(3).eval())
    with pytest.warns(UserWarning, match="never fed") as caught:
        model(mg.ones((2, 3)))
    assert {w.filename for w in caught} == {__file__}


def test_warnings_of_twins_and_of_what_was_set_by_hand(rng):
    a = nn.BatchNorm(3)
    a(mg.tensor(rng.standard_normal((4, 3)), dtype=np.float32))
    a.eval()(mg.ones((2, 3)))
    with pytest.warns(UserWarning, match="never fed"):
        a.twin()(mg.ones((2, 3)))
    custom = nn.BatchNorm(3, running_var_init=lambda shape, rng: np.full(shape, 2.0)).eval()
    with pytest.warns(UserWarning, match="never fed"):
        custom(mg.ones((2, 3)))
    with pytest.warns(UserWarning, match="never fed"):
        custom.twin()(mg.ones((2, 3)))
    equal(custom.twin().running_var, [2, 2, 2])
    set_by_hand = nn.BatchNorm(3).eval()
    set_by_hand.running_var.data = set_by_hand.running_var.data + 1
    set_by_hand(mg.ones((2, 3)))


def test_backends_and_axes_go_along(backend):
    other = "strict" if backend == "numpy" else "numpy"
    bn = nn.BatchNorm(3, axis=-1).to(other)
    x = mg.tensor(
        np.random.default_rng(0).standard_normal((2, 4, 3)), dtype=np.float32, backend=other
    )
    bn(x)
    equal(nn.FrozenBatchNorm.of(bn)(x), bn.eval()(x))
    assert {t.backend for t in bn.twin().buffers()} == {other}
    assert bn.twin().train()(x).backend == other


def test_ghosts_in_eval_collect_nothing(rng):
    ghost = nn.GhostBatchNorm(3, 4, statistics="batch", **F64).eval()
    before = content(ghost)
    ghost(normal(rng, 8, 3))
    assert content(ghost) == before


def test_renorm_keeps_float16(rng):
    assert (
        nn.BatchRenorm(3)(mg.tensor(rng.standard_normal((8, 3)), dtype="float16")).dtype
        == "float16"
    )


def test_settings_reach_the_steps():
    equal(nn.RecurrentBatchNorm(3, 2, gamma_init=nn.init.ones).steps[1].gamma, [1, 1, 1])


def test_repr_and_conventions():
    assert "ddof_running=0" in repr(nn.BatchNorm(3, ddof_running=0))
    assert "statistics='batch'" in repr(nn.BatchNorm(3, statistics="batch"))
    axes = {name: nn.BatchNorm.like(name, 3).axis for name in nn.CONVENTIONS}
    first = dict.fromkeys(["torch", "chainer", "onnx", "paper"], 1)
    assert axes == first | dict.fromkeys(["keras", "tf1", "flax"], -1)


def test_axes_may_be_lists_and_numpy_integers(rng):
    x = normal(rng, 4, 3, 2)
    equal(mg.moments(x, axis=[1, 2]).mean, mg.moments(x, axis=(1, 2)).mean)
    ones = device(np.ones(4))
    assert mg.weighted_batch_norm(x, ones, None, None, axis=[1, 2])[0].shape == x.shape
    assert nn.BatchNorm(np.int64(3), axis=np.int64(1), **F64)(x).shape == x.shape
