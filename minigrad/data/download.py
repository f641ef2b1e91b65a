"""Files from the network, known by their size and SHA-256."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_TIMEOUT = 30.0
_CHUNK = 1 << 16


def fetch(name: str, mirrors: Sequence[str], size: int, sha256: str) -> bytes:
    """Return the content of a file, from the first mirror that has it intact.

    Progress goes to standard error: a bar where tqdm is installed, else one line.

    Parameters
    ----------
    name : str
        The file's name there.
    mirrors : sequence of str
        The addresses of folders, each ending in a slash.
    size : int
        In bytes.
    sha256 : str
        In hexadecimal digits.

    Raises
    ------
    ConnectionError
        If no mirror has it; the message says of each why not.
    """
    # Imported here because they take as long as the whole of minigrad, which mostly does without.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    failures: dict[str, Exception] = {}
    for mirror in mirrors:
        url = mirror + name
        try:
            with urlopen(url, timeout=_TIMEOUT) as answer, _progress(url, size) as advance:
                return _receive(answer, size, sha256, advance)
        except (OSError, HTTPException) as error:
            failures[mirror] = error
            if isinstance(error, HTTPError):  # it is the answer itself, with an open socket
                error.close()
    reasons = "".join(f"\n  {mirror}: {error}" for mirror, error in failures.items())
    raise ConnectionError(f"{name} could not be downloaded:{reasons}") from failures[mirror]


def _receive(answer: Any, size: int, sha256: str, advance: Callable[[int], object]) -> bytes:
    content = bytearray()
    # One byte more than the file has is asked for, so that a longer answer shows.
    while chunk := answer.read(min(_CHUNK, size + 1 - len(content))):
        content += chunk
        advance(len(chunk))
    if len(content) != size:
        came = f"ended after {len(content)}" if len(content) < size else "went on after them"
        raise ConnectionError(f"expected {size} bytes, but the answer {came}")
    came = hashlib.sha256(content).hexdigest()
    if came != sha256:
        raise ConnectionError(f"expected a file of SHA-256 {sha256}, but {came} came")
    return bytes(content)


@contextmanager
def _progress(url: str, size: int) -> Iterator[Callable[[int], object]]:
    if find_spec("tqdm") is None:
        print(f"minigrad: downloading {url} ({size / 1e6:.1f} MB)", file=sys.stderr)
        yield lambda count: None
    else:
        name = url.rpartition("/")[2]
        with import_module("tqdm").tqdm(total=size, desc=name, unit="B", unit_scale=True) as bar:
            yield bar.update
