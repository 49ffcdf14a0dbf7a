"""Sphinx: builds the manual from Markdown; `tox -e docs` treats every warning as an error."""

from importlib.metadata import version as installed_version

project = "scichain-wf"
author = "the scichain-wf authors"
project_copyright = author
release = version = installed_version("scichain-wf")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "alabaster"  # comes with Sphinx, works offline, needs no JavaScript
html_title = f"scichain-wf {release}"
html_theme_options = {"description": "Provenance that can be proved", "fixed_sidebar": True, "page_width": "64rem"}
html_show_sourcelink = False
