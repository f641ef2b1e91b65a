"""examples/backprop_through_bn.py: the numbers it prints, against the paper, finite differences and the fused op."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minigrad as mg
from examples import backprop_through_bn as example

pytestmark = pytest.mark.usefixtures("backend")

NAMES = ["mean", "centered", "squared", "var", "var_eps", "std", "xhat", "scaled", "y"]
SEEDS = range(5)


def arrays(tensors):
    return {name: t.numpy() for name, t in tensors.items()}


def opened(seed):
    """Values, targets and gradients as NumPy arrays."""
    *inputs, targets = example.make_problem(seed)
    values = example.primitive_batch_norm(*inputs)
    return arrays(values), targets.numpy(), arrays(example.gradients(values, targets))


def loss_from(name, value, values, targets):
    """The loss in plain NumPy if the intermediate value ``name`` is ``value``."""
    v = values | {name: value}
    steps = {
        "mean": lambda: v["x"].mean(axis=0, keepdims=True),
        "centered": lambda: v["x"] - v["mean"],
        "squared": lambda: v["centered"] ** 2,
        "var": lambda: v["squared"].mean(axis=0, keepdims=True),
        "var_eps": lambda: v["var"] + example.EPS,
        "std": lambda: np.sqrt(v["var_eps"]),
        "xhat": lambda: v["centered"] / v["std"],
        "scaled": lambda: v["gamma"] * v["xhat"],
        "y": lambda: v["scaled"] + v["beta"],
    }
    assert list(steps) == NAMES
    for later in NAMES[NAMES.index(name) + 1 if name in steps else 0 :]:
        v[later] = steps[later]()
    return ((v["y"] - targets) ** 2).mean()


def finite_difference(name, values, targets, h=1e-6):
    found = np.empty_like(values[name])
    for i in np.ndindex(found.shape):
        up, down = values[name].copy(), values[name].copy()
        up[i] += h
        down[i] -= h
        found[i] = loss_from(name, up, values, targets) - loss_from(name, down, values, targets)
    return found / (2 * h)


def wrong_and_right(seed):
    """dx where mean and var are constants, and dx."""
    wrong = example.constant_gradient(*example.make_problem(seed)).numpy()
    return wrong, opened(seed)[2]["x"]


@pytest.mark.parametrize("seed", SEEDS)
def test_nine_operations_equal_the_fused_one(seed):
    x, gamma, beta, targets = example.make_problem(seed)
    values = example.primitive_batch_norm(x, gamma, beta)
    fused = mg.batch_norm(x, gamma, beta, eps=example.EPS)[0]
    inputs = {"x": x, "gamma": gamma, "beta": beta}
    through_fused = arrays(example.gradients(inputs | {"y": fused}, targets))
    grads = arrays(example.gradients(values, targets))
    np.testing.assert_allclose(fused.numpy(), values["y"].numpy(), rtol=0, atol=1e-12)
    for name in ("x", "gamma", "beta", "y"):
        assert np.abs(grads[name]).max() > 1e-2
        np.testing.assert_allclose(through_fused[name], grads[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", example.EQUATIONS)
def test_every_gradient_is_the_finite_difference(name):
    for seed in SEEDS:
        values, targets, grads = opened(seed)
        expected = finite_difference(name, values, targets)
        np.testing.assert_allclose(grads[name], expected, rtol=1e-6, atol=1e-8)


def test_the_paper_numbers_its_six_once_each():
    order = ["xhat", "var", "mean", "x", "gamma", "beta"]
    for number, name in enumerate(order, 1):
        assert example.EQUATIONS[name][1].startswith(f"[{number}] ")
    for name in set(example.EQUATIONS) - set(order):
        assert "[" not in example.EQUATIONS[name][1]


def test_graphs_of_fifteen_operations_and_of_one():
    inputs = example.make_problem(0)[:3]
    for function, count in (
        (lambda *xs: example.primitive_batch_norm(*xs)["y"], 15),
        (lambda *xs: mg.batch_norm(*xs)[0], 1),
    ):
        assert len(mg.capture(function, *inputs).calls) == count


@pytest.mark.parametrize("seed", SEEDS)
def test_constant_statistics_give_another_gradient(seed):
    wrong, right = wrong_and_right(seed)
    v, _, d = opened(seed)
    assert np.abs(wrong - right).max() > 0.1
    # The missing terms of the fourth equation; the components that the next forward pass undoes.
    lack = (2 * d["var"] * v["centered"] + d["mean"]) / len(wrong)
    np.testing.assert_allclose(wrong - right, -lack, rtol=0, atol=1e-14)
    np.testing.assert_allclose(right.sum(0), 0, atol=1e-14)
    np.testing.assert_allclose(wrong.sum(0), -d["mean"][0], rtol=0, atol=1e-14)
    along = (v["xhat"] * right).sum(0), (v["xhat"] * wrong).sum(0)
    np.testing.assert_allclose(along[1], -d["std"][0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(along[0], along[1] * example.EPS / v["var_eps"][0], atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bias_grows_if_the_mean_is_a_constant(seed):
    b, loss = np.array(example.train_bias(1000, seed, constant_mean=True)).T
    step = b[1]
    assert 1 / 16 <= step < 1  # half the mean of targets in [1/8, 2]
    np.testing.assert_array_equal(b, step * np.arange(1001))
    assert len(set(loss)) == 1
    # The loss cannot be below the squared mean of the targets, 2 * step.
    assert loss[0] > (2 * step) ** 2
    b, right = np.array(example.train_bias(100, seed, constant_mean=False)).T
    assert not b.any() and set(right) == {loss[0]}


@pytest.fixture
def out(capsys):
    assert example.main([]) is None
    return capsys.readouterr().out


def printed(out, label):
    """The numbers of the rows that begin with ``label`` and a shape, one row an example."""
    lines = out.splitlines()
    (start,) = (i for i, line in enumerate(lines) if re.match(rf"   {label} +\(", line))
    count = 4 if "(4, 2)" in lines[start] else 1
    return np.array(
        [re.findall(r"-?\d+\.\d{4}\b", line)[:2] for line in lines[start : start + count]],
        float,
    )


def test_values_and_gradients(out):
    values, _, grads = opened(0)
    for name in example.EQUATIONS:
        np.testing.assert_allclose(printed(out, name), np.atleast_2d(values[name]), atol=6e-5)
        np.testing.assert_allclose(printed(out, "d" + name), np.atleast_2d(grads[name]), atol=6e-5)
        for equation in example.EQUATIONS[name]:
            assert all(line.strip() in out for line in equation.split("\n"))


def test_the_mistake(out):
    part = out.partition("3. The mistake")[2].partition("4. What")[0]
    rows = re.findall(r"((?: +-?\d+\.\d{4}){6})$", part, re.MULTILINE)
    table = np.array([row.split() for row in rows], float)
    wrong, right = wrong_and_right(0)
    np.testing.assert_allclose(table[:4], np.hstack([right, wrong, wrong - right]), atol=6e-5)
    np.testing.assert_allclose(table[4], table[:4].sum(0), atol=3e-4)
    assert not table[4, :2].any()
    assert np.abs(table[:4, 4:]).max() > 0.1
    assert np.abs(table[5, :2]).max() < 0.01 < 0.5 < table[5, 2:4].min()
    assert "-0.0000" not in out
