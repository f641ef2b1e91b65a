"""examples/training_template.py: what it prints and writes, and that it stays short."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import minigrad as mg

FILE = Path(__file__).parents[2] / "examples" / "training_template.py"


def run(monkeypatch, folder, *options):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", [str(FILE), *options])
    runpy.run_path(str(FILE), run_name="__main__")


def test_it_trains_and_keeps_the_best(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "agg")
    run(monkeypatch, tmp_path)
    assert float(re.search(r"^test accuracy (\S+)%$", capsys.readouterr().out, re.M)[1]) > 85
    assert mg.load("out/best.safetensors")["4.weight"].shape == (10, 100)
    assert Path("out/training.png").read_bytes().startswith(b"\x89PNG")


def test_it_is_short_and_says_what_it_does(tmp_path, monkeypatch, capsys):
    assert sum(bool(line) for line in FILE.read_text("utf-8").splitlines()) <= 44
    with pytest.raises(SystemExit, match=r"^0$"):
        run(monkeypatch, tmp_path, "--help")
    assert "Takes seconds" in " ".join(capsys.readouterr().out.split())
