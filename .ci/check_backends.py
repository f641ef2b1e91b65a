"""Check that two backends gave the same curves: the numbers of examples/deep_sigmoid_mlp.py, from two folders.

At each step, the means over the seeds may be as far apart as the seeds are.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

#: of test accuracy: the smallest tolerance, for steps after which all seeds agree
LEAST = 0.01


def curves(folder: str) -> dict[tuple[str, str], list[float]]:
    """Test accuracies of all seeds, by network and step."""
    found = defaultdict(list)
    with Path(folder, "deep_sigmoid_mlp_digits.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["network"], row["step"]].append(float(row["test_accuracy"]))
    return found


first, second = map(curves, sys.argv[1:3])
assert first.keys() == second.keys(), "the two did not test the same networks after the same steps"
for network in dict.fromkeys(network for network, _ in first):
    apart = 0.0
    for key in (key for key in first if key[0] == network):
        noise = max(max(first[key]) - min(first[key]), LEAST)
        difference = abs(mean(first[key]) - mean(second[key]))
        assert difference <= noise, (
            f"{network}, step {key[1]}: {difference:.3f} apart, seeds {noise:.3f}"
        )
        apart = max(apart, difference)
    print(f"{network}: at most {apart:.4f} of test accuracy apart, within the spread of the seeds")
