"""write_whole: a file is there as it was or as it is to be, and nothing lies beside it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys

import pytest

from minigrad import files
from minigrad.files import write_whole


@pytest.mark.parametrize("before", [None, b"old"])
def test_the_content_is_written(tmp_path, before):
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_interrupted_write_changes_nothing(tmp_path, monkeypatch, before, error, call):
    def fail(*args):
        raise error

    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(type(error)) as caught:
        write_whole(path, b"new")
    assert caught.value is error
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_the_disk_is_written_before_the_file_appears(tmp_path, monkeypatch):
    calls = []
    replace = os.replace
    monkeypatch.setattr(files.os, "fsync", lambda file: calls.append(os.fstat(file).st_size))

    def check(part, path):
        calls.append("replace")
        assert part.parent == path.parent
        assert part.read_bytes() == b"new"
        replace(part, path)

    monkeypatch.setattr(files.os, "replace", check)
    write_whole(tmp_path / "file", b"new")
    assert calls == [len(b"new"), "replace"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"new")
        (tmp_path / "other").write_bytes(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_no_folder_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/file'$"):
        write_whole(tmp_path / "absent" / "file", b"new")
    assert os.listdir(tmp_path) == []


POSIX = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no modes, links or devices of this kind"
)


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_is_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write_whole(path, b"new")
    assert path.stat().st_mode & 0o7777 == mode
    assert path.read_bytes() == b"new"


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_is_followed(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target, path = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
        target.chmod(0o600)
    path.symlink_to("elsewhere/target")
    write_whole(path, b"new")
    assert path.is_symlink() and target.read_bytes() == b"new"
    assert not there or target.stat().st_mode & 0o777 == 0o600
    assert os.listdir(target.parent) == ["target"]


@POSIX
def test_a_link_to_itself_is_an_error(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="link") as caught:
        write_whole(tmp_path / "link", b"new")
    assert caught.value.errno == errno.ELOOP and (tmp_path / "link").is_symlink()


@POSIX
def test_a_device_stays_one(tmp_path):
    (tmp_path / "null").symlink_to(os.devnull)
    write_whole(tmp_path / "null", b"new")
    assert os.path.exists(os.devnull) and not os.path.isfile(os.devnull)


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def fail(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fail)
    path = tmp_path / "file"
    with pytest.raises(OSError, match=r"No space left on device: '.*file'"):
        write_whole(path, b"new")
    assert os.listdir(tmp_path) == []


KILLED = """
import os, sys, time
from pathlib import Path
from minigrad import files
def wait(file):
    print("written", flush=True)
    time.sleep(600)
files.os.fsync = wait
files.write_whole(Path(sys.argv[1]), b"theirs")
"""


def test_what_killed_writers_left_is_removed_and_a_living_one_is_let_be(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    (tmp_path / ".old.0123abcd.part").write_bytes(b"of a version that locked nothing")
    (tmp_path / ".other.part").write_bytes(b"somebody else's")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(theirs)], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout.readline() == "written\n"
            write_whole(ours, b"new")
            there = sorted(os.listdir(tmp_path))
            assert (
                there[0] == ".other.part"
                and there[1].startswith(".theirs.")
                and there[2:] == ["ours"]
            )
        finally:
            writer.kill()
    write_whole(ours, b"newer")
    assert sorted(os.listdir(tmp_path)) == [".other.part", "ours"]


def write_often(path):
    for i in range(100):
        write_whole(path, bytes([i]) * 1000)


def test_many_writers_of_one_folder(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(write_often, [tmp_path / "a", tmp_path / "b", tmp_path / "a"], chunksize=1)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert {len(p.read_bytes()) for p in tmp_path.iterdir()} == {1000}
