"""examples/training_template.py: what it prints and writes, and that it stays short."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import minigrad as mg

FILE = Path(__file__).parents[2] / "examples" / "training_template.py"


def test_it_trains_and_keeps_the_best(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr("sys.argv", [str(FILE)])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(FILE), run_name="__main__")
    assert float(re.search(r"^test accuracy (\S+)%$", capsys.readouterr().out, re.M)[1]) > 85
    assert mg.load("out/best.safetensors")["4.weight"].shape == (10, 100)
    assert Path("out/training.png").read_bytes().startswith(b"\x89PNG")


def test_it_is_short():
    assert sum(bool(line) for line in FILE.read_text("utf-8").splitlines()) <= 44
