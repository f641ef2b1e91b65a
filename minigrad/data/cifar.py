"""CIFAR-10, from a folder you name, a cache, or the network.

Its "binary version" is six files, in one archive or taken out of it. Each is a row of 10,000 records
of 3,073 bytes and nothing else: one byte for the label, 0 to 9, then the 32 x 32 pixels of the red
plane, row by row, then the green and the blue plane.

Source: "The CIFAR-10 dataset", Binary version, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .source import Source
from .tar import read_members

_RECORDS = 10_000
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_ARCHIVE = "cifar-10-binary.tar.gz"
_INSIDE = "cifar-10-batches-bin"
_TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]
_TEST = ["test_batch.bin"]
# What the archive may hold beside the records: headers, padding, a page and a list of the classes.
_BESIDE = 1 << 20

_CIFAR10 = Source(
    title="CIFAR-10",
    function="cifar10",
    folder="cifar-10",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    files={
        _ARCHIVE: (170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")
    },
    splits={"train": dict.fromkeys(_TRAIN, _ARCHIVE), "test": dict.fromkeys(_TEST, _ARCHIVE)},
)


def cifar10(
    split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes.

    The classes, in order: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.

    It is read from the archive ``cifar-10-binary.tar.gz`` as it was published, or from the files
    ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin`` taken out of it. The folders
    are those of ``mnist``: ``root`` if it is given, else ``cifar-10`` under ``MINIGRAD_DATA``, then
    ``minigrad/cifar-10`` in the cache. If none has the split, the archive is downloaded (170 MB),
    checked against its SHA-256 and kept.

    Parameters
    ----------
    split : {"train", "test"}, default "train"
        Which part to return.
    root : str, os.PathLike or None, default None
        The folder of the files; created if it is needed for the download.
    download : bool, default True
        Whether the archive may be downloaded.

    Returns
    -------
    images : numpy.ndarray of float32, shape (N, 3, 32, 32)
        Intensities of red, green and blue in [0, 1]: the multiples of 1/255. N is 50,000 (614 MB)
        or 10,000.
    labels : numpy.ndarray of int64, shape (N,)
        The classes, 0 to 9.

    Raises
    ------
    ValueError
        If ``split`` is unknown, or a file is damaged or holds something else.
    FileNotFoundError
        If files are missing and ``download`` is False.
    ConnectionError
        If files are missing and the archive could not be downloaded.
    OSError
        If a file cannot be read or written.

    Notes
    -----
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.

    Examples
    --------
    >>> cifar10("test", root="nowhere", download=False)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileNotFoundError: CIFAR-10's test split is not in nowhere, and download=False.
    Put cifar-10-binary.tar.gz into the folder nowhere, ... or unpacked: test_batch.bin. ...
    """
    paths = _CIFAR10.find(split, root, download)
    images = np.empty((len(paths), _RECORDS, *_SHAPE), np.float32)
    labels = np.empty((len(paths), _RECORDS), np.int64)
    order = list(paths)
    for name, place, content in _contents(paths):
        i = order.index(name)
        labels[i], pixels = _decode(content, place)
        np.divide(pixels, 255, out=images[i], dtype=np.float32)
    return images.reshape(-1, *_SHAPE), labels.reshape(-1)


def _contents(paths: dict[str, Path]) -> Iterator[tuple[str, str, bytes]]:
    """Yield the files in any order: each one's name, where it lies, and its content."""
    size = _RECORDS * _RECORD
    packed = {f"{_INSIDE}/{name}": name for name, path in paths.items() if path.name == _ARCHIVE}
    for name, path in paths.items():
        if name not in packed.values():
            with open(path, "rb") as file:
                # One byte more than the file should have is asked for, so that a longer one shows.
                yield name, str(path), file.read(size + 1)
    for archive in {paths[name] for name in packed.values()}:  # none or one
        limit = len(_TRAIN + _TEST) * size + _BESIDE
        for member, content in read_members(archive, packed, size, limit):
            yield packed[member], f"{member} in {archive}", content


def _decode(content: bytes, place: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return labels of shape (_RECORDS,) and pixels of shape (_RECORDS, 3, 32, 32)."""
    size = _RECORDS * _RECORD
    if len(content) != size:
        came = f"only {len(content)} are there" if len(content) < size else "more follow"
        raise ValueError(
            f"{place} must hold {_RECORDS} records of {_RECORD} bytes, {size} bytes, but {came}. "
            "Put an intact copy in its place."
        )
    records = np.frombuffer(content, np.uint8).reshape(_RECORDS, _RECORD)
    labels, pixels = records[:, 0], records[:, 1:].reshape(_RECORDS, *_SHAPE)
    if labels.max() > 9:
        raise ValueError(
            f"{place} must hold labels from 0 to 9, but holds {labels.max()}. "
            "Put the right file in its place."
        )
    return labels, pixels
