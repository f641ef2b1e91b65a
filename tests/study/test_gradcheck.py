"""The checker is checked: it accepts the right batch norm and rejects every planted mistake, by order and by input."""

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
    """Batch norm of (m, c) with its backward in closed form: right, until a subclass gets a part of it wrong."""

    def forward(self, k, x, gamma, beta):
        return k.batch_norm(x, gamma, beta, (1,), EPS, 0)[0]

    def backward(self, node, needs, gy):
        x, gamma, _ = node.inputs
        mean, inv_std = self.statistics(x)
        xhat = (x - mean) * inv_std
        return self.gx(gy, xhat, gamma * inv_std), self.ggamma(gy, xhat), self.gbeta(gy)

    def statistics(self, x):
        return x.mean(0), 1 / (x.var(0) + EPS).sqrt()

    def gx(self, gy, xhat, scale):
        return scale * (gy - gy.mean(0) - xhat * (gy * xhat).mean(0))

    def ggamma(self, gy, xhat):
        return (gy * xhat).sum(0)

    def gbeta(self, gy):
        return gy.sum(0)

    def __call__(self, x, gamma, beta):
        return x.apply(self, x, gamma, beta)


class Missing1OverM(BatchNorm):
    def gx(self, gy, xhat, scale):
        return scale * (gy - gy.sum(0) - xhat * (gy * xhat).sum(0))


class DroppedMeanPath(BatchNorm):
    def gx(self, gy, xhat, scale):
        return scale * (gy - xhat * (gy * xhat).mean(0))


class DroppedVariancePath(BatchNorm):
    def gx(self, gy, xhat, scale):
        return scale * (gy - gy.mean(0))


class DroppedBothPaths(BatchNorm):
    """The statistics taken as constants, as in eval mode."""

    def gx(self, gy, xhat, scale):
        return scale * gy


class DroppedEverything(BatchNorm):
    def gx(self, gy, xhat, scale):
        return 0 * gy * xhat


class EpsOutsideTheRoot(BatchNorm):
    def statistics(self, x):
        return x.mean(0), 1 / (x.var(0).sqrt() + EPS)


class UnbiasedVariance(BatchNorm):
    def statistics(self, x):
        return x.mean(0), 1 / (x.var(0, ddof=1) + EPS).sqrt()


class UnbiasedVariancePath(BatchNorm):
    def gx(self, gy, xhat, scale):
        m = gy.shape[0]
        return scale * (gy - gy.mean(0) - xhat * (gy * xhat).sum(0) / (m - 1))


class WrongAxis(BatchNorm):
    def gx(self, gy, xhat, scale):
        return scale * (gy - gy.mean(1, keepdims=True) - xhat * (gy * xhat).mean(0))


class WrongSign(BatchNorm):
    def gx(self, gy, xhat, scale):
        return scale * (gy - gy.mean(0) + xhat * (gy * xhat).mean(0))


class OneElement(BatchNorm):
    """One of the gradient's numbers is off by one percent."""

    def gx(self, gy, xhat, scale):
        off = np.ones(gy.shape)
        off[2, 1] = 1.01
        return super().gx(gy, xhat, scale) * mg.tensor(off)


class SlightlyOff(BatchNorm):
    def gx(self, gy, xhat, scale):
        return super().gx(gy, xhat, scale) * 1.0001


class GradientOfGammaAveraged(BatchNorm):
    fails = "input 1"

    def ggamma(self, gy, xhat):
        return (gy * xhat).mean(0)


class GradientOfBetaAveraged(BatchNorm):
    fails = "input 2"

    def gbeta(self, gy):
        return gy.mean(0)


class ConstantStatistics(BatchNorm):
    """Saved arrays in a formula that is differentiated again: DeZero's and tinygrad's mistake."""

    def statistics(self, x):
        return tuple(s.detach() for s in super().statistics(x))


class ConstantXhat(BatchNorm):
    def gx(self, gy, xhat, scale):
        return super().gx(gy, xhat.detach(), scale)


class ConstantGamma(BatchNorm):
    fails = "input 1"

    def backward(self, node, needs, gy):
        x, gamma, _ = node.inputs
        mean, inv_std = self.statistics(x)
        xhat = (x - mean) * inv_std
        return self.gx(gy, xhat, gamma.detach() * inv_std), self.ggamma(gy, xhat), self.gbeta(gy)


class ConstantCotangent(BatchNorm):
    fails = "cotangent 0"

    def gx(self, gy, xhat, scale):
        return super().gx(gy.detach(), xhat, scale)


class ConstantOutput(Op):
    """Sigmoid from a saved output that has lost its way back."""

    def forward(self, k, x):
        return k.sigmoid(x)

    def backward(self, node, needs, gy):
        (x,) = node.inputs
        y = mg.sigmoid(x).detach()
        return gy * y * (1 - y)

    def __call__(self, x, gamma, beta):
        return x.apply(self, x) * gamma + beta


FIRST_ORDER = [
    Missing1OverM,
    DroppedMeanPath,
    DroppedVariancePath,
    DroppedBothPaths,
    DroppedEverything,
    EpsOutsideTheRoot,
    UnbiasedVariance,
    UnbiasedVariancePath,
    WrongAxis,
    WrongSign,
    OneElement,
    SlightlyOff,
    GradientOfGammaAveraged,
    GradientOfBetaAveraged,
]
SECOND_ORDER = [ConstantStatistics, ConstantXhat, ConstantGamma, ConstantCotangent, ConstantOutput]


@pytest.fixture
def inputs(rng):
    return [normal(rng, 5, 3), normal(rng, 3), normal(rng, 3)]


def test_the_right_one_is_accepted(inputs):
    assert mg.gradcheck(BatchNorm(), inputs, order=3) is True


@pytest.mark.parametrize("wrong", FIRST_ORDER)
def test_a_wrong_gradient_is_rejected(inputs, wrong):
    words = f"order 1, {getattr(wrong, 'fails', 'input 0')} of shape "
    with refuses(GradientError, words) as caught:
        mg.gradcheck(wrong(), inputs, order=1)
    for number in ["expected a derivative of", "(central difference), received", "from grad"]:
        assert number in str(caught.value)


@pytest.mark.parametrize("wrong", SECOND_ORDER)
def test_a_wrong_second_derivative_is_rejected_at_order_two(inputs, wrong):
    assert mg.gradcheck(wrong(), inputs, order=1)
    with refuses(GradientError, f"order 2, {getattr(wrong, 'fails', 'input 0')} of shape "):
        mg.gradcheck(wrong(), inputs, order=2)


def test_a_wrong_third_derivative_is_rejected_at_order_three():
    class Cubed(Op):
        def forward(self, k, x):
            return x * x * x

        def backward(self, node, needs, gy):
            (x,) = node.inputs
            return gy * 3 * x.apply(Squared(), x)

    class Squared(Op):
        def forward(self, k, x):
            return x * x

        def backward(self, node, needs, gy):
            (x,) = node.inputs
            return gy * 2 * x.detach()

    x = leaf([0.5, 2.0])
    assert mg.gradcheck(lambda x: x.apply(Cubed(), x), x, order=2)
    with refuses(GradientError, "order 3, input 0"):
        mg.gradcheck(lambda x: x.apply(Cubed(), x), x, order=3)


def test_why_cotangents_are_random(inputs):
    """sum(batch_norm(x)) is m sum(beta): a check of it, a cotangent of ones, accepts a gradient that is all zeros."""
    wrong = DroppedEverything()
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


def test_what_is_no_float64_tensor_is_handed_on(rng):
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
    mg.gradcheck(BatchNorm(), given)
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


class CotangentForInput(Op):
    """2 x gy with one of the two x left out for gy: right wherever the cotangent equals the input."""

    def forward(self, k, x):
        return x * x

    def backward(self, node, needs, gy):
        (x,) = node.inputs
        return gy * x + gy * gy

    def __call__(self, x):
        return x.apply(self, x)


def test_inputs_of_no_seed_equal_the_cotangents():
    for seed in range(1000):
        x = mg.tensor(np.random.default_rng(seed).standard_normal((2, 1)))
        with pytest.raises(GradientError):
            mg.gradcheck(CotangentForInput(), x, order=1, directions=1)


@pytest.mark.parametrize(
    ("order", "fn"),
    [(1, lambda x: x * 1e308 * 1e4), (2, lambda x: x * (x * 1e308 * 1e4))],
)
def test_what_is_infinite_on_both_sides_is_wrong(order, fn):
    words = rf"order {order}, .* of -?inf \(central difference\), received -?inf from grad; both must be finite"
    with np.errstate(all="ignore"), pytest.raises(GradientError, match=words):
        mg.gradcheck(fn, leaf([0.0]), order=2)


class WrongForm(Op):
    def __init__(self, form):
        self.form = form

    def forward(self, k, x):
        return x + 0

    def backward(self, node, needs, gy):
        return self.form(gy)


def check(fn, x=(0.5, 2.0), **options):
    return lambda: mg.gradcheck(fn, leaf(x), **options)


def counting():
    calls = iter(range(1000))
    return lambda x: x * next(calls)


@error_table(
    {
        "float32": (
            TypeError,
            "gradcheck: expected float64, got input 1 of float32",
            lambda: mg.gradcheck(lambda x, y: x * y, [leaf([1.0]), mg.ones(1)]),
        ),
        "float16": (
            TypeError,
            "got input 0 of float16",
            lambda: mg.gradcheck(mg.exp, mg.ones(1, dtype="float16")),
        ),
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
        "no directions": (
            ValueError,
            "gradcheck: expected directions >= 1, got 0",
            check(mg.exp, directions=0),
        ),
        "random": (
            GradientError,
            "the function gives two results for one input: it must not be random",
            check(lambda x: x * np.random.default_rng().random()),
        ),
        "counting": (GradientError, "two results for one input", check(counting())),
        "no dependence": (
            GradientError,
            "order 1: no output depends on any input",
            check(lambda x: x.detach() * 2),
        ),
        "a constant": (
            GradientError,
            "order 1: no output depends on any input",
            check(lambda x: mg.ones(2, dtype="float64")),
        ),
        "integers out": (GradientError, "no output depends", check(lambda x: x.argmax())),
        "a graph cut in two": (
            GradientError,
            "order 1, input 0",
            check(lambda x: x.detach() * 2 + x[:1]),
        ),
        "not a number": (
            GradientError,
            "expected a derivative of nan",
            check(lambda x: x * float("nan")),
        ),
        "infinite from grad": (
            GradientError,
            "inf from grad; both must be finite",
            check(lambda x: x.apply(WrongForm(lambda gy: gy.abs() * float("inf")), x), (1.0,)),
        ),
        "shape": (
            RuntimeError,
            "WrongForm: the backward pass computed a gradient of shape (1,) for input 0 of shape (2,)",
            check(lambda x: x.apply(WrongForm(lambda gy: gy[:1]), x)),
        ),
        "dtype": (
            GradientError,
            "expected a gradient of dtype float64, received float32",
            check(lambda x: x.apply(WrongForm(lambda gy: gy.astype("float32")), x)),
        ),
        "no gradient": (
            GradientError,
            "order 1, input 0",
            check(lambda x: x.apply(WrongForm(lambda gy: None), x)),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()


def test_a_gradient_error_is_an_assertion_error():
    assert issubclass(GradientError, AssertionError)


def test_constants_may_be_among_the_outputs():
    x = leaf([1.0, 2.0])
    assert mg.gradcheck(lambda x: (x * x, mg.ones(3, dtype="float64"), x.detach() * 0), x)
    equal(x, [1, 2])
