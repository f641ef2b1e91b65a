"""Batches of arrays, shuffled anew in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..ops.random import generator
from ..tensor import Tensor, tensor


class DataLoader:
    """Iterates over arrays in batches; each iteration is one epoch.

    Parameters
    ----------
    arrays : sequence of NumPy arrays
        Of one length n, such as images and labels.
    batch_size : int
    shuffle : bool
        Take the examples in a new random order in each epoch (the default), or as they stand.
    drop_last : bool
        Leave out a last batch that is smaller than the others.
    rng : numpy.random.Generator, optional
        Draws the orders; the default generator, set by ``minigrad.manual_seed``, if left out.

    Yields
    ------
    tuple of Tensors
        One batch of each array, of its dtype, on the default backend.

    Raises
    ------
    ValueError
        If there are no arrays, their lengths differ, or batch_size < 1.

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
    ) -> None:
        if not isinstance(arrays, (list, tuple)) or not arrays:
            raise ValueError("DataLoader: expected a list or tuple of at least one array")
        self.arrays = [np.asarray(a) for a in arrays]
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"DataLoader: expected arrays of one length, got {lengths}")
        if batch_size < 1:
            raise ValueError(f"DataLoader: expected batch_size >= 1, got {batch_size}")
        self.batch_size, self.shuffle, self.drop_last, self.rng = (
            batch_size,
            shuffle,
            drop_last,
            rng,
        )

    def __len__(self) -> int:
        """Batches per epoch."""
        n = len(self.arrays[0])
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        n = len(self.arrays[0])
        order = generator(self.rng).permutation(n) if self.shuffle else np.arange(n)
        for i in range(len(self)):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield tuple([tensor(a[batch]) for a in self.arrays])
