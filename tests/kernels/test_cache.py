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
    assert any([compiled(process) for process in first])
    assert {path.parent for path in files(tmp_path)} == {tmp_path / "minigrad" / cache.digest()}
    for content in (b"", b"\0" * 40):
        for path in files(tmp_path):
            path.write_bytes(content)
        assert [compiled(start(XDG_CACHE_HOME=str(tmp_path))) for _ in range(2)] == [True, False]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is claimed there")
def test_what_another_process_compiles_is_waited_for(tmp_path):
    import fcntl

    done, waits = tmp_path / "done", tmp_path / "waits"
    assert compiled(start(XDG_CACHE_HOME=str(done)))
    shutil.copytree(done, waits, ignore=lambda _, names: [n for n in names if "sigmoid" in n])
    missing = [path for path in files(done) if "sigmoid" in path.name]
    with open(waits / missing[0].relative_to(done).parent / "claims", "wb") as claims:
        fcntl.lockf(claims, fcntl.LOCK_EX)
        process = start(XDG_CACHE_HOME=str(waits))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        for path in missing:
            shutil.copy(path, waits / path.relative_to(done))
    assert not compiled(process)


STEP = """
from numba.core import event
import minigrad as mg

compiled = []

class Listener(event.Listener):
    def on_start(self, compilation):
        dispatcher = compilation.data["dispatcher"]
        if dispatcher._cache.cache_path:  # which those that are only inlined do not have
            compiled.append(dispatcher.__name__)

    def on_end(self, compilation):
        pass

event.register("numba:compile", Listener())
mg.set_num_threads(1)
model = mg.nn.Sequential(
    mg.nn.Conv2d(3, 8, 3), mg.nn.Conv2d(8, 8, 3, stride=2, padding=1), mg.nn.BatchNorm(8), mg.nn.ReLU(),
    mg.nn.Flatten(), mg.nn.Linear(32, 16), mg.nn.BatchNorm(16), mg.nn.Sigmoid(), mg.nn.Linear(16, 4),
)
optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
labels = mg.tensor([0, 1] * 4, dtype="int64")
mg.softmax_cross_entropy(model(mg.ones(8, 3, 6, 6)), labels).backward()
optimizer.step()
model.eval()(mg.ones(8, 3, 6, 6))
print(*compiled)
"""


def test_a_rehearsal_compiles_the_end_of_a_step(tmp_path):
    """What an MLP's and a CNN's step start with is left to the process that trains; it finds all the rest."""
    settings = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    settings["MINIGRAD_KERNELS"] = ""

    def run(code):
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=settings, check=True, stdout=subprocess.PIPE, text=True)

    rehearse = "from minigrad.kernels.rehearsal import rehearse; rehearse()"
    started = "from minigrad.kernels.compiled import claims; print(claims._started)"
    assert run(f"{rehearse}; {started}").stdout == "False\n", "a second process must start no third"
    assert set(run(STEP).stdout.split()) == {"columns_forward", "patch_rows", "sigmoid"}


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
