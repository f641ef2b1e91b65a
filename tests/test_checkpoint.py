"""save and load: round trips and damaged files. write_whole: files are complete, and no others are left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import checkpoint, nn
from minigrad.checkpoint import write_whole

pytestmark = pytest.mark.usefixtures("backend")
safetensors = pytest.importorskip("safetensors.numpy")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def same(loaded, expected):
    assert loaded.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_array_equal(loaded[name], a, err_msg=name, strict=True)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0,), (2, 0)])
def test_dtypes_and_shapes(path, rng, dtype, shape):
    array = rng.uniform(0, 9, shape).astype(dtype)
    mg.save(path, {"array": array, "tensor": mg.tensor(array)})
    same(mg.load(path), {"array": array, "tensor": array})


LAYOUTS = [
    np.arange(12).reshape(3, 4).T,
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(12)[::-3],
    np.broadcast_to(np.float32(1), (2, 3)),
    np.array([1.5, np.nan, np.inf, -0.0]),
]
OTHERS = [
    ({"x": np.arange(3, dtype=">i4")}, {"x": np.arange(3, dtype=np.int32)}),
    ({"x": np.float64(0.5), "n": np.int64(3)}, {"x": np.array(0.5), "n": np.array(3)}),
    ({}, {}),
]


@pytest.mark.parametrize(("given", "found"), [*OTHERS, *(({"x": a}, {"x": a}) for a in LAYOUTS)])
def test_layouts_byte_orders_and_scalars(path, given, found):
    mg.save(str(path), given)
    loaded = mg.load(str(path))
    same(loaded, found)
    assert all(a.flags.writeable for a in loaded.values())


def test_other_programs_can_read_it(path):
    state = nn.BatchNorm(3).state_dict()
    mg.save(path, state)
    same(safetensors.load_file(path), state)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({1: np.ones(2)}, TypeError, "names to be strings, got 1"),
        ({"x": [1.0]}, TypeError, "'x' to be a Tensor or a NumPy array of numbers, got list"),
        ({"x": 1.0}, TypeError, "numbers, got float"),
        ({"x": None}, TypeError, "numbers, got None"),
        ({"x": np.array(["a"])}, TypeError, "numbers, got <U1"),
        ({"x": np.array([None])}, TypeError, "numbers, got object"),
        ({"x": np.ones(2, complex)}, TypeError, "numbers, got complex128"),
        ({"__metadata__": np.ones(2)}, ValueError, "the name '__metadata__'"),
    ],
)
def test_what_cannot_be_saved(path, state, error, message):
    with pytest.raises(error, match=message):
        mg.save(path, {"good": np.ones(2), **state})
    assert os.listdir(path.parent) == []


DAMAGE = {
    "end": lambda content: content[:-1],
    "header": lambda content: content[:20],
    "longer": lambda content: content + b"!",
    "empty": lambda content: b"",
    "pickle": lambda content: b"\x80\x04K\x01.",
    "garbage": lambda content: b"\xff" * 100,
    "dtype": lambda content: content.replace(b"F32", b"XYZ"),
    "bfloat16": lambda content: content.replace(b'"F32","shape":[2]', b'"BF16","shape":[4]'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_and_missing_files(path, damage):
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        mg.load(path)
    mg.save(path, {"x": np.ones(2, np.float32)})
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is not a complete safetensors"):
        mg.load(path)


@pytest.mark.parametrize("call", [lambda path: mg.save(path, {}), mg.load], ids=["save", "load"])
def test_without_safetensors(path, monkeypatch, call):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        call(path)
    assert os.listdir(path.parent) == []


POSIX = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no modes, links or devices of this kind"
)


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("error", [None, OSError("disk full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_the_file_is_as_it_was_or_as_it_is_to_be(path, monkeypatch, before, error, call):
    def fail(*args):
        raise error

    if before is not None:
        path.write_bytes(before)
    if error is None:
        write_whole(path, b"new")
    else:
        monkeypatch.setattr(checkpoint.os, call, fail)
        with pytest.raises(type(error)) as caught:
            write_whole(path, b"new")
        assert caught.value is error
    expected = before if error else b"new"
    assert [p.read_bytes() for p in path.parent.iterdir()] == [expected][: expected is not None]


def test_the_disk_is_written_before_the_file_appears(path, monkeypatch):
    calls, replace = [], os.replace

    def check(part, path):
        calls.append("replace")
        assert part.parent == path.parent and part.read_bytes() == b"new"
        replace(part, path)

    monkeypatch.setattr(checkpoint.os, "fsync", lambda f: calls.append(os.fstat(f).st_size))
    monkeypatch.setattr(checkpoint.os, "replace", check)
    write_whole(path, b"new")
    assert calls == [len(b"new"), "replace"]


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_is_kept_or_that_of_any_new_file(path, mask):
    before = os.umask(mask)
    try:
        write_whole(path, b"new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    for mode in (0o600, 0o640, 0o444):
        path.chmod(mode)
        write_whole(path, b"newer")
        assert path.stat().st_mode & 0o7777 == mode and path.read_bytes() == b"newer"


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target, path = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    path.symlink_to("elsewhere/target")
    write_whole(path, b"new")
    assert path.is_symlink() and target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["target"]


@POSIX
def test_other_things_than_files(tmp_path):
    loop, null = tmp_path / "loop", tmp_path / "null"
    loop.symlink_to("loop")
    with pytest.raises(OSError, match="loop") as caught:
        write_whole(loop, b"new")
    assert caught.value.errno == errno.ELOOP and loop.is_symlink()
    null.symlink_to(os.devnull)
    write_whole(null, b"new")
    assert os.path.exists(os.devnull) and not os.path.isfile(os.devnull)


def test_errors_name_the_file(tmp_path, monkeypatch):
    def fail(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(FileNotFoundError, match=r"absent/file'$"):
        write_whole(tmp_path / "absent" / "file", b"new")
    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*file'"):
        write_whole(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_what_killed_writers_left_is_removed_and_a_living_one_is_let_be(tmp_path):
    (tmp_path / ".old.0123abcd.part").write_bytes(b"of a version that locked nothing")
    (tmp_path / ".other.part").write_bytes(b"somebody else's")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "theirs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "written\n"
            write_whole(tmp_path / "ours", b"new")
            other, theirs, *rest = sorted(os.listdir(tmp_path))
            assert theirs.startswith(".theirs.") and [other, *rest] == [".other.part", "ours"]
        finally:
            writer.kill()
    write_whole(tmp_path / "ours", b"newer")
    assert sorted(os.listdir(tmp_path)) == [".other.part", "ours"]


def test_many_writers_of_one_folder(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(write_often, [tmp_path / "a", tmp_path / "b", tmp_path / "a"], chunksize=1)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert {len(p.read_bytes()) for p in tmp_path.iterdir()} == {1000}


KILLED = """
import sys, time
from pathlib import Path
from minigrad import checkpoint
def wait(file):
    print("written", flush=True)
    time.sleep(600)
checkpoint.os.fsync = wait
checkpoint.write_whole(Path(sys.argv[1]), b"theirs")
"""


def write_often(path):
    for i in range(100):
        write_whole(path, bytes([i]) * 1000)
