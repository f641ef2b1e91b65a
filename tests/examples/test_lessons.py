"""examples/lessons: notebooks run from top to bottom, print what is committed, and name planted mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "examples" / "lessons").glob("*.ipynb"))
ENGLISH = [path for path in LESSONS if not path.name.endswith(".zh.ipynb")]
#: runs cells in one namespace, without Jupyter
PROGRAM = """
import contextlib, io, json, linecache, sys, time
import matplotlib
matplotlib.use("Agg")
names, printed = {"__name__": "__main__"}, []
for n, source in enumerate(json.load(sys.stdin)):
    out, file = io.StringIO(), f"<cell {n}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file  # grade quotes lines
    with contextlib.redirect_stdout(out):
        exec(compile(source, file, "exec"), names)
    printed.append(out.getvalue())
print(json.dumps([printed, time.process_time()]))
"""
english = pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.stem)
each = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def cells(path, kind="code"):
    notebook = json.loads(path.read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def printed(cell):
    return "".join("".join(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")


def words(text):
    """Without numbers, whose last digits depend on the machine."""
    return re.sub(r"[-+\d.]*\d[\d.e%+-]*", "#", text).split()


@english
def test_they_print_what_is_committed(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        input=json.dumps([source(cell) for cell in cells(path)]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MINIGRAD_KERNELS": "numpy"},
    )
    assert not done.returncode, done.stderr
    each_printed, seconds = json.loads(done.stdout)
    assert seconds < 60
    for found, cell in zip(each_printed, cells(path), strict=True):
        assert words(found) == words(printed(cell)), "run .ci/lessons.py: " + source(cell)


@each
def test_what_is_committed(path):
    found = cells(path)
    assert sum(len(source(cell).splitlines()) for cell in found) <= 250
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    outputs = [output for cell in found for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    shown = [kind for output in outputs for kind in output.get("data", ())]
    assert "image/png" in shown
    assert all(printed(cell) for cell in found if re.search(r"^check", source(cell), re.MULTILINE))


@english
def test_blanks_are_not_filled_in_and_solutions_are_right(path):
    blank, solved, wrong = [], [], []
    part = blank
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            heading = source(cell).partition("\n")[0]
            part = {"## Solutions": solved, "## Wrong turns": wrong}.get(heading, part)
        elif re.search(r"^\s*(check|print\(.*grade)", source(cell), re.MULTILINE):
            part.append(printed(cell))
    assert len(blank) >= 3 and all("not filled in yet" in text for text in blank)
    assert solved and not [text for text in solved if "wrong" in text or "not " in text]
    assert wrong and "no known mistake" not in "".join(wrong)


@pytest.mark.parametrize("path", ENGLISH[:3], ids=lambda path: path.stem)
def test_translations_have_the_same_code_and_outputs(path):
    original, path = path, path.with_suffix(".zh.ipynb")
    assert cells(path) == cells(original)
    assert len(cells(path, "markdown")) == len(cells(original, "markdown"))
