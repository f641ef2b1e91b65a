"""MNIST and Fashion-MNIST, both published as the same four files in the IDX format, gzipped.

An IDX file is one array, every number big-endian: two zero bytes, one byte for the type (0x08 uint8, 0x09 int8, 0x0B
int16, 0x0C int32, 0x0D float32, 0x0E float64), one for the number of axes, four for the size of each axis, then the
elements in C order and nothing after them.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/, where "The IDX file format" is at the end.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import Source

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_SPLITS = {
    split: {
        f"{part}-{kind}": f"{part}-{kind}.gz" for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    }
    for split, part in {"train": "train", "test": "t10k"}.items()
}


def _source(title: str, mirrors: tuple[str, ...], *hashes: str) -> Source:
    """The hashes are those of the images and labels for training, then for testing."""
    published = [name for files in _SPLITS.values() for name in files.values()]
    return Source(title, mirrors, dict(zip(published, hashes, strict=True)), _SPLITS)


_MNIST = _source(
    "MNIST",
    (
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
_FASHION_MNIST = _source(
    "Fashion-MNIST",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)


def mnist(
    split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load MNIST: 70,000 grey images of handwritten digits, 28 x 28 pixels.

    Its files, gzipped or not, are read from the first of these folders that has them: ``root`` alone, if it is given;
    else ``mnist`` in the folder that the environment variable ``MINIGRAD_DATA`` names; then ``minigrad/mnist`` in
    ``$XDG_CACHE_HOME``, else in ``~/.cache`` (on Windows in ``%LOCALAPPDATA%``). Where none has them, what is missing
    is downloaded into the first of these folders and checked against its SHA-256, unless ``download`` is False.

    Returns
    -------
    images : numpy.ndarray of float32, shape (N, 28, 28)
        Intensities in [0, 1]: the multiples of 1/255. N is 60,000 for the split "train", 10,000 for "test".
    labels : numpy.ndarray of int64, shape (N,)
        The classes, 0 to 9.

    Raises
    ------
    ValueError
        If ``split`` is unknown, or a file is damaged or holds something else.
    FileNotFoundError, ConnectionError, ImportError
        If files are missing, and ``download`` is False, no mirror could provide them, or pooch is not installed.
    """
    return _read(*_MNIST.find(split, root, download).values())


def fashion_mnist(
    split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load Fashion-MNIST: 70,000 grey images of clothing, 28 x 28 pixels (H. Xiao et al. 2017, arXiv:1708.07747).

    The classes, in order: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot. Arguments,
    results and errors are those of ``mnist``. The names of the files are too, so that only their folder (by default
    ``fashion-mnist`` in the place of ``mnist``) tells the two data sets apart.
    """
    return _read(*_FASHION_MNIST.find(split, root, download).values())


def _read(images_path: Any, labels_path: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    n = max(len(images), 1)  # an empty file is refused
    for path, array, shape in (images_path, images, (n, 28, 28)), (labels_path, labels, (n,)):
        if array.dtype != np.uint8 or array.shape != shape:
            raise ValueError(
                f"{path} must hold uint8 of shape {shape}, but holds {array.dtype} of shape {array.shape}"
            )
    if labels.max() > 9:
        raise ValueError(f"{labels_path} must hold labels from 0 to 9, but holds {labels.max()}")
    return np.divide(images, 255, dtype=np.float32), labels.astype(np.int64)


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the array in an IDX file, gzipped or not, as a new array in native byte order.

    Raises ValueError if the file is anything but one whole IDX array, and OSError if it cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     size = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    # A byte of gzip expands to at most 1032; a header that claims more is refused before reading.
    capacity = os.path.getsize(path) * (1032 if zipped else 1)
    try:
        with gzip.open(path) if zipped else open(path, "rb") as stream:
            zeros, code, ndim = struct.unpack(">HBB", stream.read(4))
            shape = struct.unpack(f">{ndim}I", stream.read(4 * ndim))
            if zeros or code not in _DTYPES or ndim == 0:
                raise ValueError(f"it must not begin with 0x{zeros:04x}{code:02x}{ndim:02x}")
            dtype = np.dtype(_DTYPES[code])
            size = math.prod(shape) * dtype.itemsize
            # One more byte detects extra data, and makes gzip verify its checksum.
            data = stream.read(size + 1) if size <= capacity else b""
        if len(data) != size:
            came = "more follow" if len(data) > size else "fewer are there"
            raise ValueError(f"its header says {shape} {dtype.name}, {size} bytes, but {came}")
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except (ValueError, struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{os.fspath(path)} is not a sound IDX file: {error}") from error
