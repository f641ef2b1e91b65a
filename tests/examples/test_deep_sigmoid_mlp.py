"""The main job at few steps: its accuracies, its curves and its first weights."""

from __future__ import annotations

from jobs import rows, run

from examples import deep_sigmoid_mlp as job


def test_writes_figure_one(tmp_path):
    run(job, tmp_path, "--steps", 60, "--seeds", 2, code=0)
    table = rows(tmp_path / "deep_sigmoid_mlp_digits.csv")
    assert len(table) == 2 * 2 * 61  # seeds, networks, evaluations
    assert {r["network"] for r in table} == {"without batch norm", "with batch norm"}
    assert sorted({int(r["seed"]) for r in table}) == [0, 1]
    assert len({r["unit"] for r in table}) == 1
    last = {(r["seed"], r["network"]): r for r in table if r["step"] == "60"}
    for seed in "01":
        with_bn, without = (last[seed, f"{name} batch norm"] for name in ("with", "without"))
        assert float(with_bn["test_accuracy"]) > 0.7 > 0.3 > float(without["test_accuracy"])
        # Batch norm keeps the input of a sigmoid spread out.
        spread = [float(r["p85"]) - float(r["p15"]) for r in (with_bn, without)]
        assert spread[0] > 10 * spread[1]
    for r in table:
        assert float(r["p15"]) <= float(r["p50"]) <= float(r["p85"])
        assert (r["train_loss"] == "") == (r["step"] == "0")
    assert "with batch norm" in (tmp_path / "printed").read_text()
