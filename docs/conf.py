"""Settings of Sphinx: ``sphinx-build -W docs out/docs``."""

import shutil
import sys
from pathlib import Path

import minigrad

sys.path.insert(0, str(Path(__file__).parents[1]))  # of examples, which are not installed
from examples.bn_lab.server import page

# pages have to be below this folder
PLACE = Path(__file__).parent
shutil.rmtree(PLACE / "lessons", ignore_errors=True)
shutil.copytree(PLACE.parent / "examples" / "lessons", PLACE / "lessons")
# copied beside the pages, one of which shows it
(PLACE / "extra").mkdir(exist_ok=True)
(PLACE / "extra" / "bn_lab.html").write_text(page(exported=True), "utf-8")

project = "minigrad"
author = "the minigrad developers"
release = minigrad.__version__
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc"]
html_theme = "furo"
html_extra_path = ["extra"]
html_title = f"minigrad {release}"
myst_heading_anchors = 3
# Lessons are run, each cell in a minute at most; the other pages' blocks are run by tests/test_readme.py. The Chinese
# lessons have the code of the English ones.
nb_execution_mode = "force"
nb_execution_timeout = 60
nb_execution_raise_on_error = True
nb_execution_excludepatterns = ["*.zh.ipynb"]
nb_merge_streams = True
nb_output_stderr = "remove"  # the notice that kernels are compiled
myst_enable_extensions = ["dollarmath", "amsmath"]
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# links to files of the checkout, which are no pages
suppress_warnings = ["myst.xref_missing"]
