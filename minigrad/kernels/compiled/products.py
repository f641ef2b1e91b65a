"""Matrix products, after Goto & van de Geijn (2008, "Anatomy of high-performance matrix multiplication").

A tile of the result, ``ROWS`` times two vectors, stays in registers while a column of the first factor and a row of the
second go by. The second is packed into panels as wide as a tile: a panel is read from start to end, and from the first
cache, by all tiles above each other. Of the first, as many rows as the second cache takes go by all panels; it is
packed only where the panels are so many that this pays. Sums along the depth are taken in runs of ``RUN``.

On one thread it takes 0.8 (10 x 60 x 100) to 1.3 times (1000 x 1000 x 1000) as long as NumPy with OpenBLAS and vectors
of the same width. But its threads are those of the other kernels: two sets on the same cores wait for each other in
loops, and beside a BLAS's a training step took ten times as long. It uses the widest vectors, where OpenBLAS leaves
half of some unused. And elements are summed in one order for any number of threads, so results do not depend on it.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from ..threads import AVAILABLE, ENOUGH, WANTED
from .launch import inner, kernel, setting, share, summing
from .vectors import REGISTERS, WIDTH, Vectors, address, whole

#: rows of a tile: two vectors in each, a row of the second factor and a number of the first, all in registers
ROWS = 6 if REGISTERS == 16 else 8
#: how many numbers are summed in registers: a panel of them takes 20 of the 32 KiB of a first cache
RUN = 20 * 2**10 // (2 * WIDTH)
#: bytes of the first factor that go by all panels: a quarter of a second cache of 512 KiB
NEAR = 2**17
#: panels, and numbers along the depth, from which the first factor is packed
PANELS, DEEP = 16, RUN // 2
#: multiplications that take as long as a number takes elsewhere
PER_NUMBER = 16

# --- instructions ---


def _tile(vectors):
    """c = a b, or c += a b: ``ROWS`` rows of a, of which ``rows`` count, and ``vectors`` vectors of a panel.

    a(i, k) stands at i ``down`` + k ``along``, c(i, 0) at i ``wide``.
    """

    @intrinsic  # type: ignore[misc,unused-ignore]
    def tile(typing, a, down, along, panel, depth, c, wide, rows, add, like):
        def codegen(context, builder, signature, arguments):
            a, down, along, panel, depth, c, wide, rows, add, _ = arguments
            v = Vectors(context, builder, like)
            rows_a, places = [], []
            for i in range(ROWS):
                row = v.clamped(i, rows)
                rows_a.append(v.place(a, builder.mul(row, down)))
                start = v.place(c, builder.mul(row, wide))
                places += [v.place(start, j * v.lanes) for j in range(vectors)]
                v.prefetch(start)

            def body(_, carried):
                panel, offset, *sums = carried
                row = [v.load(v.place(panel, j * v.lanes)) for j in range(vectors)]
                for i in range(ROWS):
                    number = v.broadcast(v.place(rows_a[i], offset))
                    for j in range(vectors):
                        at = i * vectors + j
                        sums[at] = v.multiply_add(number, row[j], sums[at])
                return [v.place(panel, 2 * v.lanes), builder.add(offset, along), *sums]

            sums = v.load_if(builder.icmp_signed("!=", add, whole(0)), places)
            _, _, *sums = v.loop(depth, 1, [panel, whole(0), *sums], body)
            for value, place in zip(sums, places, strict=True):
                v.store(value, place)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9, like), codegen

    return tile


_tile_of_two, _tile_of_one = _tile(2), _tile(1)


@intrinsic  # type: ignore[misc,unused-ignore]
def _pack_rows(typing, b, wide, depth, panel, like):
    """b(k, j) at k ``wide`` + j, for two vectors of j."""

    def codegen(context, builder, signature, arguments):
        b, wide, depth, panel, _ = arguments
        v = Vectors(context, builder, like)

        def body(_, carried):
            b, panel = carried
            for j in (0, v.lanes):
                v.store(v.load(v.place(b, j)), v.place(panel, j))
            return [v.place(b, wide), v.place(panel, 2 * v.lanes)]

        v.loop(depth, 1, [b, panel], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, like), codegen


@intrinsic  # type: ignore[misc,unused-ignore]
def _pack_columns(typing, b, wide, depth, count, panel, like):
    """b(k, j) at k + j ``wide``, for two vectors of j, of which ``count`` count, and whole vectors of k."""

    def codegen(context, builder, signature, arguments):
        b, wide, depth, count, panel, _ = arguments
        v = Vectors(context, builder, like)
        rows = [v.clamped(j, count) for j in range(2 * v.lanes)]
        columns = [v.place(b, builder.mul(row, wide)) for row in rows]

        def body(k, carried):
            (panel,) = carried
            for j in (0, v.lanes):
                square = [v.load(v.place(column, k)) for column in columns[j : j + v.lanes]]
                for i, row in enumerate(v.transpose(square)):
                    v.store(row, v.place(panel, 2 * v.lanes * i + j))
            return [v.place(panel, 2 * v.lanes**2)]

        v.loop(depth, v.lanes, [panel], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, like), codegen


# --- loops around them ---


@inner
def _pack_panel(b, tb, start, stop, column, panels, p):
    """Rows start...stop of b from a column on, or of its transpose; beyond the last, lanes hold what they will."""
    size, width, like = b.itemsize, panels.shape[2], panels[0, 0, 0]
    depth, wide, panel = stop - start, b.shape[1], _at(panels, p)
    columns = min(width, (b.shape[0] if tb else wide) - column)
    if tb:
        done = depth // (width // 2) * (width // 2)
        if done:
            first = address(b) + size * (column * wide + start)
            _pack_columns(first, wide, done, columns, panel, like)
    else:
        # A row may be read beyond its end, but not the array.
        done = min(depth, max((b.size - column - width) // wide + 1 - start, 0))
        if done:
            _pack_rows(address(b) + size * (start * wide + column), wide, done, panel, like)
    for k in range(done, depth):
        for j in range(columns):
            panels[p, k, j] = b[column + j, start + k] if tb else b[start + k, column + j]


@inner
def _pack_tiles(a, ta, start, stop, first, last, packed):
    """Columns start...stop of the tiles first...last of a, or of its transpose."""
    m = a.shape[1] if ta else a.shape[0]
    for t in range(first, last):
        top = t * ROWS
        rows = min(ROWS, m - top)
        for k in range(start, stop):
            for i in range(rows):
                packed[t - first, k - start, i] = a[k, top + i] if ta else a[top + i, k]


@inner
def _at(blocks, i):
    """Where block ``i`` of several begins."""
    return address(blocks) + i * blocks.shape[1] * blocks.shape[2] * blocks.itemsize


@inner
def _tile_of(a, down, along, panel, depth, c, t, column, more, edge):
    """Tile ``t`` down and from ``column`` on; one beyond whose last column c ends is computed elsewhere and copied."""
    (m, n), i, width, like = c.shape, t * ROWS, edge.shape[1], c[0, 0]
    rows, left = min(ROWS, m - i), n - column
    if left >= width:
        y = address(c) + c.itemsize * (i * n + column)
        _tile_of_two(a, down, along, panel, depth, y, n, rows, more, like)
        return
    if left > width // 2:
        _tile_of_two(a, down, along, panel, depth, address(edge), width, rows, 0, like)
    else:
        _tile_of_one(a, down, along, panel, depth, address(edge), width, rows, 0, like)
    for r in range(rows):
        for k in range(left):
            total = edge[r, k]
            if more:
                total += c[i + r, column + k]
            c[i + r, column + k] = total


@inner
def _part(a, ta, b, tb, c, rows, columns, add):
    """The tiles of c in ``rows`` and ``columns``, which count tiles and panels."""
    size, width = c.itemsize, 2 * WIDTH // c.itemsize
    depth, (down, along) = (len(a), (1, a.shape[1])) if ta else (a.shape[1], (a.shape[1], 1))
    run = -(-depth // -(-depth // RUN))
    blocks = -(-(rows[1] - rows[0]) // max(NEAR // (ROWS * run * size), 1))
    high, count = -(-(rows[1] - rows[0]) // blocks), columns[1] - columns[0]
    # What one block of rows goes by is not needed again.
    panels = np.empty((count if blocks > 1 else 1, run, width), c.dtype)
    pack = count >= PANELS and run >= DEEP
    packed = np.empty((high if pack else 0, run, ROWS), c.dtype)
    edge = np.empty((ROWS, width), c.dtype)
    for start in range(0, depth, run):
        stop, more = min(start + run, depth), np.int64(add or start > 0)
        for top in range(rows[0], rows[1], high):
            bottom = min(top + high, rows[1])
            if pack:
                _pack_tiles(a, ta, start, stop, top, bottom, packed)
            for p in range(count):
                column, own = (columns[0] + p) * width, p if blocks > 1 else 0
                if top == rows[0]:
                    _pack_panel(b, tb, start, stop, column, panels, own)
                panel = _at(panels, own)
                for t in range(top, bottom):
                    if pack:
                        x, x_down, x_along = _at(packed, t - top), 1, ROWS
                    else:
                        x, x_down, x_along = address(a), down, along
                        x += size * (t * ROWS * down + start * along)
                    _tile_of(x, x_down, x_along, panel, stop - start, c, t, column, more, edge)


@inner
def _block(part, a, ta, b, tb, c, across, down, add, bias):
    """One of ``down`` times ``across`` blocks of c = a b + bias, or c += a b + bias; no numbers are no bias."""
    width, i, j = 2 * WIDTH // c.itemsize, part // across, part % across
    tiles, panels = -(-c.shape[0] // ROWS), -(-c.shape[1] // width)
    rows = tiles * i // down, tiles * (i + 1) // down
    columns = panels * j // across, panels * (j + 1) // across
    if rows[0] < rows[1] and columns[0] < columns[1]:
        _part(a, ta, b, tb, c, rows, columns, add)
        if len(bias):
            start, stop = columns[0] * width, columns[1] * width
            for k in range(rows[0] * ROWS, min(rows[1] * ROWS, len(c))):
                own, row = c[k, start:stop], bias[start:stop]
                for w in range(len(own)):
                    own[w] += row[w]


@inner
def _cut(tiles, panels, work):
    """Into how many blocks to cut rows and columns: as many as threads; to pack a panel takes as long as a tile."""
    threads = min(setting(WANTED), setting(AVAILABLE)) if work >= setting(ENOUGH) else 1
    least = (tiles + 1) * panels * threads
    found = 1, threads
    for down in range(1, threads + 1):
        across = threads // down
        most = -(-panels // across) * (-(-tiles // down) + 1)
        if down * across == threads and most < least:
            least, found = most, (down, across)
    return found


@kernel
def product(a, ta, b, tb, c, add, bias):
    """c = a b + bias, or c += a b + bias; ``ta`` and ``tb`` say that a and b are transposed. No numbers are no bias."""
    work = c.size * (len(a) if ta else a.shape[1]) // PER_NUMBER
    panels = -(-c.shape[1] * c.itemsize // (2 * WIDTH))
    down, across = _cut(-(-c.shape[0] // ROWS), panels, work)
    share(work, down * across, _block, (a, ta, b, tb, c, across, down, add, bias))


@inner
def _matrix(item, a, ta, b, tb, c, add):
    tiles, panels = -(-c.shape[1] // ROWS), -(-c.shape[2] * c.itemsize // (2 * WIDTH))
    _part(a[item], ta, b[item], tb, c[item], (0, tiles), (0, panels), add)


@kernel
def products(a, ta, b, tb, c, add):
    """The same for each matrix of three stacks."""
    work = c.size * (a.shape[1] if ta else a.shape[2]) // PER_NUMBER
    share(work, len(c), _matrix, (a, ta, b, tb, c, add))


@summing
def _few(x, weight, bias, y):
    """y = x weight^T + bias for a few rows: each number is the product of two rows as they lie."""
    for j in range(len(weight)):
        w = weight[j]
        for i in range(len(x)):
            row, total = x[i], x.dtype.type(0)
            for k in range(len(w)):
                total += row[k] * w[k]
            y[i, j] = total + bias[j] if len(bias) else total


@kernel
def few(x, weight, bias, y):
    """y = x weight^T + bias for a few rows, none of which is worth packing."""
    _few(x, weight, bias, y)
