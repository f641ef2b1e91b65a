"""Check the numbers that examples/deep_sigmoid_mlp.py wrote: batch norm must have won, and by much."""

import csv
import sys

with open(sys.argv[1], newline="") as file:
    rows = list(csv.DictReader(file))
last = max(int(row["step"]) for row in rows)
for seed in sorted({row["seed"] for row in rows}):
    ends = {row["network"]: row for row in rows if row["seed"] == seed and int(row["step"]) == last}
    plain, normalized = ends["without batch norm"], ends["with batch norm"]
    accuracy = float(normalized["test_accuracy"])
    margin = accuracy - float(plain["test_accuracy"])
    assert accuracy > 0.85, f"seed {seed}: accuracy with batch norm is only {accuracy}"
    assert margin > 0.1, f"seed {seed}: batch norm is ahead by only {margin}"
    assert float(normalized["train_loss"]) < float(plain["train_loss"])
    assert float(normalized["p15"]) < -0.5 < 0.5 < float(normalized["p85"])
    print(f"seed {seed}: {accuracy:.3f} with batch norm after {last} steps, ahead by {margin:.3f}")
