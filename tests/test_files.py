"""write_whole: a file is there as it was or as it is to be, and nothing lies beside it."""

from __future__ import annotations

import os

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
    with pytest.raises(FileNotFoundError, match="absent"):
        write_whole(tmp_path / "absent" / "file", b"new")
    assert os.listdir(tmp_path) == []
