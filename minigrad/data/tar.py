"""The tar format, in which CIFAR-10 is published, read strictly: known files of a known size.

A tar archive is a row of blocks of 512 bytes: of each member a header and then its content, filled
up with zeros; at the end, blocks of zeros. Of a header these fields are read, which all the dialects
(POSIX, GNU, pax) share; the numbers are ASCII octals.

==========  ========  ======================================================================
bytes       field     content
==========  ========  ======================================================================
0-99        name      ended by a zero byte if shorter
124-135     size      of the content, in bytes
148-155     checksum  the sum of the header's bytes, with these eight counted as spaces
156         type      "0" or a zero byte for a regular file; all else is something else
257-262     magic     "ustar" and a zero byte where there is a prefix
345-499     prefix    comes before the name, with a slash between, if it is not empty
==========  ========  ======================================================================

The standard library's ``tarfile`` reads much more, and takes headers at their word: 200 kB of gzip
can hold one that it needs 400 MB for. Here nothing is written, memory follows the size that the
caller expects, and time a limit that the caller sets.

Source: "pax - portable archive interchange", ustar Interchange Format, IEEE Std 1003.1-2017,
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Collection, Iterator

_BLOCK = 512
_CHUNK = 1 << 16


def read_members(
    path: str | os.PathLike[str], names: Collection[str], size: int, limit: int
) -> Iterator[tuple[str, bytes]]:
    """Yield files out of a gzipped tar archive, in the archive's order.

    The archive is read to its end before the iteration ends, so that its checksums are compared;
    its other members are passed over, whatever they are.

    Parameters
    ----------
    path : str or os.PathLike
        The archive.
    names : collection of str
        The files' full names in it.
    size : int
        The size that each of them must have, in bytes.
    limit : int
        The size in bytes that the archive may have unzipped.

    Yields
    ------
    tuple of str and bytes
        A name and the file's content.

    Raises
    ------
    ValueError
        If the archive is damaged or larger than ``limit``, or one of the files is missing, there
        twice, no regular file or not of ``size``.
    OSError
        If the archive cannot be opened or read.

    Examples
    --------
    >>> import io, pathlib, tarfile, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "letters.tar.gz")
    ...     with tarfile.open(path, "w:gz") as archive:
    ...         for name in "ab":
    ...             member = tarfile.TarInfo(f"letters/{name}")
    ...             member.size = 2
    ...             archive.addfile(member, io.BytesIO(2 * name.encode()))
    ...     list(read_members(path, ["letters/b"], size=2, limit=20_000))
    [('letters/b', b'bb')]
    """
    try:
        with gzip.open(path, "rb") as stream:
            yield from _walk(stream, set(names), size, limit)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{os.fspath(path)} is not a sound archive: {error}. Put an intact copy in its place."
        ) from error


def _walk(
    stream: io.BufferedIOBase, names: set[str], size: int, limit: int
) -> Iterator[tuple[str, bytes]]:
    left = limit

    def take(count: int) -> bytes:
        nonlocal left
        left -= count
        if left < 0:
            raise ValueError(f"it must not have more than {limit} bytes unzipped, but does")
        content = stream.read(count)
        if len(content) != count:
            raise ValueError("it ends too early")
        return content

    missing = set(names)
    while any(block := take(_BLOCK)):
        name, length, regular = _decode(block)
        padded = -(-length // _BLOCK) * _BLOCK
        if name not in names:
            for start in range(0, padded, _CHUNK):
                take(min(_CHUNK, padded - start))
            continue
        if name not in missing:
            raise ValueError(f"it holds {name} twice")
        if not regular:
            raise ValueError(f"{name} in it must be a regular file, but is something else")
        if length != size:
            raise ValueError(f"{name} in it must have {size} bytes, but has {length}")
        missing.remove(name)
        yield name, take(padded)[:size]
    if missing:
        raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
    while chunk := stream.read(_CHUNK):
        left -= len(chunk)
        if left < 0 or chunk.strip(b"\0"):
            raise ValueError("more than blocks of zeros follow its end")


def _decode(block: bytes) -> tuple[str, int, bool]:
    """Return a member's name, size and whether it is a regular file."""
    field = block[148:156]
    if _octal(field) != sum(block) - sum(field) + 8 * ord(" "):
        raise ValueError("the checksum of a header in it is wrong")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = _text(block[345:500]) + b"/" + name
    return name.decode("utf-8", "replace"), _octal(block[124:136]), block[156:157] in (b"0", b"\0")


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(field: bytes) -> int:
    digits = _text(field).strip(b" ")
    if not digits or digits.strip(b"01234567"):
        raise ValueError(f"a header in it must hold an octal number where it holds {field!r}")
    return int(digits, 8)
