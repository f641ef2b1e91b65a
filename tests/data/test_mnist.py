"""read_idx, mnist and fashion_mnist: sound files exactly, a ValueError that names the file for all others."""

from __future__ import annotations

import gzip
import struct
import sys
import tracemalloc

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from data.shared import CODES, IMAGES, IMAGES_NAME, LABELS, LABELS_NAME, encode, fill, first
from helpers import refuses
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minigrad.data import fashion_mnist, mnist, read_idx

HEADER = struct.pack(">HBBI", 0, 0x08, 1, 3)
BODY = HEADER + b"\1\2\3"
MEBIBYTE = 1 << 20


SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
ARRAYS = st.sampled_from(list(CODES)).flatmap(lambda dtype: npst.arrays(dtype, SHAPES))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "array-idx"


class TestIdx:
    def accepts_only_what_it_reproduces(self, path, content, plain):
        """The file is refused by a ValueError that names it, or ``plain`` is its one encoding."""
        path.write_bytes(content)
        try:
            result = read_idx(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert encode(result) == plain

    @given(array=ARRAYS, zipped=st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_round_trip(self, path, array, zipped):
        path.write_bytes(gzip.compress(encode(array)) if zipped else encode(array))
        result = read_idx(path)
        assert result.dtype == array.dtype and result.dtype.isnative
        assert result.shape == array.shape
        assert result.flags.writeable and result.flags.c_contiguous
        assert encode(result) == encode(array)  # as bytes, so that each NaN is the same NaN

    @given(
        start=st.one_of(
            st.sampled_from([b"", b"\x1f\x8b"]),
            st.tuples(st.sampled_from(list(CODES.values())), st.integers(0, 255)).map(
                lambda pair: bytes([0, 0, *pair])
            ),
        ),
        rest=st.binary(max_size=64),
    )
    @settings(max_examples=200, deadline=None)
    @example(bytes([0, 0, 8, 3]), struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1))
    @example(bytes([0, 0, 8, 100]), bytes(400))
    def test_arbitrary_bytes(self, path, start, rest):
        content = start + rest
        self.accepts_only_what_it_reproduces(path, content, content)
        self.accepts_only_what_it_reproduces(path, gzip.compress(content, mtime=0), content)

    @given(array=ARRAYS, zipped=st.booleans(), appended=st.binary(max_size=9), data=st.data())
    @settings(max_examples=200, deadline=None)
    def test_truncated_appended_or_one_byte_changed(self, path, array, zipped, appended, data):
        plain = encode(array)
        content = bytearray(gzip.compress(plain) if zipped else plain)
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        padded = zipped and not appended.strip(b"\0")  # gzip permits zeros at a file's end
        for other in (content[:place], (content if zipped else b"") + appended):
            if appended and other:
                self.accepts_only_what_it_reproduces(path, other, plain if padded else None)
        if zipped:
            content[place] ^= data.draw(st.integers(1, 255))
            self.accepts_only_what_it_reproduces(path, content, plain)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"", "requires a buffer of 4 bytes"),
            (HEADER[:6], "requires a buffer of 4 bytes"),
            (b"PK\x03\x04" + bytes(32), "must not begin with 0x504b0304"),
            (b"\0\0\x0a\x01" + bytes(4), "must not begin with 0x00000a01"),
            (b"\0\0\x08\0\x07", "must not begin with 0x00000800"),
            (HEADER + b"\1\2\3\4", "header says (3,) uint8, 3 bytes, but more follow"),
            (HEADER + b"\1\2", "header says (3,) uint8, 3 bytes, but fewer are there"),
            (gzip.compress(HEADER, mtime=0)[:-1] + b"\x01", "is not a sound IDX file"),
            (gzip.compress(BODY, mtime=0)[:-9], "ended before"),
            (gzip.compress(BODY, mtime=0) + b"garbage", "Not a gzipped file"),
        ],
    )
    def test_complaints(self, path, content, complaint):
        path.write_bytes(content)
        with refuses(ValueError, complaint) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)

    def test_gzip_is_recognized_by_content(self, tmp_path):
        halves = gzip.compress(HEADER, mtime=0) + gzip.compress(b"\1\2\3")
        for name, content in {"a.gz": BODY, "b": gzip.compress(BODY), "c": halves}.items():
            (tmp_path / name).write_bytes(content)
            np.testing.assert_array_equal(read_idx(str(tmp_path / name)), [1, 2, 3])
        with pytest.raises(FileNotFoundError):
            read_idx(tmp_path / "missing")

    @pytest.mark.parametrize("shape", [(10,), (2**20,) * 3, (2**32 - 1,) * 255], ids=len)
    @pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
    def test_a_false_header_costs_no_memory(self, path, shape, zipped):
        header = struct.pack(f">HBB{len(shape)}I", 0, 0x08, len(shape), *shape)
        with gzip.open(path, "wb", compresslevel=1) if zipped else open(path, "wb") as file:
            file.write(header + bytes(32 * MEBIBYTE))
        tracemalloc.start()
        try:
            with refuses(ValueError, "array-idx"):
                read_idx(path)
            assert tracemalloc.get_traced_memory()[1] < 2 * MEBIBYTE
        finally:
            tracemalloc.stop()


def marked(mark):
    """Labels by which a copy is recognized."""
    return np.full(3, mark, np.uint8)


@pytest.mark.parametrize("function", [mnist, fashion_mnist])
@pytest.mark.parametrize("zipped", [True, False])
def test_types_shapes_and_values(home, function, zipped):
    folder = fill(home / "here", zipped=zipped)
    for _ in range(2):
        images, labels = function("test", root=folder, download=False)
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(images, IMAGES.astype(np.float32) / 255)
        np.testing.assert_array_equal(labels, LABELS)
        images[:], labels[:] = 5, 5  # the next call returns new arrays


def test_train_is_the_default_and_needs_only_its_own_files(home):
    fill(home / "here", prefix="train", labels=LABELS[::-1])
    assert mnist(root=home / "here", download=False)[1][0] == 9
    assert first(split="train", root="~/here") == 9
    with pytest.raises(FileNotFoundError, match="t10k"):
        first(root=home / "here")


def test_folders(home, monkeypatch):
    """``root`` alone, else the data folder, else the cache; the data sets apart, and never files of two copies."""
    monkeypatch.setenv("MINIGRAD_DATA", str(fill(home / "data")))
    with pytest.raises(FileNotFoundError):
        first()
    fill(home / "cache" / "minigrad" / "mnist", labels=marked(3))
    assert first() == 3
    fill(home / "data" / "mnist", labels=marked(2))
    assert first() == 2
    fill(home / "root", labels=marked(1))
    assert first(root=home / "root") == 1
    with pytest.raises(FileNotFoundError):
        first(root=home / "empty")
    with pytest.raises(FileNotFoundError):
        first(fashion_mnist)
    fill(home / "data" / "fashion-mnist", labels=marked(4))
    assert first(fashion_mnist) == 4
    (home / "data" / "mnist" / f"{IMAGES_NAME}.gz").unlink()
    assert first() == 3


@pytest.mark.parametrize(
    ("platform", "folder"), [("linux", ".cache"), ("darwin", ".cache"), ("win32", "AppData/Local")]
)
def test_cache_in_the_home_folder(home, monkeypatch, platform, folder):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("LOCALAPPDATA")
    fill(home / folder / "minigrad" / "mnist")
    assert first() == 7


def test_missing_files_are_named_with_what_to_do(home, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
    with pytest.raises(FileNotFoundError) as caught:
        first(fashion_mnist)
    message = str(caught.value)
    folder, cache = home / "data" / "fashion-mnist", home / "cache/minigrad/fashion-mnist"
    assert f"Fashion-MNIST's test split is not in {folder} or {cache}, and download=F" in message
    assert f"put {IMAGES_NAME}.gz and {LABELS_NAME}.gz into the folder {folder}, as pub" in message
    assert all(word in message for word in ("root=", "MINIGRAD_DATA", "http://fashion"))
    (fill(home / "here") / f"{LABELS_NAME}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"put {LABELS_NAME}.gz into"):
        first(root=home / "here")


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (IMAGES[:, :27], LABELS, r"images.*shape \(3, 28, 28\).*shape \(3, 27, 28\)"),
        (IMAGES[0], LABELS, r"images.*shape \(28, 28\)"),
        (IMAGES[:0], LABELS[:0], r"images.*shape \(1, 28, 28\).*shape \(0, 28, 28\)"),
        (LABELS, LABELS, r"images.*shape \(3,\)"),
        (IMAGES, IMAGES, r"labels.*shape \(3,\).*shape \(3, 28, 28\)"),
        (IMAGES, LABELS[:2], r"labels.*shape \(3,\).*shape \(2,\)"),
        (IMAGES, LABELS.astype(np.int8), r"labels.*must hold uint8.*but holds int8"),
        (IMAGES, LABELS + 1, "labels.*0 to 9, but holds 10"),
    ],
)
def test_files_that_hold_something_else(home, images, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        first(root=fill(home / "here", images, labels))


def test_damaged_files_are_named_and_not_replaced(home):
    path = fill(home / "here") / f"{IMAGES_NAME}.gz"
    path.write_bytes(before := path.read_bytes()[:-20])
    with refuses(ValueError, f"{IMAGES_NAME}.gz is not a sound IDX file"):
        mnist("test", root=home / "here")
    assert path.read_bytes() == before


@pytest.mark.parametrize("split", ["validation", "t10k", None])
def test_unknown_split(split):
    with refuses(ValueError, f"must be 'train' or 'test', but is {split!r}"):
        mnist(split)
