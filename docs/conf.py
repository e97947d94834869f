"""Settings of the site: `make docs` builds it into docs/_build/html, with warnings as errors."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import minires  # noqa: E402

project = "minires"
author = "the authors of minires"
version = release = minires.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax in the site itself: equations are typeset without a network
    "docstrings",  # this and the next are in docs/_ext
    "source_pages",
    "live_blocks",
    "live_figures",
    "languages",
    "han",
    "practice",
    "drawings",
    "beside",
    "finding",
    "archive",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
myst_heading_anchors = 4  # links of the form page.md#heading, as on GitHub

highlight_language = "text"  # of code that does not say what it is: drawings, what a program prints

autodoc_default_options = {"member-order": "bysource", "undoc-members": True}
autodoc_mock_imports = ["cupy"]
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100  # a longer one has a line for each argument

html_theme = "furo"
html_title = "minires"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("keyboard.js", {"loading_method": "defer"})]
html_search_language = "en-han"
html_search_scorer = str(DOCS / "_ext" / "search.js")
html_copy_source = True
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False


def setup(app):
    """The extension adds files and reads no page: pages may be read side by side, which it does not say itself."""
    app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True
