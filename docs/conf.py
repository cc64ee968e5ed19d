"""Sphinx: one site of the guide, the C, C++ and Python interfaces and the measured tables."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "docs" / "site")]
# Docstrings are read without building the library, and without torch even where it is installed.
sys.modules["torch"] = None
autodoc_mock_imports = ["gdn._C"]

project = "libgdn"
author = "the libgdn authors"
version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
release = version

# Pages are read where they lie, so that their links hold on the site and in the repository.
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md"]
extensions = [
    "breathe",
    "complete",
    "flowchart",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
]
myst_heading_anchors = 3
graphviz_output_format = "svg"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
breathe_projects = {"gdn": str(ROOT / "build" / "docs" / "xml")}
breathe_default_project = "gdn"
breathe_domain_by_extension = {"h": "c", "hpp": "cpp"}

html_theme = "furo"
html_title = f"libgdn {version}"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_extra_path = ["site/index.html"]
html_copy_source = False
html_show_copyright = False
