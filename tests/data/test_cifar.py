"""cifar10: the binary version in files or in its archive, read exactly, or refused with a reason."""

from __future__ import annotations

import gzip
import os
import tarfile

import numpy as np
import pytest
from helpers import refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.data import cifar
from minigrad.data.cifar import cifar10

#: records in a file, in place of 10,000
N = 3
SIZE = N * 3073
TRAIN = [f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)]
TEST = "test_batch.bin"
ARCHIVE = "cifar-10-binary.tar.gz"
INSIDE = "cifar-10-batches-bin"


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    monkeypatch.setattr(cifar, "_RECORDS", N)
    (home / "here").mkdir()
    return home / "here"


RNG = np.random.default_rng(0)
ARRAYS = {
    name: (RNG.integers(0, 256, (N, 3, 32, 32), np.uint8), RNG.integers(0, 10, N))
    for name in [*TRAIN, TEST]
}
FILES = {
    name: b"".join(bytes([t]) + x.tobytes() for x, t in zip(images, labels, strict=True))
    for name, (images, labels) in ARRAYS.items()
}


def member(name, content=b"", kind=tarfile.REGTYPE, size=None):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content) if size is None else size, "/etc/hosts"
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pack(files, folder=INSIDE):
    """The archive as it is published: with a folder, and a page that is no records."""
    rest = {"readme.html": b"<html>", **files}
    members = [member(f"{folder}/{name}", content) for name, content in rest.items()]
    return member(folder, kind=tarfile.DIRTYPE) + b"".join(members) + bytes(1024)


def fill(folder, names=FILES, files=FILES):
    for name in names:
        (folder / name).write_bytes(files[name])


def fill_packed(folder, files=FILES):
    # Not in the order of their names, as in the published archive.
    content = pack(dict(reversed(files.items())))
    (folder / ARCHIVE).write_bytes(gzip.compress(content, 1, mtime=0))


def holds(result, *names):
    """The result is what these files hold, one after the other."""
    images, labels = result
    expected, classes = (np.concatenate([ARRAYS[n][k] for n in names]) for k in (0, 1))
    np.testing.assert_array_equal(images, expected.astype(np.float32) / 255)
    np.testing.assert_array_equal(labels, classes)
    return images.dtype == np.float32 and labels.dtype == np.int64 and images.flags.writeable


@pytest.mark.parametrize("put", [fill, fill_packed])
def test_both_splits(here, put):
    put(here)
    assert holds(cifar10(root=here, download=False), *TRAIN)
    assert holds(cifar10("test", root=str(here), download=False), TEST)


def test_the_layout_of_a_record(here):
    record = bytearray(3073)
    record[0], record[1 + 0 * 1024 + 32 * 5 + 7], record[1 + 2 * 1024 + 31] = 9, 255, 51
    fill(here, files=FILES | {TEST: bytes(record) * N}, names=[TEST])
    images, labels = cifar10("test", root=here)
    expected = np.zeros((3, 32, 32), np.float32)
    expected[0, 5, 7], expected[2, 0, 31] = 1, 0.2
    np.testing.assert_array_equal(images, np.stack([expected] * N))
    np.testing.assert_array_equal(labels, [9] * N)


def test_unpacked_files_come_before_the_archive(here):
    fill(here, [TEST])
    (here / ARCHIVE).write_bytes(b"nothing")
    assert holds(cifar10("test", root=here, download=False), TEST)
    fill(here, TRAIN[1:3])
    fill_packed(here, {**FILES, TRAIN[1]: bytes(SIZE)})
    assert holds(cifar10(root=here, download=False), *TRAIN)


def test_missing_files(here):
    fill(here, TRAIN)
    with refuses(FileNotFoundError, f"put {ARCHIVE} into the folder {here}, as published at http"):
        cifar10("test", root=here, download=False)
    with refuses(ValueError, "must be 'train' or 'test', but is 'validation'"):
        cifar10("validation", root=here)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", f"must have {SIZE} bytes, but has 0"),
        (bytes(SIZE - 1), f"must have {SIZE} bytes, but has {SIZE - 1}"),
        (bytes(SIZE + 1), f"must have {SIZE} bytes, but has {SIZE + 1}"),
        (b"\x0a" + bytes(SIZE - 1), "labels from 0 to 9"),
        (bytes(SIZE - 3073) + b"\xff" * 3073, "labels from 0 to 9"),
    ],
    ids=["empty", "short", "long", "label 10", "label 255"],
)
@pytest.mark.parametrize(("split", "name"), [("train", TRAIN[3]), ("test", TEST)])
def test_damaged_files(here, split, name, content, complaint):
    for put, path in ((fill_packed, here / ARCHIVE), (fill, here / name)):
        put(here, files=FILES | {name: content})
        with refuses(ValueError, f"{path}: {name} must") as caught:
            cifar10(split, root=here)
        assert complaint in str(caught.value)


PATH = f"{INSIDE}/{TEST}"
HOSTILE = {
    "nothing": b"",
    "no tar": b"!" * 2048,
    "another folder": pack(FILES, "../elsewhere"),
    "symbolic link": member(PATH, kind=tarfile.SYMTYPE),
    "hard link": member(PATH, kind=tarfile.LNKTYPE),
    "device": member(PATH, kind=tarfile.CHRTYPE),
    "false size": member(PATH, FILES[TEST], size=8**11 - 1),
    "cut": pack(FILES)[:-2000],
    "large": pack({"readme.html": bytes(7 * SIZE + (1 << 20)), **FILES}),
    "large pax header": member("x", bytes(1 << 23), kind=tarfile.XHDTYPE) + pack(FILES),
    "overflow": member("x", b"29 size=99999999999999999999\n", kind=tarfile.XHDTYPE)
    + member(PATH, FILES[TEST]),
    "many headers": 2000 * member("x", b"9 a=bcde\n", kind=tarfile.XHDTYPE) + pack(FILES),
    "nested gzip": gzip.compress(pack(FILES)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives(here, content):
    (here / ARCHIVE).write_bytes(gzip.compress(content, 1))
    with refuses(ValueError, str(here / ARCHIVE)):
        cifar10("test", root=here)
    assert os.listdir(here) == [ARCHIVE]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_one_byte_of_the_archive_changed(tmp_path_factory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "_RECORDS", N)
        path = tmp_path_factory.getbasetemp() / ARCHIVE
        content = bytearray(pack({TEST: FILES[TEST]}))
        zipped = data.draw(st.booleans(), label="of the gzip")
        if zipped:
            content = bytearray(gzip.compress(content, 1, mtime=0))
        place = data.draw(st.integers(0, len(content) - 1) if zipped else st.integers(0, 2047))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content if zipped else gzip.compress(content, 1, mtime=0))
        try:
            assert holds(cifar10("test", root=path.parent, download=False), TEST)
        except ValueError as error:
            assert str(path) in str(error)
