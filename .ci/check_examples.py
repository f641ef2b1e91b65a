"""Check the numbers that the examples wrote at few steps: each must show what it is about."""

import csv
import sys
from pathlib import Path

out = Path(sys.argv[1])


def rows(name: str) -> list[dict[str, str]]:
    with (out / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def best(table: list[dict[str, str]], column: str, value: str) -> float:
    return max(float(row["test_accuracy"]) for row in table if row[column] == value)


accuracy = float(rows("image_classifier_digits")[-1]["test_accuracy"])
assert accuracy > 0.8, f"image classifier: {accuracy}"
print(f"image classifier: {accuracy:.3f}")

ladder = rows("learning_rate_ladder_digits")
plain, fast = best(ladder, "row", "baseline"), best(ladder, "row", "BN-x5")
assert fast > 0.8 > plain + 0.4, f"learning rate ladder: {plain} without, {fast} with BN-x5"
print(f"learning rate ladder: {plain:.3f} without batch norm, {fast:.3f} with BN-x5")

sequential = rows("sequential_mnist_digits")
plain, normalized = best(sequential, "network", "LSTM"), best(sequential, "network", "BN-LSTM")
assert normalized > plain > 0.3, f"sequential: LSTM {plain}, BN-LSTM {normalized}"
print(f"sequential: {plain:.3f} LSTM, {normalized:.3f} BN-LSTM")

shift = {
    tuple(row.values())[:3]: float(row["accuracy"]) for row in rows("covariate_shift_populations")
}
of_a = shift["of inputs too", "A", "as trained on A"]
before = shift["of inputs too", "B", "as trained on A"]
after = shift["of inputs too", "B", "total of B, shuffled"]
assert before < of_a - 0.15 and after > of_a - 0.05, f"covariate shift: {of_a}, {before}, {after}"
print(
    f"covariate shift: {of_a:.3f} on A, on B {before:.3f} before and {after:.3f} after re-estimation"
)
