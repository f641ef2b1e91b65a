"""Offsets that batch norm's threads visit: every number once, and, by arithmetic, in arrays beyond any memory."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
from cuda import emulator
from cuda.shared import needs_compiler

from minigrad.kernels.cuda import THREADS, source
from minigrad.kernels.cuda.batch_norm import View, geometry

pytestmark = needs_compiler
#: the offsets that one thread of one block visits, by the kernels' own code, and their number
PROBE = """
extern "C" Index visited_{over}_{vector}(const unsigned* block, unsigned thread, const Shape* shape, Index* found,
                                         Index most) {{
    blockIdx = {{block[0], block[1], block[2]}};
    threadIdx = {{thread, 0, 0}};
    Index count = 0;
    {over}<{vector}> over(*shape);
    visit<UNDER_WAY>(over, [](Index at) {{ return at; }}, [&](Index loaded, Index at, Index) {{
        if (count < most && loaded == at) found[count] = at;
        count++;
    }});
    return count;
}}
"""
PART = """
extern "C" void part(Index count, Index unit, int split, int splits, Index* found) {
    Part part(count, unit, split, splits);
    found[0] = part.begin;
    found[1] = part.end;
}
"""
GROUPS = 3
#: batch, channels, size
HUGE = """3 5 2147483655|2147483655 5 3|1073741825 7 12|2 536870915 44|8589934593 5 1|4294967296 8 1|3 8589934600 1
|65537 65537 1"""
SMALL = "3 5 7|2 3 1200|1 2 4096|70 3 12|1 1 1|37 5 1|500 40 1|2 300 1"


def shapes(table):
    return pytest.mark.parametrize(
        "shape", [tuple(map(int, row.split())) for row in table.split("|")], ids=str
    )


@cache
def library():
    kinds = [(over, vector) for over in ("Planes", "Columns") for vector in (1, 4)]
    probes = [PROBE.format(over=over, vector=vector) for over, vector in kinds]
    return emulator.library(source("batch_norm.cu") + "".join(probes) + PART)


def visited(plan, block, thread, most):
    """The offsets by the kernels' code."""
    vector, over = plan.parameters
    function = library()[f"visited_{over}_{vector}"]
    function.restype = ctypes.c_longlong
    found, shape = np.empty(most, np.int64), ctypes.c_void_p(plan.shape.ctypes.data)
    count = function(
        (ctypes.c_uint * 3)(*block), ctypes.c_uint(thread), shape,
        ctypes.c_void_p(found.ctypes.data), ctypes.c_longlong(most),
    )  # fmt: skip
    assert count <= most
    return found[:count]


def expected(shape, plan, block, thread):
    """The same by the definition: the positions of a thread in (groups, batch, channels, size)."""
    batch, channels, size = shape
    vector, over = plan.parameters
    tile, split, group = block
    if over == "Planes":
        count, unit, channel = batch * size, vector, tile
        at, step = thread * vector, THREADS * vector
    else:
        lanes = int(plan.shape["lanes"][0])
        count, unit, step, at = batch, 1, THREADS // lanes, thread // lanes
        channel = (tile * lanes + thread % lanes) * vector
        if channel >= channels:
            return np.empty(0, np.int64)
    units = -(-count // unit)
    each = -(-units // plan.splits) * unit
    position = np.arange(split * each + at, min((split + 1) * each, count), step)
    image, within = np.divmod(position, size)
    return ((group * batch + image) * channels + channel) * size + within


def planned(shape, multiprocessors):
    batch, channels, size = shape
    look = View((), GROUPS, batch, channels, size)
    run = size if size > 1 else channels
    return [geometry(look, v, multiprocessors) for v in (1, 4) if run % v == 0]


@shapes(HUGE)
def test_offsets_beyond_32_bits(shape):
    for plan in planned(shape, 4096):
        tiles, splits, groups = plan.grid
        assert tiles < 2**31
        biggest = 0
        for block in (0, 0, 0), (tiles // 2, splits // 2, 1), (tiles - 1, splits - 1, groups - 1):
            for thread in 0, 101, THREADS - 1:
                offsets = expected(shape, plan, block, thread)
                found = visited(plan, block, thread, offsets.size + 1)
                np.testing.assert_array_equal(found, offsets)
                biggest = max(biggest, *offsets[-1:].tolist(), 0)
        assert 2**31 < biggest < GROUPS * np.prod(shape)


@shapes(SMALL)
@pytest.mark.parametrize("multiprocessors", [1, 7, 132])
def test_every_number_is_visited_once(shape, multiprocessors):
    for plan in planned(shape, multiprocessors):
        pairs = ((b, t) for b in np.ndindex(plan.grid) for t in range(THREADS))
        found = np.sort(np.concatenate([visited(plan, b, t, 1 << 14) for b, t in pairs]))
        every = np.arange(0, GROUPS * np.prod(shape), plan.parameters[0])
        np.testing.assert_array_equal(found, every)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 4093, 2**31 + 1, 2**40 + 3])
@pytest.mark.parametrize("unit", [1, 4, 8])
def test_splits_cover_everything_once(count, unit):
    for splits in 1, 2, 7, 255, 256:
        end, found = 0, (ctypes.c_longlong * 2)()
        for split in range(splits):
            library().part(ctypes.c_longlong(count), ctypes.c_longlong(unit), split, splits, found)
            assert found[0] == end <= found[1]
            assert found[0] % unit == 0 or found[0] == found[1] == count
            end = found[1]
        assert end == count
