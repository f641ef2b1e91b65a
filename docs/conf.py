"""Settings of Sphinx: ``sphinx-build -W docs out/docs``."""

import minigrad

project = "minigrad"
author = "the minigrad developers"
release = minigrad.__version__
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"minigrad {release}"
myst_heading_anchors = 3
# the pages' blocks are run by tests/test_readme.py
nb_execution_mode = "off"
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# links to files of the checkout, which are no pages
suppress_warnings = ["myst.xref_missing"]
