"""DataLoader: every example once an epoch, in an order that a seed repeats."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers import error_table, refuses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.data import DataLoader

pytestmark = pytest.mark.usefixtures("backend")


def epoch(loader):
    """The examples of the first array, in the order of one iteration."""
    return [int(v) for x, *_ in loader for v in x.numpy()]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 30), st.integers(1, 40), st.booleans(), st.booleans())
def test_every_example_once(n, batch_size, shuffle, drop_last):
    arrays = [np.arange(n), -np.arange(n)]
    loader = DataLoader(arrays, batch_size, shuffle, drop_last, np.random.default_rng(0))
    batches = [(x.numpy(), y.numpy()) for x, y in loader]
    sizes = [len(x) for x, _ in batches]
    rest = [] if drop_last or n % batch_size == 0 else [n % batch_size]
    assert sizes == [batch_size] * (n // batch_size) + rest
    assert len(loader) == len(batches)
    for x, y in batches:
        np.testing.assert_array_equal(x, -y)
    seen = [int(v) for x, _ in batches for v in x]
    if not shuffle:
        assert seen == list(range(sum(sizes)))
    assert len(set(seen)) == len(seen) == sum(sizes)
    assert set(seen) <= set(range(n))


def test_each_epoch_has_its_order(rng):
    loader = DataLoader([np.arange(50)], 7, rng=rng)
    first, second = epoch(loader), epoch(loader)
    assert first != second != sorted(second) != first
    assert sorted(first) == sorted(second) == list(range(50))


@pytest.mark.parametrize("default", [True, False])
def test_a_seed_decides(default):
    def epochs(seed):
        mg.manual_seed(seed)
        rng = None if default else np.random.default_rng(seed)
        loader = DataLoader([np.arange(50)], 7, rng=rng)
        return [epoch(loader) for _ in range(2)]

    one = epochs(3)
    mg.manual_seed(4)
    assert epochs(3) == one != epochs(4)


def test_epochs_may_overlap(rng):
    """Two iterations at once do not disturb each other."""
    loader = DataLoader([np.arange(20)], 3, rng=rng)
    pairs = list(zip(loader, loader, strict=True))
    for k in (0, 1):
        assert sorted(int(v) for pair in pairs for v in pair[k][0].numpy()) == list(range(20))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_shapes_dtypes_and_backend(rng, backend, dtype):
    images, labels = rng.uniform(0, 9, (5, 2, 3)).astype(dtype), np.arange(5)
    for x, y in DataLoader((images, labels), 2, shuffle=False):
        assert x.shape == (len(y), 2, 3) and y.ndim == 1
        assert x.dtype == dtype and y.dtype == np.int64
        assert x.backend == y.backend == backend
        assert not x.requires_grad
        np.testing.assert_array_equal(x.numpy(), images[y.numpy()])


@pytest.mark.parametrize("chosen", ["numpy", "strict", None])
def test_batches_go_to_the_backend_that_was_chosen(backend, chosen):
    """In the order in which they would go to any other."""
    arrays = [np.arange(10), np.ones((10, 2), ">f4")]
    loader = DataLoader(arrays, 4, rng=np.random.default_rng(1), backend=chosen)
    for x, y in loader:
        assert x.backend == y.backend == (chosen or backend)
        assert x.dtype == np.int64 and y.dtype == np.float32
    plain = DataLoader(arrays, 4, rng=np.random.default_rng(1))
    assert epoch(plain) != (second := epoch(loader)) == epoch(plain)
    assert sorted(second) == list(range(10))


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_copies(rng, shuffle):
    values = np.arange(6.0)
    loader = DataLoader([values], 3, shuffle, rng=rng)
    for (x,) in loader:
        x.data = x.data + 10
    np.testing.assert_array_equal(values, np.arange(6))
    assert sorted(epoch(loader)) == list(range(6))


X = np.ones(3)


@error_table(
    {
        "none": (ValueError, "a list or tuple of at least one array", partial(DataLoader, [], 2)),
        "one": (ValueError, "a list or tuple of", partial(DataLoader, np.ones((2, 3)), 2)),
        "lengths": (ValueError, "[3, 4]", partial(DataLoader, [np.ones(3), np.ones(4)], 2)),
        "size": (ValueError, "batch_size >= 1, got 0", partial(DataLoader, [np.ones(3)], 0)),
        "backend": (ValueError, "backend 'tpu'", partial(DataLoader, [X], 2, backend="tpu")),
        "seed": (
            TypeError,
            "a numpy.random.Generator",
            lambda: next(iter(DataLoader([X], 2, rng=0))),
        ),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()
