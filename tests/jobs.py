"""Runs of the examples' jobs, and the tables that they write."""

from __future__ import annotations

import contextlib
import csv


def rows(path):
    """The rows of a CSV file as dicts."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(job, out, *options, code=None):
    """Run a job into a folder; what it prints goes to the file ``printed`` there."""
    out.mkdir(exist_ok=True)
    with (out / "printed").open("w") as file, contextlib.redirect_stdout(file):
        assert job.main([*map(str, options), "--out", str(out)]) == code
    return out
