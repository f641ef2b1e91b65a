"""The IDX format, in which MNIST and Fashion-MNIST are published, read strictly.

An IDX file is one array: a header, then the elements in C order, every number big-endian.

======================  ========================================================
0, 0                    two zero bytes
type                    one byte: 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32,
                        0x0D float32, 0x0E float64
ndim                    one byte
size_0 .. size_ndim-1   four bytes each, unsigned
data                    the elements, and nothing after them
======================  ========================================================

Source: "The IDX file format", at the end of Y. LeCun, C. Cortes and C. J. C. Burges,
"The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
# Deflate spends at least two bits on a run of at most 258 bytes.
_DEFLATE_MOST = 1032
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the array in an IDX file, gzipped or not.

    Gzip is told by the file's first bytes, not by its name. The header is never trusted: memory
    grows with the bytes that are really there, up to what the header says and no further.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    numpy.ndarray
        A new, writable array of the header's shape, of dtype uint8, int8, int16, int32, float32
        or float64 in this machine's byte order.

    Raises
    ------
    ValueError
        If the file is anything but one whole IDX array: a wrong header, bytes missing or left
        over, a damaged gzip.
    OSError
        If the file cannot be opened or read (FileNotFoundError if it is not there).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     size = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     labels = read_idx(path)
    >>> labels
    array([7, 2, 1], dtype=uint8)
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        capacity = os.fstat(file.fileno()).st_size * (_DEFLATE_MOST if zipped else 1)
        try:
            with gzip.GzipFile(fileobj=file) if zipped else file as stream:
                return _decode(stream, capacity)
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{os.fspath(path)} is not a sound IDX file: {error}. "
                "Put an intact copy in its place."
            ) from error


def _decode(stream: io.BufferedIOBase, capacity: int) -> NDArray[Any]:
    """Decode a stream that can yield at most ``capacity`` bytes."""
    zeros, code, ndim = struct.unpack(">HBB", _take(stream, 4))
    if zeros != 0:
        raise ValueError(f"it must begin with two zero bytes, but begins with 0x{zeros:04x}")
    if code not in _DTYPES:
        known = ", ".join(f"0x{known:02x}" for known in _DTYPES)
        raise ValueError(f"its type code must be one of {known}, but is 0x{code:02x}")
    if ndim == 0:
        raise ValueError("it must have at least one dimension, but its header says 0")
    shape = struct.unpack(f">{ndim}I", _take(stream, 4 * ndim))
    dtype = np.dtype(_DTYPES[code])
    size = math.prod(shape) * dtype.itemsize
    if size > capacity:
        raise ValueError(f"it is too short to hold the shape in its header, {shape}")

    data = bytearray()
    # One byte more than the array is asked for: it shows what is left over, and only at the end
    # of the stream does gzip compare its checksum.
    while chunk := stream.read(min(_CHUNK, size + 1 - len(data))):
        data += chunk
    if len(data) != size:
        came = f"only {len(data)} are there" if len(data) < size else "more follow"
        raise ValueError(f"its header says {shape} {dtype.name}, {size} bytes of data, but {came}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _take(stream: io.BufferedIOBase, size: int) -> bytes:
    header = stream.read(size)
    if len(header) != size:
        raise ValueError("it ends inside its header")
    return header
