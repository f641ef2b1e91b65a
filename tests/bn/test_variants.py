"""The relatives of batch norm, each against what it is made to equal."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, content, equal, leaf, normal, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


def trained(layer, rng, steps=3):
    for _ in range(steps):
        layer(mg.tensor(2 * rng.standard_normal((8, 3)) + 1))
    return layer


class TestDebiased:
    def test_as_adam_does(self, rng):
        """Zero at first, exponential averages, divided by 1 - momentum^n; the biased layer's start is gone."""
        bn, zero = nn.DebiasedBatchNorm(3, momentum=0.9, **F64), 0.0
        for n in range(1, 30):
            x = normal(rng, 5, 3)
            bn(x)
            zero = 0.9 * zero + 0.1 * x.numpy().mean(0)
            close(bn.running_mean, zero / (1 - 0.9**n))

    def test_constant_statistics_from_the_first_batch_on(self, rng):
        x = normal(rng, 5, 3)
        for momentum in (0.99, None):
            bn = nn.DebiasedBatchNorm(3, momentum=momentum, **F64)
            for _ in range(3):
                bn(x)
                close(bn.running_var, x.numpy().var(0, ddof=1))


class TestGhost:
    @pytest.mark.parametrize("n", [3, 4, 8, 11])
    def test_each_virtual_batch_is_one(self, rng, n):
        ghost, plain = nn.GhostBatchNorm(3, 4, **F64), nn.BatchNorm(3, **F64)
        x = normal(rng, n, 3, 2)
        expected = [plain(x[i : i + 4]).numpy() for i in range(0, n, 4)]
        close(ghost(x), np.concatenate(expected), 0)
        assert content(ghost) == content(plain)

    def test_gradients(self, rng):
        ghost = nn.GhostBatchNorm(3, 3, **F64)
        assert mg.gradcheck(ghost, normal(rng, 6, 3))
        y = ghost(x := normal(rng, 6, 3, requires_grad=True))
        gx = mg.grad(y[:3].sum() + (y[:3] ** 2).sum(), x)
        assert not gx.numpy()[3:].any()

    def test_masks_are_cut_too(self, rng):
        x, plain = normal(rng, 6, 3), nn.BatchNorm(3, **F64)
        y = nn.GhostBatchNorm(3, 3, **F64)(x, mask=mg.tensor(np.arange(6) != 2))
        close(y[:2], plain(x[:2]))
        close(y[3:], plain(x[3:]))

    def test_eval_is_batch_norms(self, rng):
        ghost, x = trained(nn.GhostBatchNorm(3, 4, **F64), rng).eval(), normal(rng, 8, 3)
        close(ghost(x), mg.frozen_batch_norm(x, None, None, ghost.running_mean, ghost.running_var))
        ghost.statistics, before = "batch", content(ghost)
        ghost(x)
        assert content(ghost) == before

    def test_a_bad_virtual_batch_moves_nothing(self, rng):
        ghost, values = nn.GhostBatchNorm(3, 3, **F64), rng.standard_normal((6, 3))
        values[4] = np.nan
        before = content(ghost)
        with refuses(ValueError, "NaN or Inf"):
            ghost(mg.tensor(values))
        assert content(ghost) == before
        ghost.on_nonfinite = "skip"
        ghost(mg.tensor(values))
        assert ghost.num_batches.item() == 1


class TestRenorm:
    @pytest.mark.parametrize("ddof", [0, 1])
    def test_unclipped_it_is_eval_mode(self, rng, ddof):
        bn = trained(nn.BatchRenorm(3, np.inf, np.inf, ddof_norm=ddof, **F64), rng)
        bn.gamma.data = bn.gamma.data * 1.5
        bn.beta.data = bn.beta.data - 2
        x = normal(rng, 8, 3)
        y = bn.eval()(x).numpy()
        close(bn.train()(x), y)

    def test_clipped_to_nothing_it_is_batch_norm(self, rng):
        bn, x = trained(nn.BatchRenorm(3, 1, 0, **F64), rng), normal(rng, 8, 3)
        close(bn(x), mg.batch_norm(x, None, None)[0])

    @pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}])
    def test_by_hand(self, rng, settings):
        bn = trained(nn.BatchRenorm(3, 1.1, 0.3, momentum=0.9, **F64, **settings), rng)
        x, mean, var = normal(rng, 8, 3), bn.running_mean.numpy(), bn.running_var.numpy()
        sigma, running = np.sqrt(x.numpy().var(0) + 1e-3), np.sqrt(var + 1e-3)
        r = np.clip(sigma / running, 1 / 1.1, 1.1)
        d = np.clip((x.numpy().mean(0) - mean) / running, -0.3, 0.3)
        assert (r != sigma / running).any() and (np.abs(d) < 0.3).any()
        close(bn(x), (x.numpy() - x.numpy().mean(0)) / sigma * r + d)

    def test_the_correction_is_a_constant_to_the_gradient(self, rng):
        bn, values, gy = (
            trained(nn.BatchRenorm(3, 3, 5, **F64), rng),
            rng.normal(size=(8, 3)),
            normal(rng, 8, 3),
        )
        x = leaf(values)
        r = np.sqrt(values.var(0) + 1e-3) / np.sqrt(bn.running_var.numpy() + 1e-3)
        bn(x).backward(gy)
        z = leaf(values)
        mg.batch_norm(z, None, None)[0].backward(gy)
        close(x.grad, z.grad.numpy() * r)

    def test_schedules(self, rng):
        bn = nn.BatchRenorm(3, r_max=lambda n: 1 + n, d_max=lambda n: 2 * n, **F64)
        assert bn.bounds() == (1, 0)
        assert trained(bn, rng, 3).bounds() == (4, 6)
        paper = nn.BatchRenorm(3)
        for seen, r_max, d_max in [(0, 1, 0), (5000, 1, 0), (22_500, 2, 4.375), (60_000, 3, 5)]:
            paper.num_batches.data = paper.num_batches.data * 0 + seen
            assert paper.bounds() == (r_max, d_max)

    def test_masked(self, rng):
        a, b = (trained(nn.BatchRenorm(3, 2, 2, **F64), np.random.default_rng(1)) for _ in range(2))
        x, mask = normal(rng, 6, 3), mg.tensor(np.arange(6) < 4)
        y = a(x, mask=mask)
        close(y[:4], b(x[:4]))
        assert not y.numpy()[4:].any()
        assert nn.BatchRenorm(3)(x.astype("float16")).dtype == np.float16


class TestFrozen:
    @pytest.mark.parametrize("affine", [True, False])
    def test_is_what_the_layer_computes_in_eval(self, rng, affine):
        bn = trained(nn.BatchNorm(3, eps=0.1, center=affine, scale=affine, **F64), rng)
        frozen, x = nn.FrozenBatchNorm.of(bn), normal(rng, 5, 3)
        before = content(frozen)
        expected = bn.eval()(x)
        for mode in [True, False]:
            equal(frozen.train(mode)(x), expected)
        assert content(frozen) == before
        assert not frozen.parameters() and not frozen(x).requires_grad

    def test_names_itself(self):
        with refuses(ValueError, "FrozenBatchNorm '0': frozen_batch_norm: expected gamma of shape"):
            nn.Sequential(nn.FrozenBatchNorm(3))(mg.ones((2, 4)))


class TestRecurrent:
    def test_each_step_is_a_batch_norm(self, rng):
        bn = nn.RecurrentBatchNorm(3, 2, momentum=0, **F64)
        sequence = [normal(rng, 6, 3) + 10 * t for t in range(4)]
        for t, x in enumerate(sequence):
            close(bn(x, t), 0.1 * mg.batch_norm(x, None, None)[0])
        close(bn.steps[0].running_mean, sequence[0].mean(0))
        close(bn.steps[1].running_mean, sequence[3].mean(0))
        assert [name for name, _ in bn.named_parameters()] == ["steps.0.gamma", "steps.0.beta"]
        equal(nn.RecurrentBatchNorm(3, 2, gamma_init=nn.init.ones).steps[1].gamma, [1, 1, 1])

    def test_longer_sequences_use_the_last_trained_step(self, rng):
        bn, x = nn.RecurrentBatchNorm(3, 5, **F64), normal(rng, 6, 3)
        for t in range(3):
            bn(x + t, t)
        bn.eval()
        ys = [bn(x, t).numpy() for t in range(8)]
        assert not np.array_equal(ys[1], ys[2])
        for y in ys[3:]:
            np.testing.assert_array_equal(y, ys[2])

    def test_masks(self, rng):
        bn, x = nn.RecurrentBatchNorm(3, 1, **F64), normal(rng, 6, 3)
        y = bn(x, 0, mg.tensor(np.arange(6) < 4))
        close(y[:4], 0.1 * mg.batch_norm(x[:4], None, None)[0])

    def test_untrained(self):
        with pytest.warns(UserWarning, match=r"BatchNorm 'steps.1': eval with running stat"):
            nn.RecurrentBatchNorm(3, 2).eval()(mg.ones((2, 3)), 4)


def called(layer, *arguments, shape=(2, 3)):
    return lambda: layer()(mg.ones(shape), *arguments)


POSITIVE = "to be a positive integer, got 0"
#: words of the message, and what raises it
ERRORS = {
    "DebiasedBatchNorm: expected momentum < 1": lambda: nn.DebiasedBatchNorm(3, momentum=1),
    f"GhostBatchNorm: expected virtual_batch_size {POSITIVE}": lambda: nn.GhostBatchNorm(3, 0),
    "GhostBatchNorm: axis 0 is the batch, and cannot be kept, got axis=(0, 2)": called(
        lambda: nn.GhostBatchNorm((4, 3), 2, axis=(0, 2)), shape=(4, 2, 3)
    ),
    "cannot be kept, got axis=-2": called(lambda: nn.GhostBatchNorm(2, 2, axis=-2)),
    "BatchRenorm: corrects towards running": lambda: nn.BatchRenorm(3, statistics="population"),
    "BatchRenorm: expected r_max >= 1 and d_max >= 0, got 0.5 and 0": lambda: nn.BatchRenorm(
        3, 0.5, 0
    ),
    "got 1 and -1": lambda: nn.BatchRenorm(3, 1, lambda n: -1),
    f"RecurrentBatchNorm: expected max_steps {POSITIVE}": lambda: nn.RecurrentBatchNorm(3, 0),
    **{
        f"RecurrentBatchNorm: expected step as an int >= 0, got {step}": called(
            lambda: nn.RecurrentBatchNorm(3, 2), step
        )
        for step in (-1, 1.0)
    },
}


@pytest.mark.parametrize(("words", "call"), ERRORS.items(), ids=ERRORS)
def test_errors(words, call):
    with refuses(ValueError, words):
        call()
