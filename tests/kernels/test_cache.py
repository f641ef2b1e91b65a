"""Where compiled kernels are kept, for which sources, and what happens where that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from minigrad.kernels.compiled import cache

ROOT = Path(__file__).parents[2]
CODE = "import minigrad as mg; assert mg.relu(mg.sigmoid(mg.tensor([0, 0]))).numpy().tolist() == [0.5, 0.5]"
SAID = "minigrad: compiling its kernels"


def start(**environment):
    """A process that runs two kernels; the variables of the test are its only ones about caches."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    settings = kept | {"PYTHONPATH": str(ROOT), "MINIGRAD_KERNELS": ""} | environment
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CODE], env=settings, stderr=subprocess.PIPE, text=True
    )


def compiled(process):
    """Whether a process compiled something, which it says in one line; what else it says is an error."""
    _, said = process.communicate()
    assert process.returncode == 0 and said.count("\n") == said.startswith(SAID), said
    return bool(said)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has LOCALAPPDATA instead")
def test_kernels_are_kept_in_the_users_cache_folder(tmp_path):
    """Two first runs at once; damaged files are compiled again, once."""
    first = [start(XDG_CACHE_HOME=str(tmp_path)) for _ in range(2)]
    assert all(map(compiled, first))
    assert {path.parent for path in files(tmp_path)} == {tmp_path / "minigrad" / cache.digest()}
    for content in (b"", b"\0" * 40):
        for path in files(tmp_path):
            path.write_bytes(content)
        assert [compiled(start(XDG_CACHE_HOME=str(tmp_path))) for _ in range(2)] == [True, False]


def test_numbas_setting_comes_first(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    settings = {"XDG_CACHE_HOME": str(ours), "NUMBA_CACHE_DIR": str(theirs)}
    assert compiled(start(**settings)) and not compiled(start(**settings))
    assert files(theirs / "minigrad") and not ours.exists()


def test_without_a_folder_that_can_be_written(tmp_path):
    no_folder = tmp_path / "file"
    no_folder.touch()
    assert compiled(start(XDG_CACHE_HOME=str(no_folder), LOCALAPPDATA=str(no_folder)))


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/minigrad"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/minigrad"),
        ("linux", {}, "/home/me/.cache/minigrad"),
        ("darwin", {}, "/home/me/Library/Caches/minigrad"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/x/minigrad"),
        ("win32", {"LOCALAPPDATA": "/x", "XDG_CACHE_HOME": "/y"}, "/x/minigrad"),
        ("linux", {"HOME": "nowhere"}, None),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="its paths are others")
def test_the_folder_of_each_platform(monkeypatch, platform, environment, expected):
    monkeypatch.setattr(cache.numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in ({"HOME": "/home/me"} | environment).items():
        monkeypatch.setenv(name, value)
    assert cache.root() == (expected and Path(expected))


@pytest.mark.parametrize("name", ["channels.py", "new.py", "../threads.py", None])
def test_each_source_and_compiler_counts(tmp_path, monkeypatch, name):
    """Functions of other files are inlined into kernels."""
    sources = Path(cache.__file__).parent
    copy = tmp_path / "kernels" / "compiled"
    shutil.copytree(sources, copy)
    shutil.copy(sources.parent / "threads.py", copy.parent)
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    before = cache.digest()
    if name is None:
        monkeypatch.setattr(cache.llvmlite, "__version__", "0.0")
    else:
        with open(copy / name, "a", encoding="utf-8") as file:
            file.write("# changed")
    assert cache.digest() != before


def test_sources_that_are_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "archive.zip" / "cache.py"))
    assert cache.folder() is None


def test_versions_that_were_not_used_for_longest_are_removed(tmp_path):
    folders = [tmp_path / str(i) for i in range(cache.KEPT + 3)]
    for i, path in enumerate(folders):
        path.mkdir()
        (path / "kernel.nbc").touch()
        os.utime(path, (i, i))
    cache.clean(folders[0])
    assert {path for path in folders if path.exists()} == {folders[0], *folders[4:]}
    cache.clean(tmp_path / "not made yet")
