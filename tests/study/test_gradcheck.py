"""gradcheck accepts the right batch norm and rejects every planted mistake, naming the order and the input."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal, error_table, leaf, normal, refuses

import minigrad as mg
from minigrad.op import Op
from minigrad.study import GradientError

pytestmark = pytest.mark.usefixtures("backend")

EPS = 0.1


class BatchNorm(Op):
    """Batch norm of (m, c) with its backward in closed form: right, until a part of it is replaced."""

    def __init__(self, **parts):
        vars(self).update(parts)

    def forward(self, k, x, gamma, beta):
        return k.batch_norm(x, gamma, beta, (1,), EPS, 0)[0]

    def backward(self, node, needs, gy):
        x, gamma, _ = node.inputs
        mean, inv_std = self.statistics(x)
        xhat = (x - mean) * inv_std
        gx = self.gx(gy, xhat, self.gamma(gamma) * inv_std)
        return gx, self.ggamma(gy, xhat), self.gbeta(gy)

    def __call__(self, x, gamma, beta):
        return x.apply(self, x, gamma, beta)

    gamma = staticmethod(lambda gamma: gamma)
    statistics = staticmethod(lambda x: (x.mean(0), 1 / (x.var(0) + EPS).sqrt()))
    gx = staticmethod(lambda gy, h, scale: scale * (gy - gy.mean(0) - h * (gy * h).mean(0)))
    ggamma = staticmethod(lambda gy, h: (gy * h).sum(0))
    gbeta = staticmethod(lambda gy: gy.sum(0))


def off_by_one_percent(gy, h, scale):
    """One of the gradient's numbers."""
    off = np.ones(gy.shape)
    off[2, 1] = 1.01
    return RIGHT.gx(gy, h, scale) * mg.tensor(off)


class ConstantOutput(Op):
    """Sigmoid whose backward uses a detached output."""

    def forward(self, k, x):
        return k.sigmoid(x)

    def backward(self, node, needs, gy):
        y = mg.sigmoid(node.inputs[0]).detach()
        return gy * y * (1 - y)

    def __call__(self, x, gamma, beta):
        return x.apply(self, x) * gamma + beta


RIGHT = BatchNorm()
#: ops with a wrong first derivative, and where
FIRST_ORDER = {
    "no 1/m": (BatchNorm(gx=lambda gy, h, s: s * (gy - gy.sum(0) - h * (gy * h).sum(0))), "input 0"),
    "no mean path": (BatchNorm(gx=lambda gy, h, s: s * (gy - h * (gy * h).mean(0))), "input 0"),
    "no variance path": (BatchNorm(gx=lambda gy, h, s: s * (gy - gy.mean(0))), "input 0"),
    "statistics constant, as in eval mode": (BatchNorm(gx=lambda gy, h, s: s * gy), "input 0"),
    "zero": (BatchNorm(gx=lambda gy, h, s: 0 * gy * h), "input 0"),
    "eps outside the root": (BatchNorm(statistics=lambda x: (x.mean(0), 1 / (x.var(0).sqrt() + EPS))), "input 0"),
    "unbiased": (BatchNorm(statistics=lambda x: (x.mean(0), 1 / (x.var(0, ddof=1) + EPS).sqrt())), "input 0"),
    "variance path with 1 / (m - 1)": (
        BatchNorm(gx=lambda gy, h, s: s * (gy - gy.mean(0) - h * (gy * h).sum(0) / (len(gy) - 1))), "input 0"
    ),
    "axis": (
        BatchNorm(gx=lambda gy, h, s: s * (gy - gy.mean(1, keepdims=True) - h * (gy * h).mean(0))), "input 0"
    ),
    "sign": (BatchNorm(gx=lambda gy, h, s: s * (gy - gy.mean(0) + h * (gy * h).mean(0))), "input 0"),
    "one number": (BatchNorm(gx=off_by_one_percent), "input 0"),
    "slightly": (BatchNorm(gx=lambda gy, h, s: RIGHT.gx(gy, h, s) * 1.0001), "input 0"),
    "gamma's averaged": (BatchNorm(ggamma=lambda gy, h: (gy * h).mean(0)), "input 1"),
    "beta's averaged": (BatchNorm(gbeta=lambda gy: gy.mean(0)), "input 2"),
}  # fmt: skip
#: right to first order. Saved arrays in a formula that is differentiated again are DeZero's and tinygrad's mistake
SECOND_ORDER = {
    "constant statistics": (BatchNorm(statistics=lambda x: [s.detach() for s in RIGHT.statistics(x)]), "input 0"),
    "constant xhat": (BatchNorm(gx=lambda gy, h, s: RIGHT.gx(gy, h.detach(), s)), "input 0"),
    "constant gamma": (BatchNorm(gamma=lambda gamma: gamma.detach()), "input 1"),
    "constant cotangent": (BatchNorm(gx=lambda gy, h, s: RIGHT.gx(gy.detach(), h, s)), "cotangent 0"),
    "constant output": (ConstantOutput(), "input 0"),
}  # fmt: skip


@pytest.fixture
def inputs(rng):
    return [normal(rng, 5, 3), normal(rng, 3), normal(rng, 3)]


def test_the_right_one_is_accepted(inputs):
    assert mg.gradcheck(RIGHT, inputs, order=3) is True


@pytest.mark.parametrize(("wrong", "where"), FIRST_ORDER.values(), ids=FIRST_ORDER)
def test_a_wrong_gradient_is_rejected(inputs, wrong, where):
    with refuses(GradientError, f"order 1, {where} of shape ") as caught:
        mg.gradcheck(wrong, inputs, order=1)
    for words in ["expected a derivative of", "(central difference), received", "from grad"]:
        assert words in str(caught.value)


@pytest.mark.parametrize(("wrong", "where"), SECOND_ORDER.values(), ids=SECOND_ORDER)
def test_a_wrong_second_derivative_is_rejected_at_order_two(inputs, wrong, where):
    assert mg.gradcheck(wrong, inputs, order=1)
    with refuses(GradientError, f"order 2, {where} of shape "):
        mg.gradcheck(wrong, inputs, order=2)


class Formula(Op):
    """An op of x by two functions, of x and of (x, gy)."""

    def __init__(self, forward, backward):
        self.value, self.gradient = forward, backward

    def forward(self, k, x):
        return self.value(x)

    def backward(self, node, needs, gy):
        return self.gradient(node.inputs[0], gy)

    def __call__(self, x):
        return x.apply(self, x)


def test_a_wrong_third_derivative_is_rejected_at_order_three():
    squared = Formula(lambda x: x * x, lambda x, gy: gy * 2 * x.detach())
    cubed = Formula(lambda x: x * x * x, lambda x, gy: gy * 3 * squared(x))
    assert mg.gradcheck(cubed, leaf([0.5, 2.0]), order=2)
    with refuses(GradientError, "order 3, input 0"):
        mg.gradcheck(cubed, leaf([0.5, 2.0]), order=3)


def test_why_cotangents_are_random(inputs):
    """sum(batch_norm(x)) is m sum(beta): a check of it, a cotangent of ones, accepts a gradient that is all zeros."""
    wrong, _ = FIRST_ORDER["zero"]
    assert mg.gradcheck(lambda x: wrong(x, *inputs[1:]).sum(), inputs[:1])
    with refuses(GradientError, "order 1, input 0"):
        mg.gradcheck(lambda x: wrong(x, *inputs[1:]), inputs[:1])


@pytest.mark.parametrize("which", [0, 1])
def test_every_output_is_checked(which):
    def outputs(x):
        right, cut = x * 2, x * x.detach()
        return (cut, right) if which else [right, cut]

    with refuses(GradientError, "order 1, input 0"):
        mg.gradcheck(outputs, leaf([1.0, 2.0]))


def test_other_arguments_are_passed_through(rng):
    mask, labels = mg.tensor(np.array([True, False])), mg.tensor(np.array([1, 0]))
    seen = []

    def fn(x, *others):
        seen.append(others)
        return mg.where(mask, x, 2 * x), mg.argmax(x)

    assert mg.gradcheck(fn, [leaf([1.0, 2.0]), mask, labels, "words", None])
    assert all(others == seen[0] for others in seen) and seen[0][2:] == ("words", None)
    assert seen[0][0] is mask and seen[0][1] is labels


def test_nothing_given_is_changed(inputs):
    given = [inputs[0], leaf(inputs[1].numpy()), inputs[2]]
    before = [t.numpy().tobytes() for t in given]
    mg.gradcheck(RIGHT, given)
    assert [t.numpy().tobytes() for t in given] == before
    assert [t.requires_grad for t in given] == [False, True, False]
    assert given[1].grad is None


def test_checks_repeat_and_take_a_generator():
    def message(**options):
        with pytest.raises(GradientError) as caught:
            mg.gradcheck(lambda x: x * x.detach(), leaf([1.0, 2.0]), **options)
        return str(caught.value)

    assert message() == message() != message(rng=np.random.default_rng(0))
    assert message(rng=np.random.default_rng(0)) == message(rng=np.random.default_rng(0))


def test_inputs_of_no_seed_equal_the_cotangents():
    """A gradient that is right wherever the cotangent equals the input."""
    wrong = Formula(lambda x: x * x, lambda x, gy: gy * x + gy * gy)
    for seed in range(1000):
        x = mg.tensor(np.random.default_rng(seed).standard_normal((2, 1)))
        with pytest.raises(GradientError):
            mg.gradcheck(wrong, x, order=1, directions=1)


@pytest.mark.parametrize(
    ("order", "fn"),
    [(1, lambda x: x * 1e308 * 1e4), (2, lambda x: x * (x * 1e308 * 1e4))],
)
def test_what_is_infinite_on_both_sides_is_wrong(order, fn):
    words = rf"order {order}, .* of -?inf \(central difference\), received -?inf from grad; both must be finite"
    with np.errstate(all="ignore"), pytest.raises(GradientError, match=words):
        mg.gradcheck(fn, leaf([0.0]), order=2)


def standardize(x, scale):
    xhat = (x - x.mean(0)) / x.std(0)
    return scale * xhat, (xhat, x.std(0), scale)


def pair(factor):
    def backward(gy, cache):
        xhat, std, scale = cache
        return scale / std * (gy - gy.mean(0) - factor * xhat * (gy * xhat).mean(0)), (
            gy * xhat
        ).sum(0)

    return standardize, backward


def test_a_pair_of_numpy_functions(inputs):
    arrays = [t.numpy() for t in inputs[:2]]
    assert mg.gradcheck(pair(1), arrays) and mg.gradcheck(
        (np.sin, lambda gy, x: gy * np.cos(x)), arrays[0]
    )
    with refuses(GradientError, "order 1, input 0 of shape (5, 3)"):
        mg.gradcheck(pair(0.5), arrays)


def wrong_form(form):
    return Formula(lambda x: x + 0, lambda x, gy: form(gy))


def check(fn, x=(0.5, 2.0), **options):
    return lambda: mg.gradcheck(fn, leaf(x), **options)


def counting():
    calls = iter(range(1000))
    return lambda x: x * next(calls)


double = {"dtype": "float64"}
SEVERAL = "two results for one input"
NOTHING = "order 1: no output depends on any input"


@error_table(
    {
        "float32": (
            TypeError,
            "gradcheck: expected float64, got input 1 of float32",
            lambda: mg.gradcheck(lambda x, y: x * y, [leaf([1.0]), mg.ones(1)]),
        ),
        "float16": (TypeError, "got input 0 of float16", lambda: mg.gradcheck(mg.exp, mg.ones(1, dtype="float16"))),
        "no inputs": (
            ValueError,
            "gradcheck: expected at least one float64 Tensor among the inputs",
            lambda: mg.gradcheck(lambda: mg.ones(1), []),
        ),
        "integers only": (
            ValueError,
            "expected at least one float64 Tensor",
            lambda: mg.gradcheck(lambda x: x, mg.arange(2, dtype="int64")),
        ),
        "order 0": (ValueError, "gradcheck: expected order >= 1, got 0", check(mg.exp, order=0)),
        "no directions": (ValueError, "gradcheck: expected directions >= 1, got 0", check(mg.exp, directions=0)),
        "random": (
            GradientError,
            f"the function gives {SEVERAL}: it must not be random",
            check(lambda x: x * np.random.default_rng().random()),
        ),
        "counting": (GradientError, SEVERAL, check(counting())),
        "no dependence": (GradientError, NOTHING, check(lambda x: x.detach() * 2)),
        "a constant": (GradientError, NOTHING, check(lambda x: mg.ones(2, **double))),
        "integers out": (GradientError, NOTHING, check(lambda x: x.argmax())),
        "a graph cut in two": (GradientError, "order 1, input 0", check(lambda x: x.detach() * 2 + x[:1])),
        "not a number": (GradientError, "expected a derivative of nan", check(lambda x: x * float("nan"))),
        "infinite from grad": (
            GradientError,
            "inf from grad; both must be finite",
            check(wrong_form(lambda gy: gy.abs() * float("inf")), (1.0,)),
        ),
        "shape": (
            RuntimeError,
            "Formula: the backward pass computed a gradient of shape (1,) for input 0 of shape (2,)",
            check(wrong_form(lambda gy: gy[:1])),
        ),
        "dtype": (
            GradientError,
            "expected a gradient of dtype float64, received float32",
            check(wrong_form(lambda gy: gy.astype("float32"))),
        ),
        "no gradient": (GradientError, "order 1, input 0", check(wrong_form(lambda gy: None))),
    }
)  # fmt: skip
def test_errors(error, words, call):
    with refuses(error, words):
        call()


def test_a_gradient_error_is_an_assertion_error():
    assert issubclass(GradientError, AssertionError)


def test_constants_may_be_among_the_outputs():
    x = leaf([1.0, 2.0])
    assert mg.gradcheck(lambda x: (x * x, mg.ones(3, dtype="float64"), x.detach() * 0), x)
    equal(x, [1, 2])
