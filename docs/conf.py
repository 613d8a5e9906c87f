"""The site: `make docs` builds it from the Markdown of the repository, as it stands, into build/site.

Pages are plain Markdown, which a forge shows too. What Sphinx needs beside them is in docs/extensions/: the order of
the pages (navigation.py) and the pages that are made from conf/ (options.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "Drydock"
author = "the Drydock authors"
project_copyright = "the Drydock authors, Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "extensions.navigation",
    "extensions.options",
]
# The sources are the repository's own pages, so that links from one to another hold there and here.
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "examples/*/README.md"]
exclude_patterns = [
    "build",
    "runs",
    "sweeps",
    ".*",
    "benchmarks",
    "conf",
    "hydra_plugins",
    "pipeline",
    "stages",
    "tests",
]
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]  # the glossary
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # a page that is made may begin below a first heading

smartquotes = False  # quotes are typed into shells

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # a name between backticks, as docstrings write it

html_theme = "furo"
html_title = "Drydock"
html_static_path = ["style"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_theme_options = {"top_of_page_buttons": [], "navigation_with_keys": False}
pygments_style, pygments_dark_style = "friendly", "native"
