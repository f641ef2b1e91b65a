"""The Python blocks of the README and of the pages in ``docs`` run in order and print what is shown after them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = """
import contextlib, io, json, sys
names, printed = {"__name__": "__main__"}, []
for block in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block, "block", "exec"), names)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_print_what_is_shown(page, tmp_path):
    blocks = re.findall(
        r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```$)?", page.read_text("utf-8"), re.M | re.S
    )
    if page.name == "onnx.md":
        pytest.importorskip("onnx")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([block for block, _ in blocks]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert not found.returncode, found.stderr
    assert json.loads(found.stdout) == [shown for _, shown in blocks]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for path in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / path).exists(), path


def test_the_readme_is_short():
    assert len(PAGES[0].read_text("utf-8").split()) <= 1500
