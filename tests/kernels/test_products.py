"""Matrix products of every size around a tile, however the factors lie in memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels.shared import FAST, TYPES, close, layouts

import minigrad as mg

pytest.importorskip("numba")


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(40, 30, 20), (5, 300, 70), (1, 200, 90), (90, 200, 1)])
def test_products_of_matrices_however_they_lie(rng, threads, m, k, n, real):
    a, b = rng.normal(size=(m, k)).astype(real), rng.normal(size=(k, n)).astype(real)
    for x, y in itertools.product(layouts(a, 0), layouts(b, 0)):
        close([FAST.matmul(x, y)], [a @ b], factor=200)
    weight = np.ascontiguousarray(b.T)
    bias = rng.normal(size=n).astype(real)
    close([FAST.linear(a, weight, bias)], [a @ b + bias], factor=200)


@pytest.mark.parametrize("real", TYPES)
def test_stacks_of_matrices(rng, threads, real):
    a, b = rng.normal(size=(2, 3, 9, 20)).astype(real), rng.normal(size=(2, 3, 20, 17)).astype(real)
    for x in (a, np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2), a[:, ::-1]):
        close([FAST.matmul(x, b)], [np.matmul(x, b)], factor=200)
        close([FAST.matmul(x[0], b[1])], [np.matmul(x[0], b[1])], factor=200)


@pytest.mark.parametrize("real", TYPES)
def test_products_of_every_size_around_a_tile(rng, threads, monkeypatch, real):
    """All remainders of rows, columns and runs; the first factor packed and not; numbers next to the result stay."""
    from minigrad.kernels.compiled import products

    for m, k, n in itertools.product(
        (1, 5, 6, 7, 8, 13), (1, 7, 8, 300), (1, 8, 9, 16, 17, 31, 40)
    ):
        a, b = rng.normal(size=(m, k)).astype(real), rng.normal(size=(k, n)).astype(real)
        around = np.full((m + 2, n), 7, real)
        FAST._product(a, b, around[1:-1])
        close([around[1:-1]], [a @ b], factor=200)
        assert (around[[0, -1]] == 7).all()
        FAST._product(a, b, around[1:-1], add=True)
        close([around[1:-1]], [2 * (a @ b)], factor=200)
    width = 2 * products.WIDTH // np.dtype(real).itemsize
    for k in (products.RUN, 2 * products.RUN + 3):
        a, b = (
            rng.normal(size=(70, k)).astype(real),
            rng.normal(size=(k, 19 * width + 3)).astype(real),
        )
        for x in (a, np.asfortranarray(a)):
            for rows in (slice(None), slice(3)):
                total = FAST.matmul(x[rows], b)
                close([total], [a[rows] @ b], factor=500)
                FAST._product(x[rows], b, total, add=True)
                close([total], [2 * (a[rows] @ b)], factor=500)


def test_a_nan_stays_in_its_row_and_column(rng):
    a, b = rng.normal(size=(2, 20, 20)).astype(np.float32)
    a[3, 5], b[7, 2] = np.nan, np.inf
    bad = np.zeros((20, 20), bool)
    bad[3], bad[:, 2] = True, True
    np.testing.assert_array_equal(np.isfinite(FAST.matmul(a, b)), ~bad)


def test_products_do_not_depend_on_who_works(rng, team):
    a, b = (rng.normal(size=size).astype(np.float32) for size in ((70, 500), (500, 90)))
    found = []
    for count in (1, 2):
        mg.set_num_threads(count)
        found.append(FAST.matmul(a, b))
    np.testing.assert_array_equal(*found)


def test_empty_products(rng):
    for m, k, n in ((0, 300, 300), (300, 0, 300), (300, 300, 0)):
        np.testing.assert_array_equal(
            FAST.matmul(np.ones((m, k)), np.ones((k, n))), np.zeros((m, n))
        )
