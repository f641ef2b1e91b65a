"""cifar10(): the binary version in files or in its archive, read exactly, or refused with a reason."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minigrad.data import cifar, source
from minigrad.data.cifar import cifar10

#: records in a file, in place of 10,000
N = 3
SIZE = N * 3073
TRAIN = [f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)]
TEST = "test_batch.bin"
ARCHIVE = "cifar-10-binary.tar.gz"


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "_RECORDS", N)
        yield


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test sees the user's own cache or data folder."""
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For the tests that write many files, one after the other."""
    return tmp_path_factory.mktemp("cifar")


def encode(images, labels):
    """One file: bytes of shape (N, 3, 32, 32) and (N,)."""
    return b"".join(bytes([t]) + x.tobytes() for x, t in zip(images, labels, strict=True))


RNG = np.random.default_rng(0)
ARRAYS = {
    name: (RNG.integers(0, 256, (N, 3, 32, 32), np.uint8), RNG.integers(0, 10, N))
    for name in [*TRAIN, TEST]
}
FILES = {name: encode(*arrays) for name, arrays in ARRAYS.items()}


def pack(files):
    """The archive, as it is published: with a folder, and a page that is no records."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folder = tarfile.TarInfo("cifar-10-batches-bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(content.getvalue(), 1, mtime=0)


def fill(folder, names=FILES, files=FILES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(files[name])
    return folder


def fill_packed(folder, files=FILES):
    folder.mkdir(parents=True, exist_ok=True)
    # Not in the order of their names, as in the published archive.
    (folder / ARCHIVE).write_bytes(pack(dict(reversed(files.items()))))
    return folder


def holds(result, *names):
    """The result is what these files hold, one after the other."""
    images, labels = result
    expected, classes = (np.concatenate([ARRAYS[n][k] for n in names]) for k in (0, 1))
    np.testing.assert_array_equal(images, expected.astype(np.float32) / 255)
    np.testing.assert_array_equal(labels, classes)
    return images.dtype == np.float32 and labels.dtype == np.int64


class TestReading:
    @pytest.mark.parametrize("put", [fill, fill_packed])
    def test_both_splits(self, home, put):
        put(home / "here")
        assert holds(cifar10("train", root=home / "here", download=False), *TRAIN)
        assert holds(cifar10("test", root=str(home / "here"), download=False), TEST)
        assert all(array.flags.writeable for array in cifar10("test", root=home / "here"))

    def test_the_layout_of_a_record(self, home):
        record = bytearray(3073)
        record[0], record[1 + 0 * 1024 + 32 * 5 + 7], record[1 + 2 * 1024 + 31] = 9, 255, 51
        fill(home / "here", files=FILES | {TEST: bytes(record) * N}, names=[TEST])
        images, labels = cifar10("test", root=home / "here")
        expected = np.zeros((3, 32, 32), np.float32)
        expected[0, 5, 7], expected[2, 0, 31] = 1, 0.2
        np.testing.assert_array_equal(images, np.stack([expected] * N))
        np.testing.assert_array_equal(labels, [9] * N)

    def test_train_is_the_default_and_needs_only_its_own_files(self, home):
        fill(home / "here", TRAIN)
        assert holds(cifar10(root=home / "here", download=False), *TRAIN)
        with pytest.raises(FileNotFoundError, match=TEST):
            cifar10("test", root=home / "here", download=False)

    def test_what_is_unpacked_needs_no_archive(self, home):
        fill(home / "here", [TEST])
        (home / "here" / ARCHIVE).write_bytes(b"nothing")
        assert holds(cifar10("test", root=home / "here"), TEST)

    def test_what_is_not_unpacked_is_in_the_archive(self, home):
        fill(home / "here", TRAIN[1:3])
        fill_packed(home / "here", {**FILES, TRAIN[1]: bytes(SIZE)})
        assert holds(cifar10(root=home / "here", download=False), *TRAIN)

    def test_folders(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fill(home / "cache" / "minigrad" / "cifar-10")
        assert holds(cifar10(download=False), *TRAIN)
        fill(home / "data" / "cifar-10", files=dict.fromkeys(FILES, FILES[TEST]))
        assert holds(cifar10(download=False), *[TEST] * 5)
        # Never some files from here and some from there.
        (home / "data" / "cifar-10" / TRAIN[4]).unlink()
        assert holds(cifar10(download=False), *TRAIN)

    def test_unknown_split(self, home):
        with pytest.raises(ValueError, match="must be 'train' or 'test', but is 'validation'"):
            cifar10("validation", root=home)


class TestRefusing:
    def test_what_to_put_where(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fill(home / "data" / "cifar-10", TRAIN[:3])
        with pytest.raises(FileNotFoundError) as caught:
            cifar10(download=False)
        message = str(caught.value)
        folder, cache = home / "data" / "cifar-10", home / "cache" / "minigrad" / "cifar-10"
        assert f"CIFAR-10's train split is not in {folder} or {cache}, and download=F" in message
        assert f"Put {ARCHIVE} into the folder {folder}, as published at https://www" in message
        assert f"/~kriz/, or unpacked: {TRAIN[3]}, {TRAIN[4]}. " in message
        assert "cifar10(root=...)" in message and "MINIGRAD_DATA" in message

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"", f"3 records of 3073 bytes, {SIZE} bytes, but only 0 are there"),
            (bytes(SIZE - 1), f"{SIZE} bytes, but only {SIZE - 1} are there"),
            (bytes(SIZE + 1), f"{SIZE} bytes, but more follow"),
            (b"\x0a" + bytes(SIZE - 1), "labels from 0 to 9, but holds 10"),
            (bytes(SIZE - 3073) + b"\xff" * 3073, "labels from 0 to 9, but holds 255"),
        ],
        ids=["empty", "short", "long", "label 10", "label 255"],
    )
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_damaged_files(self, home, split, content, complaint):
        name = {"train": TRAIN[3], "test": TEST}[split]
        path = fill(home / "here", files=FILES | {name: content}) / name
        with pytest.raises(ValueError, match=complaint) as caught:
            cifar10(split, root=home / "here")
        assert str(path) in str(caught.value) and "in its place" in str(caught.value)
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (bytes(SIZE - 1), f"must have {SIZE} bytes, but has {SIZE - 1}"),
            (bytes(SIZE + 1), f"must have {SIZE} bytes, but has {SIZE + 1}"),
            (b"\x0a" + bytes(SIZE - 1), "must hold labels from 0 to 9, but holds 10"),
        ],
        ids=["short", "long", "label 10"],
    )
    def test_damaged_archives(self, home, content, complaint):
        fill_packed(home / "here", FILES | {TRAIN[3]: content})
        with pytest.raises(ValueError, match=complaint) as caught:
            cifar10(root=home / "here")
        message = str(caught.value)
        assert str(home / "here" / ARCHIVE) in message
        assert f"cifar-10-batches-bin/{TRAIN[3]}" in message and "in its place" in message
        assert os.listdir(home / "here") == [ARCHIVE]

    def test_other_archives(self, home):
        fill_packed(home / "here", {f"../{name}": content for name, content in FILES.items()})
        with pytest.raises(ValueError, match=r"has no cifar-10-batches-bin/test_batch\.bin"):
            cifar10("test", root=home / "here")

    def test_much_larger_archives(self, home):
        fill_packed(home / "here", {"readme.html": bytes(7 * SIZE + (1 << 20)), **FILES})
        with pytest.raises(ValueError, match=f"not have more than {6 * SIZE + (1 << 20)} bytes"):
            cifar10("test", root=home / "here")


class TestAnything:
    """Whatever is in a file, it is refused, or the result says just what is in it."""

    def read(self, folder, content):
        """The bytes of the file as the result has them, or None where it is refused."""
        (folder / TEST).write_bytes(content)
        try:
            images, labels = cifar10("test", root=folder, download=False)
        except ValueError as error:
            assert str(folder / TEST) in str(error)
            return None
        return encode(np.rint(images * 255).astype(np.uint8), labels)

    @given(
        images=npst.arrays(np.uint8, (N, 3, 32, 32)),
        labels=npst.arrays(np.uint8, N, elements=st.integers(0, 9)),
    )
    @settings(max_examples=50, deadline=None)
    def test_round_trip(self, folder, images, labels):
        content = encode(images, labels)
        assert self.read(folder, content) == content

    @given(labels=st.lists(st.integers(0, 255), min_size=N, max_size=N))
    @settings(max_examples=100, deadline=None)
    @example([0, 0, 10])
    def test_labels(self, folder, labels):
        content = encode(ARRAYS[TEST][0], labels)
        assert self.read(folder, content) == (content if max(labels) < 10 else None)

    @given(size=st.integers(0, 3 * SIZE), head=st.binary(max_size=20))
    @settings(max_examples=100, deadline=None)
    @example(SIZE, b"")
    @example(SIZE + 3073, b"")
    def test_sizes(self, folder, size, head):
        content = (head + bytes(size))[:size]
        sound = size == SIZE and not (head and head[0] > 9)
        assert self.read(folder, content) == (content if sound else None)

    @given(data=st.data())
    @settings(max_examples=100, deadline=None)
    def test_one_byte_of_the_archive_changed(self, folder, data):
        content = bytearray(pack({TEST: FILES[TEST]}))
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        (folder / TEST).unlink(missing_ok=True)
        (folder / ARCHIVE).write_bytes(content)
        try:
            assert holds(cifar10("test", root=folder, download=False), TEST)
        except ValueError as error:
            assert str(folder / ARCHIVE) in str(error)


class TestDownloading:
    @pytest.fixture
    def publish(self, tmp_path_factory, monkeypatch):
        """Have the archive published, or another in its place, and return the address."""

        def publish(content=None):
            folder, sound = tmp_path_factory.mktemp("mirror"), pack(FILES)
            (folder / ARCHIVE).write_bytes(sound if content is None else content)
            address = f"{folder.as_uri()}/"
            files = {ARCHIVE: (len(sound), hashlib.sha256(sound).hexdigest())}
            changed = dataclasses.replace(cifar._CIFAR10, mirrors=(address,), files=files)
            monkeypatch.setattr(cifar, "_CIFAR10", changed)
            return address

        return publish

    def test_once_for_both_splits(self, home, publish, monkeypatch):
        publish()
        fetch, fetched = source.fetch, []

        def counted(name, *arguments):
            fetched.append(name)
            return fetch(name, *arguments)

        monkeypatch.setattr(source, "fetch", counted)
        assert holds(cifar10(root=home / "a" / "b"), *TRAIN)
        assert holds(cifar10("test", root=home / "a" / "b"), TEST)
        assert os.listdir(home / "a" / "b") == fetched == [ARCHIVE]

    def test_an_altered_archive_is_not_kept(self, home, publish):
        address = publish(pack(FILES | {TEST: bytes(SIZE)}))
        with pytest.raises(ConnectionError) as caught:
            cifar10("test", root=home / "here")
        message = str(caught.value)
        assert f"CIFAR-10's {ARCHIVE} could not be downloaded:\n  {address}: expected" in message
        assert f"Put {ARCHIVE} into the folder {home / 'here'}" in message
        assert not (home / "here").exists()
