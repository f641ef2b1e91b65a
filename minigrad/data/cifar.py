"""CIFAR-10 in its binary version: six files of 10,000 records, in their archive or extracted from it.

A record is one byte for the label, 0 to 9, then the 32 x 32 pixels of the red plane, row by row, then those of the
green and the blue plane.

Source: A. Krizhevsky, "The CIFAR-10 dataset", https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .source import Source

_RECORDS = 10_000
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_ARCHIVE = "cifar-10-binary.tar.gz"
#: exceptions for damaged headers and compressed data
_DAMAGE = ValueError, OverflowError, RecursionError, EOFError, gzip.BadGzipFile, zlib.error
_CIFAR10 = Source(
    title="CIFAR-10",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    hashes={_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    splits={
        "train": {f"data_batch_{i}.bin": _ARCHIVE for i in range(1, 6)},
        "test": {"test_batch.bin": _ARCHIVE},
    },
)


def cifar10(
    split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes.

    The classes, in order: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck. Arguments, folders
    (``cifar-10`` in the place of ``mnist``) and errors are those of ``mnist``. The file is the published archive,
    ``cifar-10-binary.tar.gz`` (170 MB), or the extracted files, ``data_batch_1.bin`` and so on.

    Returns
    -------
    images : numpy.ndarray of float32, shape (N, 3, 32, 32)
        Intensities of red, green and blue in [0, 1]: the multiples of 1/255. N is 50,000 (614 MB) or 10,000.
    labels : numpy.ndarray of int64, shape (N,)
        The classes, 0 to 9.
    """
    paths = _CIFAR10.find(split, root, download)
    archives = {path for path in paths.values() if path.name == _ARCHIVE}  # none or one
    packed = {name: content for path in archives for name, content in _unpack(path).items()}
    images = np.empty((len(paths), _RECORDS, *_SHAPE), np.float32)
    labels = np.empty((len(paths), _RECORDS), np.int64)
    for i, (name, path) in enumerate(paths.items()):
        content = packed.get(name, b"") if path in archives else path.read_bytes()
        if len(content) != _RECORDS * _RECORD:
            raise ValueError(
                f"{path}: {name} must have {_RECORDS * _RECORD} bytes, but has {len(content)}"
            )
        records = np.frombuffer(content, np.uint8).reshape(_RECORDS, _RECORD)
        if records[:, 0].max() > 9:
            raise ValueError(f"{path}: {name} must hold labels from 0 to 9, but holds others")
        labels[i] = records[:, 0]
        np.divide(records[:, 1:].reshape(-1, *_SHAPE), 255, out=images[i], dtype=np.float32)
    return images.reshape(-1, *_SHAPE), labels.reshape(-1)


def _unpack(path: Path) -> dict[str, memoryview]:
    """Read the files in an archive by name. Nothing is written, no link followed, and memory is bounded."""
    limit = 6 * _RECORDS * _RECORD + (1 << 20)  # headers and a page of text beside the records
    try:
        with gzip.open(path) as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"it has more than {limit} bytes unzipped")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return {
                os.path.basename(m.name): memoryview(content)[m.offset_data :][: m.size]
                for m in archive
                if m.isreg() and os.path.dirname(m.name) == "cifar-10-batches-bin"
            }
    except (tarfile.TarError, *_DAMAGE) as error:
        raise ValueError(f"{path} is not a sound archive: {error}") from error
