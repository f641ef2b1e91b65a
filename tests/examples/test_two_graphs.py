"""examples/two_graphs.py: what it prints and draws."""

from __future__ import annotations

import sys

from examples import two_graphs


def test_without_graphviz_it_prints_all_and_writes_dot(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    two_graphs.main(["--batch-size", "20", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    for part in (
        "MLP, train: 20x784 float32 -> 20x10 float32",
        "MLP, eval: 20x784 float32 -> 20x10 float32",
        "ops that both have: 7; only here: 6, only there: 3",
        "pip install 'minigrad-bn[graphs]'",
        f"wrote {tmp_path / 'mlp_eval.dot'}",
    ):
        assert part in out
    assert "move_statistics" in (tmp_path / "mlp_train.dot").read_text()
    assert "frozen_batch_norm" in (tmp_path / "mlp_eval.dot").read_text()
