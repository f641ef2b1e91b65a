"""examples/training_template.py: what it prints and writes."""

from __future__ import annotations

import re

import minigrad as mg
from examples import training_template


def test_it_trains_and_keeps_the_best(tmp_path, capsys):
    training_template.main(["--epochs", "2", "--out", str(tmp_path / "new" / "folder")])
    out, folder = capsys.readouterr().out, tmp_path / "new" / "folder"
    accuracy = float(re.search(r"test accuracy of .*best.safetensors: (\S+)%$", out, re.M)[1])
    assert accuracy > 70
    assert "total" in out and "BatchNorm" in out
    assert mg.load(folder / "best.safetensors")["4.weight"].shape == (10, 100)
    assert (folder / "training.png").read_bytes().startswith(b"\x89PNG")
