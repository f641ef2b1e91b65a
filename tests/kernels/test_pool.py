"""Memory that is used again: only when nobody looks at it any more, and not without end."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from minigrad.kernels import pool


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(pool, "_idle", {})
    monkeypatch.setattr(pool, "_idle_bytes", 0)
    monkeypatch.setattr(pool, "LARGE", 1000)


def address(x):
    return x.__array_interface__["data"][0]


def test_memory_is_used_again_when_the_last_view_is_gone():
    a = pool.empty((20, 30), np.float32)
    where, view = address(a), a[3:].T
    del a
    b = pool.empty((20, 30), np.float32)
    assert address(b) != where
    view[...] = 1
    del view
    c = pool.empty((30, 20), np.float32)
    assert address(c) == where
    assert address(b) % 64 == address(c) % 64 == 0


def test_other_sizes_and_small_arrays_are_new():
    where = address(pool.empty((500,), np.float32))
    assert address(pool.empty((501,), np.float32)) != where
    assert pool.empty((10,), np.float32).base is None
    for a in (pool.empty((500,), np.float32), pool.empty((10,), np.float32)):
        assert pool.owned(a) and not pool.owned(a[1:]) and not pool.owned(a.reshape(2, -1))
    assert address(pool.empty((250,), np.float64)) == where


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_like_another_array(order):
    x = np.empty((7, 8, 9)).transpose(order)
    y = pool.empty_like(x)
    assert (y.shape, y.strides, y.dtype) == (x.shape, x.strides, x.dtype)
    gaps = np.empty((7, 16, 9))[:, ::2]
    assert pool.empty_like(gaps).shape == gaps.shape


def test_what_lies_idle_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(pool, "IDLE", 10_000)
    kept = [pool.empty((n,), np.uint8) for n in (4000, 3000, 3500, 3000)]
    while kept:
        del kept[0]
    assert sum(size * len(buffers) for size, buffers in pool._idle.items()) == pool._idle_bytes
    assert pool._idle_bytes <= 10_000
    assert not pool._idle.get(4000)
    pool.empty((20_000,), np.uint8)
    assert pool._idle_bytes <= 10_000


def test_threads_never_get_the_same_memory():
    failures = []

    def work(number):
        for _ in range(300):
            a = pool.empty((600,), np.int32)
            a.fill(number)
            b = pool.empty((600,), np.int32)
            b.fill(-number)
            if not (a == number).all():
                failures.append(number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(1, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert sum(size * len(buffers) for size, buffers in pool._idle.items()) == pool._idle_bytes
