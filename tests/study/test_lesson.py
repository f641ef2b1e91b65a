"""check_step: right answers are exact, mistakes are named, other wrong answers are wrong and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import device, error_table, leaf, refuses

import minigrad as mg
from minigrad.study.steps import RULES
from minigrad.tensor import apply

EPS = 1e-3


@pytest.fixture
def numbers(rng):
    """x, gamma, beta, gy as arrays."""
    x, gy = rng.normal(1, 2, (7, 3)), rng.standard_normal((7, 3))
    return x, rng.uniform(0.5, 2, 3), rng.standard_normal(3), gy


def check(name, mine, numbers, **options):
    return mg.study.check_step(name, mine, *numbers, **options)


def answers(x, gamma, beta, gy, axes=(0,), eps=EPS, ddof=0):
    """Every value and gradient, by the closed forms that a textbook gives, in NumPy; gamma and beta broadcast."""
    m = math.prod(x.shape[i] for i in axes)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=ddof)
    inv_std = (var + eps) ** -0.5
    xhat = (x - mean) * inv_std
    gxhat = gy * gamma
    gvar = (gxhat * (x - mean)).sum(axes, keepdims=True) * -0.5 * inv_std**3
    means = gxhat.mean(axes, keepdims=True), (gxhat * xhat).sum(axes, keepdims=True) / (m - ddof)
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
        "inv_std": inv_std,
        "ginv_std": (gxhat * (x - mean)).sum(axes, keepdims=True),
        "gscaled": gy,
        "gbeta": gy.sum(axes, keepdims=True),
        "ggamma": (gy * xhat).sum(axes, keepdims=True),
        "gxhat": gxhat,
        "gstd": gvar * 2 / inv_std,
        "gvar_eps": gvar,
        "gvar": gvar,
        "gsquared": np.broadcast_to(gvar / (m - ddof), x.shape),
        "gcentered": gxhat * inv_std + gvar * 2 * (x - mean) / (m - ddof),
        "gmean": -gxhat.sum(axes, keepdims=True) * inv_std,
        "gx": (gxhat - means[0] - xhat * means[1]) * inv_std,
    }


def test_all_names_have_an_answer_here(numbers):
    assert list(answers(*numbers)) == list(RULES)


@pytest.mark.parametrize("kind", [device, mg.tensor, np.asarray])
@pytest.mark.usefixtures("backend")
def test_right_answers_are_exact(numbers, kind):
    given = [kind(a) for a in numbers]
    for name, mine in answers(*numbers).items():
        once = mine[:1] if name == "gsquared" else mine  # the same for all of a channel
        for answer in (once, mine, mine.reshape(3) if len(mine) == 1 else mine):
            verdict = check(name, kind(answer), [mg.tensor(a) for a in given])
            assert str(verdict) == f"{name} is exact: it is right to the last digits of float64."
            assert (verdict.verdict, verdict.mistake, verdict.hidden) == ("exact", None, ())
            assert 0 <= verdict.difference < 1e-12


@pytest.mark.parametrize(("axis", "axes"), [(1, (0, 2, 3)), (-1, (0, 1, 2)), ((1, 3), (0, 2))])
def test_other_layouts_eps_and_variances(rng, axis, axes):
    shape = (3, 2, 4, 5)
    x, gy = rng.standard_normal(shape), rng.standard_normal(shape)
    wide = [1 if i in axes else n for i, n in enumerate(shape)]
    gamma, beta = rng.uniform(0.5, 2, wide), rng.standard_normal(wide)
    given = x, gamma.squeeze(axes), beta.squeeze(axes), gy
    for ddof in (0, 1):
        for name in ("y", "gsquared", "ggamma", "gx"):
            mine = answers(x, gamma, beta, gy, axes, 0.5, ddof)[name]
            for answer in (mine, mine if mine.shape == shape else mine.squeeze(axes)):
                verdict = check(name, answer, given, axis=axis, eps=0.5, ddof=ddof)
                assert verdict.verdict == "exact", str(verdict)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_answers_of_lower_precision_are_close(rng, dtype):
    x, gy = rng.normal(1, 2, (1000, 3)), rng.standard_normal((1000, 3))
    numbers = x, rng.uniform(0.5, 2, 3), rng.standard_normal(3), gy
    for name, right in answers(*numbers).items():
        verdict = check(name, right.astype(dtype), numbers)
        words = (
            f"{name} is close: the largest difference, {verdict.difference:.2g}, is one that float"
        )
        assert str(verdict).startswith(words)
        assert (verdict.verdict, verdict.mistake) == ("close", None)


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
                assert check(name, 1.01 * mine, numbers).verdict == "wrong"


LINES = {"std": "sqrt(var_eps)", "gbeta": "sum(gy)", "gx": "gcentered + gmean / m"}


@pytest.mark.parametrize("name", LINES)
def test_answers_that_are_wrong_in_no_known_way(rng, numbers, name):
    right = answers(*numbers)[name]
    one_number = right.copy()
    one_number.flat[1] *= 1.01
    for mine in (rng.standard_normal(right.shape), 1 + right**2, one_number):
        verdict = check(name, mine, numbers)
        assert str(verdict).startswith(f"{name} is wrong by up to ")
        assert str(verdict).endswith(f"no known mistake. Right is: {name} = {LINES[name]}.")
        assert (verdict.verdict, verdict.mistake) == ("wrong", None)
        np.testing.assert_allclose(verdict.difference, np.abs(mine - right).max(), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite(numbers, value):
    mine = answers(*numbers)["gx"].copy()
    mine[2, 1] = value
    verdict = check("gx", mine, numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", "not finite")
    assert (
        str(verdict)
        == "gx is wrong. Likely mistake: NaN or infinity, of a division by 0: eps left out?"
    )


def test_a_wrong_shape_is_wrong_and_said(numbers):
    verdict = check("gx", np.zeros((4, 2)), numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", "wrong shape")
    assert np.isnan(verdict.difference)
    assert str(verdict).startswith("gx is wrong: expected shape (7, 3), got (4, 2). Right is: gx")
    words = "Likely mistake: missing sum, gbeta = gy. Right is: gbeta = sum(gy)."
    assert (
        str(check("dbeta", numbers[-1], numbers))
        == f"dbeta is wrong: expected shape (3,), got (7, 3). {words}"
    )


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_wrong_axes_of_images(rng, axes):
    x, gy = rng.standard_normal((4, 3, 5)), rng.standard_normal((4, 3, 5))
    mine = answers(x, 1, 0, gy, axes)
    for name in ("mean", "var", "xhat", "gbeta", "ggamma", "gx"):
        assert check(name, mine[name].squeeze(), (x, None, None, gy)).mistake == "wrong axis"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_another_eps_is_recognized(numbers, dtype):
    for name, word in {"gx": 1e-5, "std": 1e-5, "y": 0.01}.items():
        verdict = check(name, answers(*numbers, eps=word)[name].astype(dtype), numbers)
        assert (
            str(verdict).endswith(f" with eps = {word:g}, not 0.001.") and verdict.mistake is None
        )
    assert (
        check("gx", answers(*numbers, eps=0)["gx"].astype(dtype), numbers).mistake == "eps left out"
    )
    mine = answers(*numbers)["gx"] + 4e-7
    assert str(check("gx", mine, numbers)).endswith(
        "finite differences, float32 on the way, or eps left out?"
    )


def test_mistakes_that_the_problem_hides(numbers):
    """The answer is right, and would be with them."""
    x, gamma, beta, gy = numbers
    square = [a[:3] for a in (x, gy)]
    hidden = {
        "missing gamma": (x, gamma**0, beta, gy),
        "missing variance path": (x, gamma, beta, gy**0),
        "mean not subtracted": (x - x.mean(0), gamma, beta, gy),
        "D for m": (square[0], gamma, beta, square[1]),
    }
    for mistake, given in hidden.items():
        verdict = check(
            "y" if "mean" in mistake else "gx",
            answers(*given)["y" if "mean" in mistake else "gx"],
            given,
        )
        assert verdict.verdict == "exact" and mistake in verdict.hidden, str(verdict)
        assert "But some mistakes do not show on this problem: " in str(verdict)


def test_names_of_other_courses(numbers):
    names = {
        "dx": "gx", "dl_dx": "gx", "dgamma": "ggamma", "dl_dbeta": "gbeta", "dvar": "gvar", "dmu": "gmean",
        "dxhat": "gxhat", "divar": "ginv_std", "ivar": "inv_std", "mu": "mean", "x_hat": "xhat", "out": "y",
    }  # fmt: skip
    for other, name in names.items():
        verdict = check(other, answers(*numbers)[name], numbers)
        assert str(verdict).startswith(f"{other} is exact") and other in verdict._repr_html_()


def test_parameters_of_none_are_one_and_zero(numbers):
    x, _, _, gy = numbers
    for name, mine in answers(x, 1, 0, gy).items():
        verdict = check(name, mine, (x, None, None, gy))
        assert (verdict.verdict, verdict.hidden) == ("exact", ())


def test_a_float32_problem_is_judged_by_its_numbers_in_float64(numbers):
    rounded = [a.astype(np.float32) for a in numbers]
    exact = answers(*(a.astype(np.float64) for a in rounded))
    assert check("gx", exact["gx"], rounded).verdict == "exact"
    assert check("gx", exact["gx"].astype(np.float32), rounded).verdict == "close"


@pytest.mark.usefixtures("backend")
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


NAMES = f"check_step: expected a name out of {', '.join(RULES)}, got 'dout'"


@error_table(
    {
        "unknown name": (ValueError, NAMES, ask("dout")),
        "no numbers": (TypeError, "expected numbers", ask(mine=np.array(["a"]))),
        "x": (TypeError, "check_step, argument x: expected a minigrad Tensor, got list", ask(x=[[1.0]])),
        "gy": (ValueError, "gy of shape (4, 3) for x (4, 3) with axis=1, got (3,)", ask(gy=mg.ones(3))),
        "eps": (ValueError, "check_step: expected eps > 0, got -1", ask(eps=-1)),
    }
)  # fmt: skip
def test_errors(error, words, call):
    with refuses(error, words):
        call()
