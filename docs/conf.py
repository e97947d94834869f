"""Settings of the site: `make docs` builds it into docs/_build, with warnings as errors."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import minires  # noqa: E402

project = "minires"
author = "the authors of minires"
version = release = minires.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax in the site itself: equations are set without a network
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
myst_heading_anchors = 4  # links of the form page.md#heading, as on GitHub

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_mock_imports = ["cupy"]

html_theme = "furo"
html_title = "minires"
html_static_path = ["_static"]
html_copy_source = False
