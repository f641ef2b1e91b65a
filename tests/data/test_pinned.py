"""Batches copied ahead: the values of a plain loader for any timing of the streams, and really ahead."""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np
import pytest
import streams
from helpers import refuses

from minigrad import backend as backends
from minigrad.data import DataLoader


@pytest.fixture(params=["nothing", "copying", "computing"])
def device(request, monkeypatch):
    """A backend "streams" where work runs as late as possible, or one kind of stream runs ahead."""
    device = streams.Device(request.param)
    monkeypatch.setitem(sys.modules, "cupy", device.cupy)
    monkeypatch.setitem(sys.modules, "cupyx", device.cupyx)
    backend = device.backend()
    monkeypatch.setitem(backends._loaded, "streams", backend)
    monkeypatch.setitem(backends.by_type, streams.Array, backend)
    return device


def loader(arrays, batch_size=4, backend="streams", **settings):
    return DataLoader(arrays, batch_size, rng=np.random.default_rng(3), backend=backend, **settings)


def epoch(device, batches):
    """What a consumer that looks at each batch twice sees; it queues all and waits at the end."""
    seen = []
    for batch in batches:
        seen.append([device.read(t._data) for t in batch])
        for t in batch:
            device.fill(t._data, 0)
    device.finish()
    return seen


@pytest.mark.parametrize("n", [0, 1, 4, 7, 30])
@pytest.mark.parametrize("settings", [{}, {"shuffle": False}, {"drop_last": True}], ids=repr)
def test_the_values_of_a_plain_loader(device, rng, n, settings):
    arrays = [rng.standard_normal((n, 5)).astype("f"), np.arange(n), rng.random((n, 2, 3)) > 0.5]
    ahead, plain = loader(arrays, **settings), loader(arrays, backend="numpy", **settings)
    for _ in range(3):
        found = epoch(device, ahead)
        expected = [[t.numpy() for t in batch] for batch in plain]
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def test_layouts_and_byte_orders(device, rng):
    values = rng.standard_normal((9, 4))
    arrays = [np.asfortranarray(values), values[:, ::-2], values.astype(">f4"), values[::-1]]
    for i, found in enumerate(epoch(device, loader(arrays, shuffle=False))):
        for a, array in zip(found, arrays, strict=True):
            assert a.dtype.isnative
            np.testing.assert_array_equal(a, array[4 * i : 4 * i + 4])


def test_each_is_on_its_way_before_the_one_before_is_used(device):
    """And none earlier: two batches' page-locked memory is enough for all."""
    taken = []

    def batches():
        for i in range(6):
            taken.append(i)
            yield (np.full(3, i, "f"),)

    for i, (array,) in enumerate(backends.get("streams").ahead(batches())):
        assert taken == list(range(min(i + 2, 6)))
        assert sum(stream.queued for stream in device.streams) >= 2 * len(taken)
        seen = device.read(array)
        device.current.synchronize()
        assert (seen == i).all()
        if i < 5 and device.early != "copying":
            assert device.streams[0].queue, "to use one batch was to wait for the next"
    assert device.pinned.made == 2
    assert device.memory.made <= 3


def leave(device, how):
    """Take one batch and leave the loop."""
    for (x,) in loader([np.ones((20, 3))]):
        device.read(x._data)
        if how == "break":
            break
        raise KeyError("of the consumer's")


@pytest.mark.parametrize("how", ["break", "raise"])
def test_memory_of_batches_that_are_not_used_is_not_written_to_later(device, how):
    with suppress(KeyError):
        leave(device, how)
    mine = [device.cupy.empty((4, 3), np.float64) for _ in range(3)]
    pages = [device.cupyx.empty_pinned((4, 3), np.float64) for _ in range(3)]
    for array, page in zip(mine, pages, strict=True):
        device.fill(array, 7)
        page.fill(5)
    device.current.synchronize()
    device.finish()
    seen = [device.read(array) for array in mine]
    device.finish()
    assert all((a == 7).all() for a in seen)


def test_a_failure_of_the_data_reaches_the_consumer(device):
    def batches():
        yield (np.ones(3),)
        yield (np.ones(3),)
        raise OSError("the disk is gone")

    seen = []
    with refuses(OSError, "the disk is gone"):
        for (array,) in backends.get("streams").ahead(batches()):
            seen.append(device.read(array))
    device.finish()
    assert [a.tolist() for a in seen] == [[1, 1, 1]]


def test_what_is_no_number_is_refused(device):
    for array in (np.ones(3, complex), np.array(["a", "b"])):
        with refuses(TypeError, "tensor: expected numbers"):
            next(iter(loader([array])))
