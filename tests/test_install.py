"""What an installed package says of itself, and what it advises to install."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import minigrad as mg

ROOT = Path(__file__).parent.parent
SETTINGS = ConfigParser(comment_prefixes="#")
SETTINGS.read(ROOT / "setup.cfg", encoding="utf-8")


def test_the_version_has_one_source():
    assert SETTINGS["metadata"]["version"] == "attr: minigrad.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", mg.__version__)


def test_messages_advise_the_own_distribution_and_extras_that_exist():
    name, extras = SETTINGS["metadata"]["name"], SETTINGS["options.extras_require"]
    files = [*(ROOT / "minigrad").rglob("*.py"), ROOT / "README.md"]
    text = "\n".join(path.read_text("utf-8") for path in files)
    advised = re.findall(r"pip install (?:-e )?[\"']([\w.-]+)\[(\w+)\]", text)
    assert {"onnx", "gpu", "data", "graphs"} <= {extra for _, extra in advised}
    assert {wanted for wanted, _ in advised} <= {name, "."}
    assert {extra for _, extra in advised} <= set(extras)


def test_dir_shows_the_public_names():
    assert dir(mg) == sorted(mg.__all__)
