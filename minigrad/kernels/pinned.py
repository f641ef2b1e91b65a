"""Batches copied to a GPU ahead of their use, from page-locked memory on a stream of their own.

While the consumer computes with one batch, the next is on its way. Three orders make that safe, each kept by an event:
a copy begins when the consumer's stream is done with what it had queued before, since memory that it gave back may be
what the copy was given; the consumer's stream waits for the copy of what it is about to use; and page-locked memory
goes back for the next batch only after the copy out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np


class Staged(NamedTuple):
    """A batch on its way: the arrays that it becomes, the page-locked ones it comes from, the event of its arrival."""

    arrays: tuple[Any, ...]
    pinned: list[np.ndarray]
    copied: Any


def ahead(batches: Iterable[tuple[np.ndarray, ...]]) -> Iterator[tuple[Any, ...]]:
    """``batches`` as CuPy arrays of C order, on the current device and for its current stream."""
    import cupy  # type: ignore[import-not-found,unused-ignore]
    import cupyx  # type: ignore[import-not-found,unused-ignore]

    stream = cupy.cuda.Stream(non_blocking=True)

    def stage(batch: tuple[np.ndarray, ...]) -> Staged:
        pinned = [cupyx.empty_pinned(a.shape, a.dtype) for a in batch]
        arrays = tuple([cupy.empty(a.shape, a.dtype) for a in batch])
        stream.wait_event(cupy.cuda.get_current_stream().record())
        for a, page, array in zip(batch, pinned, arrays, strict=True):
            page[...] = a
            array.set(page, stream=stream)
        return Staged(arrays, pinned, stream.record())

    staged = map(stage, batches)
    try:
        current = next(staged, None)
        while current is not None:
            following = next(staged, None)
            cupy.cuda.get_current_stream().wait_event(current.copied)
            yield current.arrays
            current.copied.synchronize()
            current = following
    finally:  # also where the consumer leaves early: what is still on its way has memory that others may get
        stream.synchronize()
