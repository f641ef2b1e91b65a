"""Command lines end with one line where something from outside ends them."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = {f"examples.{p.stem}": p.read_text("utf-8") for p in (ROOT / "examples").glob("*.py")}
MAINS = [name for name, text in EXAMPLES.items() if "def main" in text]
MAINS += ["minigrad.info", "benchmarks.__main__"]
FULL = Path("/dev/full")

#: what is raised, exit code or message, and the line on stderr
ENDS = {
    "interrupted": (KeyboardInterrupt(), 130, "interrupted"),
    "full": (OSError(errno.ENOSPC, "No space left", "a/b"), "a/b: No space left", ""),
    "unnamed": (OSError(errno.ENOSPC, "No space left"), "No space left", ""),
    "unnumbered": (ConnectionError("no mirror has it"), "no mirror has it", ""),
}


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(("error", "code", "line"), ENDS.values(), ids=ENDS)
def test_every_command_line(monkeypatch, capsys, name, error, code, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", fail)
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module(name).main([])
    assert exit_.value.code == code
    assert capsys.readouterr().err.strip() == line


@pytest.mark.parametrize("name", [name for name in MAINS if "args.out" in EXAMPLES.get(name, "")])
def test_a_folder_that_cannot_be_made_ends_it_before_the_training(tmp_path, monkeypatch, name):
    def fail(*_):
        raise AssertionError("something was computed first")

    monkeypatch.setattr("minigrad.nn.Module.__call__", fail)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"Not a directory|exists"):
        importlib.import_module(name).main(["--out", str(tmp_path / "file" / "folder")])


def start(*arguments, **files):
    command = [sys.executable, "-u", "-m", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **files)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("what", ["stdout", "checkpoint"])
def test_a_full_disk(tmp_path, what):
    options = ["--steps", "3", "--seeds", "1", "--out", str(tmp_path)]
    command = {
        "stdout": ["examples.two_graphs", "--out", str(tmp_path)],
        "checkpoint": ["examples.deep_sigmoid_mlp", *options, "--checkpoint", str(FULL)],
    }[what]
    with FULL.open("w") as full, start(*command, stdout=full if what == "stdout" else None) as job:
        _, errors = job.communicate(timeout=120)
    named = "" if what == "stdout" else f"{FULL}: "
    assert errors.splitlines()[-1] == f"{named}No space left on device"
    assert "Traceback" not in errors and "ignored" not in errors and job.returncode == 1
    assert FULL.is_char_device()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process alone")
def test_ctrl_c():
    with start("examples.tf_layers", "--steps", "100000000", stdout=subprocess.PIPE) as job:
        try:
            while "trained" not in job.stdout.readline():
                pass
            job.send_signal(signal.SIGINT)
            _, errors = job.communicate(timeout=60)
        finally:
            job.kill()
    assert (job.returncode, errors) == (130, "interrupted\n")
