"""What an installed package says of itself, and what it advises to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import minigrad as mg

ROOT = Path(__file__).parent.parent
SETTINGS = ConfigParser(comment_prefixes="#")
SETTINGS.read(ROOT / "setup.cfg", encoding="utf-8")


def test_the_version_has_one_source():
    assert SETTINGS["metadata"]["version"] == "attr: minigrad.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", mg.__version__)


def test_messages_advise_the_own_distribution_and_extras_that_exist():
    name, extras = SETTINGS["metadata"]["name"], SETTINGS["options.extras_require"]
    files = [*(ROOT / "minigrad").rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    advised = re.findall(r"pip install (?:-e )?[\"']([\w.-]+)\[(\w+)\]", text)
    assert {"onnx", "gpu", "data", "graphs"} <= {extra for _, extra in advised}
    assert {wanted for wanted, _ in advised} <= {name, "."}
    assert {extra for _, extra in advised} <= set(extras)


@pytest.mark.parametrize(
    ("name", "file", "warned"),
    [
        ("minigrad-3.2.dist-info", "minigrad/__init__.py", True),
        ("minigrad-3.2.dist-info", "__editable__.minigrad-3.2.pth", False),
        ("minigrad_bn-0.1.0.dist-info", "minigrad/__init__.py", False),
        ("minigrad-3.2.dist-info", None, False),
    ],
)
def test_a_foreign_minigrad_is_reported_at_import(tmp_path, name, file, warned):
    (tmp_path / name).mkdir()
    if file:
        (tmp_path / name / "RECORD").write_text(f"a.py,,\n{file},sha256=x,12\n")
    path = os.pathsep.join([str(ROOT), str(tmp_path), str(tmp_path / "missing"), ""])
    result = subprocess.run(
        [sys.executable, "-c", "import minigrad\nimport minigrad.nn"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = f"<string>:1: UserWarning: minigrad-3.2 in {tmp_path} is another project"
    assert result.stderr.startswith(expected) if warned else result.stderr == ""


def test_dir_shows_the_public_names():
    assert dir(mg) == sorted(mg.__all__)
