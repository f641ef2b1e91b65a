"""check_step: right answers are exact, planted mistakes are named, other wrong answers are wrong and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import device, error_table, leaf, refuses

import minigrad as mg
from minigrad.study.steps import RULES
from minigrad.tensor import apply

pytestmark = pytest.mark.usefixtures("backend")

EPS = 1e-3


@pytest.fixture
def numbers(rng):
    """x, gamma, beta, gy as arrays."""
    x, gy = rng.normal(1, 2, (7, 3)), rng.standard_normal((7, 3))
    return x, rng.uniform(0.5, 2, 3), rng.standard_normal(3), gy


def check(name, mine, numbers, **options):
    tensors = [a if a is None else mg.tensor(a) for a in numbers]
    return mg.study.check_step(name, mine, *tensors, **options)


def answers(x, gamma, beta, gy, axes=(0,), eps=EPS):
    """Every value and gradient, by the closed forms that a textbook gives, in NumPy; gamma and beta broadcast."""
    m = math.prod(x.shape[i] for i in axes)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    inv_std = (var + eps) ** -0.5
    xhat = (x - mean) * inv_std
    gxhat = gy * gamma
    gvar = (gxhat * (x - mean)).sum(axes, keepdims=True) * -0.5 * inv_std**3
    gx = gxhat - gxhat.mean(axes, keepdims=True) - xhat * (gxhat * xhat).mean(axes, keepdims=True)
    return {
        "mean": mean,
        "centered": x - mean,
        "squared": (x - mean) ** 2,
        "var": var,
        "var_eps": var + eps,
        "std": 1 / inv_std,
        "xhat": xhat,
        "scaled": gamma * xhat,
        "y": gamma * xhat + beta,
        "gscaled": gy,
        "gbeta": gy.sum(axes, keepdims=True),
        "ggamma": (gy * xhat).sum(axes, keepdims=True),
        "gxhat": gxhat,
        "gstd": gvar * 2 / inv_std,
        "gvar_eps": gvar,
        "gvar": gvar,
        "gsquared": np.broadcast_to(gvar / m, x.shape),
        "gcentered": gxhat * inv_std + gvar * 2 * (x - mean) / m,
        "gmean": -gxhat.sum(axes, keepdims=True) * inv_std,
        "gx": gx * inv_std,
    }


def test_all_names_have_an_answer_here(numbers):
    assert list(answers(*numbers)) == list(RULES)


@pytest.mark.parametrize("kind", [device, mg.tensor, np.asarray])
def test_right_answers_are_exact(numbers, kind):
    for name, mine in answers(*numbers).items():
        for answer in (mine, mine.reshape(3) if len(mine) == 1 else mine):
            verdict = check(name, kind(answer), numbers)
            assert str(verdict) == f"{name} is exact: it is right to the last digits of float64."
            assert (verdict.verdict, verdict.mistake) == ("exact", None)
            assert 0 <= verdict.difference < 1e-12


@pytest.mark.parametrize(("axis", "axes"), [(1, (0, 2, 3)), (-1, (0, 1, 2)), ((1, 3), (0, 2))])
def test_other_layouts_and_eps(rng, axis, axes):
    shape = (3, 2, 4, 5)
    x, gy = rng.standard_normal(shape), rng.standard_normal(shape)
    wide = [1 if i in axes else n for i, n in enumerate(shape)]
    gamma, beta = rng.uniform(0.5, 2, wide), rng.standard_normal(wide)
    given = x, gamma.squeeze(axes), beta.squeeze(axes), gy
    for name, mine in answers(x, gamma, beta, gy, axes, 0.5).items():
        for answer in (mine, mine if mine.shape == shape else mine.squeeze(axes)):
            verdict = check(name, answer, given, axis=axis, eps=0.5)
            assert verdict.verdict == "exact", str(verdict)


def test_float32_answers_are_close(rng):
    x, gy = rng.normal(1, 2, (1000, 3)), rng.standard_normal((1000, 3))
    numbers = x, rng.uniform(0.5, 2, 3), rng.standard_normal(3), gy
    single = answers(*(a.astype(np.float32) for a in numbers), eps=np.float32(EPS))
    for name, mine in single.items():
        assert mine.dtype == np.float32
        verdict = check(name, mine, numbers)
        assert str(verdict).startswith(f"{name} is close: the largest difference, ")
        assert (verdict.verdict, verdict.mistake) == ("close", None)
        assert 1e-12 < verdict.difference < 1e-2


def test_a_constant_channel_two_values_and_a_large_mean_are_judged_fairly(rng):
    """Where rounding leaves more than elsewhere: x - mean is 0 but for it, gx is 0 but for eps, x is large."""
    gy = rng.standard_normal((7, 3))
    gamma, beta = rng.uniform(0.5, 2, 3), rng.standard_normal(3)
    constant = np.full((7, 3), 0.1)
    mixed = np.where([True, False, True], rng.standard_normal((7, 3)), 0.1)
    large = 1000 + rng.standard_normal((7, 3))
    for x in (constant, mixed, large, large[:2]):
        numbers = x, gamma, beta, gy[: len(x)]
        for name, mine in answers(*numbers).items():
            verdict = check(name, mine, numbers)
            assert verdict.verdict == "exact", str(verdict)
            if np.abs(mine).min() > 0.1:
                verdict = check(name, 1.01 * mine, numbers)
                assert verdict.verdict == "wrong", str(verdict)


def test_answers_that_are_wrong_in_no_known_way(rng, numbers):
    for name, right in answers(*numbers).items():
        one_number = right.copy()
        one_number.flat[1] *= 1.01
        for mine in (rng.standard_normal(right.shape), 1.0001 * right, one_number):
            verdict = check(name, mine, numbers)
            assert str(verdict).startswith(f"{name} is wrong by up to ")
            equation = f"Right is: {name} = {RULES[name].equation}."
            assert str(verdict).endswith(f"It looks like no known mistake. {equation}")
            assert (verdict.verdict, verdict.mistake) == ("wrong", None)
            np.testing.assert_allclose(verdict.difference, np.abs(mine - right).max(), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite(numbers, value):
    mine = answers(*numbers)["gx"].copy()
    mine[2, 1] = value
    verdict = check("gx", mine, numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", None)
    assert not np.isfinite(verdict.difference)


def test_a_wrong_shape_is_wrong_and_said(numbers):
    verdict = check("gx", np.zeros((4, 2)), numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", None)
    assert np.isnan(verdict.difference)
    assert str(verdict).startswith("gx is wrong: expected shape (7, 3), got (4, 2).")
    gy = numbers[-1]
    assert str(check("gbeta", gy, numbers)) == (
        "gbeta is wrong: expected shape (3,), got (7, 3). Likely mistake: missing sum. Remember: gbeta = sum gy."
    )


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_wrong_axes_of_images(rng, axes):
    x, gy = rng.standard_normal((4, 3, 5)), rng.standard_normal((4, 3, 5))
    numbers = x, None, None, gy
    mine = answers(x, 1, 0, gy, axes)
    for name in ("mean", "var", "xhat", "gbeta", "ggamma", "gx"):
        verdict = check(name, mine[name].squeeze(), numbers)
        assert verdict.mistake == "wrong axis"
        assert str(verdict).endswith(f"Remember: sums and means run over axes (0, 2), not {axes}.")


def test_a_small_mistake_in_float64_is_no_rounding(numbers):
    """The effect of eps = 1e-7 is below the precision of float32, but above that of float64."""
    x = numbers[0]
    mine = x.std(0) + 1e-7
    assert check("std", mine, numbers, eps=1e-7).mistake == "eps outside the square root"
    assert check("std", mine.astype(np.float32), numbers, eps=1e-7).verdict == "close"


def test_parameters_of_none_are_one_and_zero(numbers):
    x, _, _, gy = numbers
    for name, mine in answers(x, 1, 0, gy).items():
        assert check(name, mine, (x, None, None, gy)).verdict == "exact"


def test_a_float32_problem_is_judged_by_its_numbers_in_float64(numbers):
    rounded = [a.astype(np.float32) for a in numbers]
    exact = answers(*(a.astype(np.float64) for a in rounded))
    assert check("gx", exact["gx"], rounded).verdict == "exact"
    assert check("gx", exact["gx"].astype(np.float32), rounded).verdict == "close"


def test_nothing_is_recorded_or_changed(numbers, monkeypatch):
    monkeypatch.setitem(apply.__globals__, "Node", None)  # what recording would call
    tensors = [leaf(a) for a in numbers]
    mine = answers(*numbers)["gx"]
    before = mine.copy()
    mg.study.check_step("gx", mine, *tensors)
    mg.study.check_step("y", mine, *tensors)
    np.testing.assert_array_equal(mine, before)


def ask(name="gx", mine=None, **changes):
    def call():
        x = mg.ones((4, 3))
        arguments = {"x": x, "gamma": None, "beta": None, "gy": x} | changes
        mg.study.check_step(name, np.ones((4, 3)) if mine is None else mine, **arguments)

    return call


NAMES = f"check_step: expected a name out of {', '.join(RULES)}, got 'dx'"


@error_table(
    {
        "unknown name": (ValueError, NAMES, ask("dx")),
        "no numbers": (TypeError, "expected numbers", ask(mine=np.array(["a"]))),
        "x": (TypeError, "check_step, argument x: expected a minigrad Tensor, got list", ask(x=[[1.0]])),
        "gy": (ValueError, "gy of shape (4, 3) for x (4, 3) with axis=1, got (3,)", ask(gy=mg.ones(3))),
        "eps": (ValueError, "check_step: expected eps > 0, got -1", ask(eps=-1)),
    }
)  # fmt: skip
def test_errors(error, words, call):
    with refuses(error, words):
        call()
