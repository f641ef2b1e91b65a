"""Three forms and three paths of batch norm against minigrad.batch_norm, the tape, and numbers by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import close, equal, error_table, leaf, normal, refuses

import minigrad as mg
from minigrad import nn
from minigrad.study import AblatedBatchNorm
from minigrad.study.paths import PATHS

pytestmark = pytest.mark.usefixtures("backend")

NODES = ["mean", "centered", "squared", "var", "var_eps", "std", "xhat", "scaled", "y"]
LAYOUTS = [
    ((6, 3), 1),
    ((4, 3, 2), 1),
    ((3, 2, 2, 3), 1),
    ((3, 2, 2, 3), -1),
    ((3, 2, 2, 3), (1, 3)),
    ((2, 5, 3), 0),
    ((2, 2, 2, 2, 3), [1, 4]),
]
layouts = pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
affine = pytest.mark.parametrize("affine", [True, False])


def problem(rng, shape, axis, affine=True):
    """x, gamma, beta, gy."""
    x, gy = normal(rng, *shape, requires_grad=True), normal(rng, *shape)
    kept = sorted(a % len(shape) for a in (axis if isinstance(axis, (tuple, list)) else [axis]))
    channels = [shape[i] for i in kept]
    gamma, beta = (normal(rng, *channels, requires_grad=True) if affine else None for _ in "gb")
    return x, gamma, beta, gy


def through_the_op(x, gamma, beta, gy, axis, eps=1e-3):
    """y and the gradients that grad gives; ones and zeros stand for parameters that are None."""
    channels = mg.batch_norm(x, None, None, axis)[1].shape
    gamma = leaf(np.ones(channels)) if gamma is None else gamma
    beta = leaf(np.zeros(channels)) if beta is None else beta
    y, _, _ = mg.batch_norm(x, gamma, beta, axis, eps)
    return y, *mg.grad(y, [x, gamma, beta], gy)


@layouts
@affine
@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_three_forms_of_one_op(rng, shape, axis, affine, eps):
    arguments = problem(rng, shape, axis, affine)
    expected = through_the_op(*arguments, axis, eps)
    for form in mg.study.batch_norm_forms(*arguments, axis, eps):
        received = form.y, form.gx, form.ggamma, form.gbeta
        for r, e in zip(received, expected, strict=True):
            close(r, e, 1e-13)


@layouts
def test_every_node_of_the_atomic_form_has_the_gradient_of_the_tape(rng, shape, axis):
    x, gamma, beta, gy = problem(rng, shape, axis)
    steps = mg.study.batch_norm_forms(x, gamma, beta, gy, axis).atomic.steps
    assert list(steps) == NODES
    values = [step.value for step in steps.values()]
    grads = mg.grad(steps["y"].value, values, gy)
    for step, expected in zip(steps.values(), grads, strict=True):
        assert step.gradient.shape == step.value.shape == step.shape
        close(step.gradient, expected, 1e-13)
    _, mean, var = mg.batch_norm(x, gamma, beta, axis)
    for name, expected in (("mean", mean), ("var", var)):
        close(steps[name].value.reshape(expected.shape), expected, 1e-13)


def test_by_hand():
    """x = 1, 3 has mean 2, variance 1, xhat = -1, 1. The gradient of y_1 is gamma times (1, 0), less the half that the
    mean takes from both, less what the variance takes along xhat: nothing is left."""
    x, gy = leaf([[1.0], [3.0]]), leaf([[1.0], [0.0]])
    paths = mg.study.batch_norm_paths(x, leaf([2.0]), leaf([7.0]), gy, eps=1e-30)
    equal(paths.direct, [[2], [0]])
    equal(paths.mean, [[-1], [-1]])
    close(paths.var, [[-1], [1]])
    close(paths.total, [[0], [0]])
    equations = paths.equations
    equal(equations.dl_dxhat, [[2], [0]])
    close(equations.dl_dvar, [1])
    equal(equations.dl_dmean, [-2])
    close(equations.dl_dx, [[0], [0]])
    equal(equations.dl_dgamma, [-1])
    equal(equations.dl_dbeta, [1])


@layouts
@affine
def test_the_six_equations_are_gradients(rng, shape, axis, affine):
    """Of mean and var as of inputs that y is computed from, and of x through all of it."""
    x, gamma, beta, gy = problem(rng, shape, axis, affine)
    paths = mg.study.batch_norm_paths(x, gamma, beta, gy, axis)
    found = paths.equations
    _, gx, ggamma, gbeta = through_the_op(x, gamma, beta, gy, axis)
    mean, var = (leaf(t.detach()) for t in mg.batch_norm(x, None, None, axis)[1:])
    y = mg.frozen_batch_norm(x.detach(), gamma, beta, mean, var, axis)
    gmean, gvar = mg.grad(y, [mean, var], gy)
    wide = mg.study.batch_norm_forms(x, gamma, beta, gy, axis).atomic.steps["mean"].shape
    gxhat = gy if gamma is None else gamma.reshape(wide) * gy
    expected = gxhat, gvar, gmean, gx, ggamma, gbeta
    for r, e in zip(found, expected, strict=True):
        close(r, e)
    close(paths.total, found.dl_dx, 0)
    close(paths.direct + paths.mean + paths.var, paths.total, 1e-13)
    assert found._fields == ("dl_dxhat", "dl_dvar", "dl_dmean", "dl_dx", "dl_dgamma", "dl_dbeta")


ABLATIONS = [c for n in range(4) for c in itertools.combinations(PATHS, n)]


@layouts
def test_an_ablated_gradient_is_the_total_minus_its_paths(rng, shape, axis):
    x, gamma, beta, gy = problem(rng, shape, axis)
    paths = mg.study.batch_norm_paths(x, gamma, beta, gy, axis)
    whole = mg.batch_norm(x, gamma, beta, axis)
    for without in ABLATIONS:
        ablated = mg.study.ablated_batch_norm(x, gamma, beta, axis, without=without)
        for a, w in zip(ablated, whole, strict=True):
            close(a, w, 1e-13)
        gx, ggamma, gbeta = mg.grad(ablated[0], [x, gamma, beta], gy, allow_unused=True)
        left = paths.total
        for path in without:
            left = left - getattr(paths, path)
        close(np.zeros(shape) if gx is None else gx, left)
        close(ggamma, paths.equations.dl_dgamma)
        close(gbeta, paths.equations.dl_dbeta)


def test_ablation_leaves_the_statistics_their_gradients(rng):
    x, gamma, beta, _ = problem(rng, (6, 3), 1)
    u, v = normal(rng, 3), normal(rng, 3)
    _, *whole = mg.batch_norm(x, gamma, beta)
    for without in ABLATIONS:
        _, *ablated = mg.study.ablated_batch_norm(x, gamma, beta, without=without)
        close(mg.grad(ablated, x, [u, v]), mg.grad(whole, x, [u, v]))


def test_ablation_without_parameters_takes_eps_and_lists(rng):
    x, _, _, gy = problem(rng, (6, 3), 1)
    y, _, var = mg.study.ablated_batch_norm(x, None, None, eps=0.5, without=["mean", "var"])
    close(mg.grad(y, x, gy), gy.numpy() / np.sqrt(var.numpy() + 0.5))
    y, _, _ = mg.study.ablated_batch_norm(x, None, None, eps=0.5)  # without the mean, by default
    close(mg.grad(y, x, gy).sum(0), gy.numpy().sum(0) / np.sqrt(var.numpy() + 0.5))


def test_what_needs_no_gradient_gets_no_graph_and_the_rest_can_be_differentiated(rng):
    x, gamma, beta, gy = problem(rng, (6, 3), 1)
    forms = mg.study.batch_norm_forms(x, gamma, beta, gy)
    y, _, _ = mg.batch_norm(x, gamma, beta)
    expected = mg.grad(mg.grad(y, x, gy, create_graph=True), x, gy)
    for form in forms:
        close(mg.grad(form.gx, x, gy), expected)
    plain = [t.detach() for t in (x, gamma, beta, gy)]
    forms = mg.study.batch_norm_forms(*plain)
    assert not any(f.y.requires_grad or f.gx.requires_grad for f in forms)


@pytest.mark.parametrize(("dtype", "statistics"), [("float16", "float32"), ("float32", "float32")])
def test_dtypes(rng, dtype, statistics):
    x, gy = (mg.tensor(rng.standard_normal((6, 3)), dtype=dtype) for _ in "xy")
    gamma = mg.tensor([1, 2, 3], dtype=statistics)
    forms = mg.study.batch_norm_forms(x, gamma, None, gy)
    x, gamma, gy = (t.astype("float64") for t in (x, gamma, gy))
    exact = mg.study.batch_norm_forms(x, gamma, None, gy)
    for form, e in zip(forms, exact, strict=True):
        assert {t.dtype for t in (form.y, form.gx, form.ggamma, form.gbeta)} == {
            np.dtype(statistics)
        }
        close(form.gx, e.gx, 1e-5)


def test_the_atomic_form_prints_its_nodes(rng):
    x = mg.tensor([[1, 10], [3, 30]])
    gy = mg.tensor([[1, 0], [0, 0]])
    lines = str(mg.study.batch_norm_forms(x, None, None, gy).atomic).splitlines()
    assert [line.split()[0] for line in lines] == ["node", *NODES, "x", "gamma", "beta"]
    assert "(1, 2)  2, 20 " in lines[1] and lines[1].endswith("[3] -sum gcentered")
    assert "x - mean" in lines[2] and "(2, 2)  -1, -10, 1, 10 " in lines[2]
    numbers = [line for line in lines if "[" in line]
    assert sorted(line[line.index("[") + 1] for line in numbers) == list("123456")


def forms(name="batch_norm_forms", shape=(4, 3), **changes):
    def call():
        arguments = {"x": mg.ones(shape), "gamma": mg.ones(3), "beta": None, "gy": mg.ones(shape)}
        getattr(mg.study, name)(**arguments | changes)

    return call


double, PATHS_OF = {"dtype": "float64"}, "batch_norm_paths"
ERRORS = {
    "x": (TypeError, "argument x: expected a minigrad Tensor, got list; wrap", forms(x=[[1.0], [2.0]])),
    "integers": (TypeError, "forms: expected a floating dtype, got int64", forms(x=mg.ones((4, 3), dtype="int64"))),
    "no gy": (TypeError, "paths, argument gy: expected a minigrad Tensor, got None", forms(PATHS_OF, gy=None)),
    "gy's shape": (ValueError, "gy of shape (4, 3) for x (4, 3) with axis=1, got (3,)", forms(gy=mg.ones(3))),
    "gy's dtype": (TypeError, "paths: x is float32 and gy float64", forms(PATHS_OF, gy=mg.ones((4, 3), **double))),
    "gamma's shape": (ValueError, "gamma of shape (4,) for x (4, 3) with axis=0, got (3,)", forms(axis=0)),
    "gamma": (TypeError, "argument gamma: expected a minigrad Tensor, got float", forms(gamma=1.0)),
    "beta's dtype": (TypeError, "beta of dtype float32 for x of float32, got", forms(beta=mg.ones(3, **double))),
    "one value": (ValueError, "at least 2 values per channel, got 1 from shape (1, 3)", forms(shape=(1, 3))),
    "axis": (ValueError, "batch_norm_paths: axis 2 is out of range", forms(PATHS_OF, axis=2)),
    "eps": (ValueError, "batch_norm_forms: expected eps > 0, got 0", forms(eps=0)),
}  # fmt: skip


@error_table(ERRORS)
def test_errors(error, words, call):
    with refuses(error, words):
        call()


@pytest.mark.parametrize("without", [["gamma"], "mean", ("mean", "variance")])
def test_unknown_paths(without):
    words = (
        f"ablated_batch_norm: expected without to name some of direct, mean, var, got {without!r}"
    )
    with refuses(ValueError, words):
        mg.study.ablated_batch_norm(mg.ones((4, 3)), None, None, without=without)


# --- training without a path ---


def biases(layer, steps=50):
    """The bias before a batch norm over training, and the losses."""
    rng = np.random.default_rng(0)
    linear = nn.Linear(1, 1, rng=rng, dtype=np.float64)
    x, t = (mg.tensor(rng.standard_normal((16, 1))) for _ in range(2))
    optimizer = mg.optim.SGD([linear.bias], lr=0.1)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mg.mse_loss(layer(linear(x)), t + 1)
        loss.backward()
        optimizer.step()
        history.append((linear.bias.item(), loss.item()))
    return np.array(history).T


def test_without_the_mean_path_the_bias_grows_at_constant_loss():
    """Section 2 of the paper."""
    settings = {"center": False, "dtype": np.float64}
    bias, losses = biases(AblatedBatchNorm(1, ("mean",), **settings))
    close(losses, np.full(50, losses[0]), 1e-9)
    assert np.diff(bias).min() > 0 and bias[-1] > 5
    bias, losses = biases(nn.BatchNorm(1, **settings))
    close(bias, np.full(50, bias[0]), 1e-9)


def test_a_layer_with_every_path_is_batch_norm_and_takes_no_mask(rng):
    a, b = AblatedBatchNorm(3, (), dtype=np.float64), nn.BatchNorm(3, dtype=np.float64)
    x, gy = normal(rng, 6, 3, requires_grad=True), normal(rng, 6, 3)
    close(a(x), b(x))
    close(mg.grad(a(x), x, gy), mg.grad(b(x), x, gy))
    for p, q in zip(a.buffers(), b.buffers(), strict=True):
        equal(p, q)
    with refuses(ValueError, "AblatedBatchNorm: expected neither mask nor weight"):
        a(normal(rng, 2, 3), mask=[True, True])
