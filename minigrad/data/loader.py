"""Batches of arrays, reshuffled in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import backend as backends
from ..dtypes import real
from ..messages import Explained, kind_of
from ..ops.random import generator
from ..tensor import Tensor, tensor


class DataLoader(Explained):
    """Iterate over arrays of one length in batches, tuples of Tensors; each iteration is one epoch.

    Parameters
    ----------
    arrays : sequence of NumPy arrays
        Such as images and labels, of real numbers.
    batch_size : int
    shuffle : bool
        Whether to use a new random order in each epoch (the default), or that of the arrays.
    drop_last : bool
        Whether to drop a smaller last batch.
    rng : numpy.random.Generator, optional
        Draws the orders; by default the generator set by ``minigrad.manual_seed``. To resume training exactly, save its
        ``bit_generator.state`` too: no ``state_dict`` contains it.
    backend : {"numpy", "cupy"}, optional
        The backend of the batches, by default the default backend. To the current GPU, each is copied from page-locked
        memory during the use of the previous one.
    shard : minigrad.distributed, optional
        Give each process its part of every batch, in an order that rank 0 draws; the parts differ by one example at
        most. ValueError if there are more processes than examples in the last batch.

    Examples
    --------
    >>> import numpy as np
    >>> loader = DataLoader([np.arange(5)], batch_size=2, shuffle=False)
    >>> len(loader), [len(x) for (x,) in loader]
    (3, [2, 2, 1])
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        rng: np.random.Generator | None = None,
        backend: str | None = None,
        shard: Any = None,
    ) -> None:
        if not isinstance(arrays, (list, tuple)) or not arrays or isinstance(arrays[0], tuple):
            raise ValueError(
                "DataLoader: expected a list or tuple of at least one array, as in DataLoader([images, labels], 32), "
                f"got {kind_of(arrays)}"
            )
        self.arrays = [np.asarray(a) for a in arrays]
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"DataLoader: expected arrays of one length, got {lengths}")
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"DataLoader: expected batch_size >= 1, got {batch_size!r}")
        if backend is not None:
            backends.get(backend)
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.rng, self.backend, self.shard = rng, backend, shard
        last = batch_size if drop_last else lengths[0] % batch_size or batch_size
        if shard is not None and last < shard.size():
            raise ValueError(
                f"DataLoader: the last batch has {last} examples for {shard.size()} processes; use drop_last=True or "
                "another batch_size"
            )

    def __len__(self) -> int:
        """Batches per epoch."""
        n = len(self.arrays[0])
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        backend = backends.default() if self.backend is None else backends.get(self.backend)
        if backend.ahead is None:
            for batch in self._batches():
                yield tuple([tensor(a, backend=backend.name) for a in batch])
        else:
            for batch in backend.ahead(self._batches()):
                yield tuple([Tensor(a) for a in batch])

    def _batches(self) -> Iterator[tuple[np.ndarray, ...]]:
        n = len(self.arrays[0])
        order = generator(self.rng).permutation(n) if self.shuffle else np.arange(n)
        if self.shard is not None:
            order = self.shard.init().broadcast(order)
        for i in range(len(self)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            if self.shard is not None:
                chosen = np.array_split(chosen, self.shard.size())[self.shard.rank()]
            yield tuple([np.asarray(a[chosen], real(a.dtype)) for a in self.arrays])
