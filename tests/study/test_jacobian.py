"""The Jacobian of batch norm: against its formula and single backward passes; what it leaves of each direction."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers import close, device, equal, error_table, leaf, refuses

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def x(rng):
    return rng.normal(3, 2, 6)


@pytest.mark.parametrize(("gamma", "eps"), [(1.0, 1e-12), (-2.5, 0.1), (0.0, 1e-3)])
def test_formula_and_rows(x, gamma, eps):
    found = mg.study.jacobian(x, gamma, eps)
    m, inv_std = len(x), 1 / np.sqrt(x.var() + eps)
    xhat = (x - x.mean()) * inv_std
    close(found.matrix, gamma * inv_std * (np.eye(m) - 1 / m - np.outer(xhat, xhat) / m))
    close(found.xhat, xhat)
    close(found.scale, abs(gamma) * inv_std)
    column = leaf(x.reshape(m, 1))
    y, _, _ = mg.batch_norm(column, leaf([gamma]), None, eps=eps)
    for i in range(m):
        unit = mg.tensor(np.eye(m)[:, i : i + 1])
        close(found.matrix[i], mg.grad(y, column, unit).reshape(m))


def test_rows_are_outputs_and_columns_inputs(x, monkeypatch):
    """The matrix is symmetric, so a transposed one would pass all else: planted, x_i / x_0 is not."""
    monkeypatch.setitem(
        mg.study.jacobian.__globals__,
        "batch_norm",
        lambda x, gamma, beta, eps: (x / x[:1], x.mean(0), x.var(0)),
    )
    matrix = mg.study.jacobian(x).matrix
    close(matrix[1:, 0], -x[1:] / x[0] ** 2)
    equal(matrix[0, 1:], np.zeros(5))


@pytest.mark.parametrize("m", [2, 3, 6, 40])
def test_as_eps_vanishes_the_rank_is_m_minus_2(rng, m):
    found = mg.study.jacobian(rng.standard_normal(m))
    assert found.rank == m - 2
    assert found.singular_values.shape == (m,)
    close(found.singular_values[: m - 2] / found.scale, np.ones(m - 2))
    assert (found.singular_values[m - 2 :] / found.scale < 1e-9).all()
    ones, xhat = found.null_space
    equal(ones, np.ones(m))
    for direction in (ones, xhat):
        assert np.abs((found.matrix @ direction).numpy()).max() < 1e-9 * found.scale
    close(ones @ xhat, np.zeros(()))


@pytest.mark.parametrize("m", [2, 3, 6])
def test_with_eps_one_more_singular_value_is_felt(rng, m):
    """gamma inv_std eps / (var + eps), along xhat."""
    x = rng.standard_normal(m)
    found = mg.study.jacobian(x, gamma=3, eps=0.1)
    least = found.scale * 0.1 / (x.var() + 0.1)
    assert found.rank == m - 1
    close(found.singular_values[m - 2], least)
    close(found.matrix @ found.xhat, least * found.xhat.numpy())


def test_gamma_zero_and_equal_values():
    nothing = mg.study.jacobian([1, 2, 3], gamma=0)
    assert nothing.rank == 0
    equal(nothing.matrix, np.zeros((3, 3)))
    equal_values = mg.study.jacobian(np.full(4, 0.3), eps=0.25)
    assert equal_values.rank == 3  # there is no stretch to take out
    close(equal_values.matrix, 2 * (np.eye(4) - 0.25))
    equal(equal_values.xhat, np.zeros(4))


@pytest.mark.parametrize(
    "make", [list, np.array, mg.tensor, device, leaf, lambda x: leaf(x, "float32")]
)
def test_what_it_takes(make, backend):
    x = np.array([1.0, 2.0, 3.5, -4.0])
    found = mg.study.jacobian(make(x))
    assert (found.matrix.dtype, found.matrix.backend) == (np.dtype("float64"), backend)
    assert not found.matrix.requires_grad and not found.xhat.requires_grad
    equal(found.matrix, mg.study.jacobian(x).matrix.numpy())
    two = [0.1, 0.7]  # not rounded to float32
    equal(mg.study.jacobian(two).xhat, mg.study.jacobian(np.array(two)).xhat.numpy())


def test_plot(x, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    found = mg.study.jacobian(x)
    figure = found.plot(tmp_path / "jacobian.png")
    assert (tmp_path / "jacobian.png").read_bytes().startswith(b"\x89PNG")
    image = figure.axes[0].images[0]
    equal(np.asarray(image.get_array()), found.matrix.numpy())
    low, high = image.get_clim()
    assert -low == high == np.abs(found.matrix.numpy()).max()
    assert figure.axes[0].get_title() == "dy_i / dx_j, rank 4"
    assert mg.study.jacobian([1, 2], gamma=0).plot().axes
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refuses(
        ImportError,
        'Jacobian.plot needs matplotlib: install it with pip install "minigrad-bn[examples]"',
    ):
        found.plot()


def ask(x, **options):
    return lambda: mg.study.jacobian(x, **options)


@error_table(
    {
        "a matrix": (ValueError, "expected a vector of at least 2 values, got shape (2, 2)", ask(np.ones((2, 2)))),
        "one value": (ValueError, "jacobian: expected a vector of at least 2 values, got shape (1,)", ask([1])),
        "eps": (ValueError, "jacobian: expected eps > 0, got 0", ask([1, 2], eps=0)),
    }
)  # fmt: skip
def test_errors(error, words, call):
    with refuses(error, words):
        call()
