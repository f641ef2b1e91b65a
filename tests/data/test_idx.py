"""The IDX reader: exact on sound files, and a clear ValueError, at little cost, on all others."""

from __future__ import annotations

import gzip
import math
import struct
import tracemalloc

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minigrad.data.idx import read_idx

CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}
HEADER = struct.pack(">HBBI", 0, 0x08, 1, 3)
MEBIBYTE = 1 << 20


def encode(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def arrays():
    shapes = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
    return st.sampled_from(list(CODES)).flatmap(lambda dtype: npst.arrays(dtype, shapes))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "array-idx"


@pytest.fixture
def read(path):
    def read(content):
        path.write_bytes(content)
        return read_idx(path)

    return read


@given(array=arrays(), zipped=st.booleans())
@settings(max_examples=100, deadline=None)
def test_round_trip(path, array, zipped):
    path.write_bytes(gzip.compress(encode(array)) if zipped else encode(array))
    result = read_idx(path)
    assert result.dtype == array.dtype and result.dtype.isnative
    assert result.shape == array.shape
    assert result.flags.writeable and result.flags.c_contiguous
    # As bytes, so that each NaN comes back as the NaN it was.
    assert encode(result) == encode(array)


def accepts_only_what_it_reproduces(path, content, plain):
    """The file is refused by a ValueError that names it, or `plain` is its one encoding."""
    path.write_bytes(content)
    try:
        result = read_idx(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert encode(result) == plain


@given(content=st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
@example(b"")
@example(HEADER)
def test_arbitrary_bytes(path, content):
    accepts_only_what_it_reproduces(path, content, content)


@given(
    code=st.sampled_from(list(CODES.values())),
    ndim=st.integers(0, 255),
    rest=st.binary(max_size=64),
)
@settings(max_examples=200, deadline=None)
@example(0x08, 3, struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1))
@example(0x08, 100, bytes(400))
def test_arbitrary_bytes_after_a_good_magic_number(path, code, ndim, rest):
    content = bytes([0, 0, code, ndim]) + rest
    accepts_only_what_it_reproduces(path, content, content)
    accepts_only_what_it_reproduces(path, gzip.compress(content, mtime=0), content)


@given(rest=st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
@example(b"")
def test_arbitrary_bytes_after_gzip_s_magic_number(path, rest):
    path.write_bytes(b"\x1f\x8b" + rest)
    with pytest.raises(ValueError, match="array-idx"):
        read_idx(path)


@given(array=arrays(), zipped=st.booleans(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_truncated(path, array, zipped, data):
    content = gzip.compress(encode(array)) if zipped else encode(array)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), label="kept")])
    with pytest.raises(ValueError, match="array-idx"):
        read_idx(path)


@given(array=arrays(), appended=st.binary(min_size=1, max_size=16))
@settings(max_examples=100, deadline=None)
def test_appended(path, array, appended):
    for content in (encode(array) + appended, gzip.compress(encode(array) + appended)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="array-idx"):
            read_idx(path)


@given(array=arrays(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_one_byte_of_the_header_changed(path, array, data):
    content = bytearray(encode(array))
    content[data.draw(st.integers(0, 3 + 4 * array.ndim))] ^= data.draw(st.integers(1, 255))
    accepts_only_what_it_reproduces(path, bytes(content), bytes(content))
    accepts_only_what_it_reproduces(path, gzip.compress(content, mtime=0), bytes(content))


@given(array=arrays(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_one_byte_of_the_gzip_changed(path, array, data):
    content = bytearray(gzip.compress(encode(array)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    accepts_only_what_it_reproduces(path, bytes(content), encode(array))


@pytest.mark.parametrize(
    "content, complaint",
    [
        (b"", "ends inside its header"),
        (b"\0\0\x08", "ends inside its header"),
        (HEADER[:6], "ends inside its header"),
        (b"PK\x03\x04" + bytes(8), "must begin with two zero bytes, but begins with 0x504b"),
        (b"\0\0\x0a\x01" + bytes(4), "type code must be one of 0x08, .* but is 0x0a"),
        (b"\0\0\x08\0\x07", "at least one dimension"),
        (b"\0\0\x08\1\xff\xff\xff\xff\7", r"too short to hold .* \(4294967295,\)"),
        (HEADER + b"\1\2\3\4", r"header says \(3,\) uint8, 3 bytes of data, but more follow"),
        (HEADER + b"\1\2", r"header says \(3,\) uint8, 3 bytes of data, but only 2 are there"),
        (gzip.compress(HEADER, mtime=0)[:-1] + b"\x01", "is not a sound IDX file"),
        (gzip.compress(HEADER + b"\1\2\3", mtime=0)[:-9], "ended before"),
        (gzip.compress(HEADER + b"\1\2\3", mtime=0) + b"garbage", "Not a gzipped file"),
    ],
)
def test_the_complaint_says_what_is_wrong_and_where(read, path, content, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        read(content)
    assert str(path) in str(caught.value)
    assert "intact copy" in str(caught.value)


def test_gzip_is_told_by_the_content_not_by_the_name(tmp_path):
    content = HEADER + b"\1\2\3"
    (tmp_path / "plain.gz").write_bytes(content)
    (tmp_path / "zipped").write_bytes(gzip.compress(content, mtime=0))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), [1, 2, 3])
    np.testing.assert_array_equal(read_idx(str(tmp_path / "zipped")), [1, 2, 3])


def test_a_gzip_of_two_members_is_one_file(read):
    np.testing.assert_array_equal(
        read(gzip.compress(HEADER, mtime=0) + gzip.compress(b"\1\2\3")), [1, 2, 3]
    )


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "missing")


SIZES = [(10,), (2**20, 2**20, 2**20), (2**32 - 1,) * 255]


@pytest.mark.parametrize("shape", SIZES, ids=["bomb", "2^60", "255 axes"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_a_lying_header_costs_no_memory(path, shape, zipped):
    body = 32 * MEBIBYTE
    header = struct.pack(f">HBB{len(shape)}I", 0, 0x08, len(shape), *shape)
    assert math.prod(shape) != body
    with gzip.open(path, "wb", compresslevel=1) if zipped else open(path, "wb") as file:
        file.write(header + bytes(body))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="array-idx"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_memory_follows_the_bytes_that_are_there(path):
    # The empty members make the file so long that the header's claim is possible, only untrue.
    header = struct.pack(">HBBI", 0, 0x08, 1, 33 * MEBIBYTE)
    path.write_bytes(gzip.compress(header + bytes(MEBIBYTE)) + gzip.compress(b"", mtime=0) * 2000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="only 1048576 are there"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()
