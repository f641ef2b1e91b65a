"""Indexing: every kind of key, gradients of repeated picks, and keys that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import device, equal, leaf

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize(
    "key",
    [
        True,
        False,
        np.bool_(True),
        (True, 0),
        (0, True),
        (slice(None), False),
        (..., True),
        (True, True),
        (None, True, ..., 1),
        (True, [0, 1]),
        (range(3), [0, 1, 1]),
        (slice(None), range(0, 2, 2)),
        ((0, 2), (1, 0)),
    ],
    ids=str,
)
def test_truth_values_ranges_and_tuples_are_numpys(rng, key):
    values = rng.standard_normal((3, 2))
    x, expected = leaf(values), values[key]
    y = x[key]
    equal(y, expected)
    u, gx = rng.standard_normal(expected.shape), np.zeros_like(values)
    np.add.at(gx, key, u)
    equal(mg.grad(y, x, mg.tensor(u)), gx)


def test_a_mask_of_no_axes_is_a_truth_value():
    for truth in (True, False):
        mask = mg.tensor(np.array(truth))
        equal(mg.ones(2)[mask], np.ones(2)[truth])
        equal(mg.tensor(5.0)[mask], np.array(5.0)[truth])


@pytest.mark.parametrize("wrap", [mg.tensor, device], ids=["tensor", "array"])
@pytest.mark.parametrize("index", [[2, 0], [-1, 1], [[0, 1], [2, 2]]])
def test_index_arrays(wrap, index):
    values = np.arange(6.0).reshape(3, 2)
    index = np.array(index)
    equal(mg.tensor(values)[wrap(index)], values[index])
    equal(mg.tensor(values)[wrap(index), 1], values[index, 1])


def test_iterating_goes_along_the_first_axis():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    (first * second).sum().backward()
    equal(x.grad, [[3, 4], [1, 2]])


def test_picking_keeps_the_indices_only(rng):
    """What an embedding needs: the table may change between a look-up and its gradient."""
    x = mg.tensor(rng.standard_normal((4, 2)), requires_grad=True)
    picked = x[[1, 1, 3]].sum()
    x.data = x.data * 0
    np.testing.assert_array_equal(mg.grad(picked, x).numpy()[:, 0], [0, 2, 0, 1])
