"""Links to files of the repository lead to a page that shows the file, not to a download.

[conv.py](../../minires/layers/conv.py) on a page becomes a link to the page that sphinx.ext.viewcode makes of the
module where it makes one, and otherwise (scripts, tests, benchmarks) to one made here, in _files/.
"""

import os
import re
from pathlib import Path

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
INCLUDED = {"README.md": "about", "CONTRIBUTING.md": "contributing"}  # files that a page of the site includes whole


class LinksToFiles(SphinxTransform):
    """What MyST takes for a download of a file of the repository becomes a reference, for `resolve` below.

    It takes ../README.md for a page outside docs/: the page that includes the file is meant.
    """

    default_priority = 500

    def apply(self):
        pages = {str(ROOT / file.removesuffix(".md")): page for file, page in INCLUDED.items()}
        for reference in self.document.findall(addnodes.pending_xref):
            reference["reftarget"] = pages.get(reference["reftarget"], reference["reftarget"])
        for download in list(self.document.findall(addnodes.download_reference)):
            _, path = self.env.relfn2path(download["reftarget"], self.env.docname)
            path = Path(path).resolve()
            if path.is_file() and path.is_relative_to(ROOT):
                file = path.relative_to(ROOT).as_posix()
                self.env.linked_files.setdefault(self.env.docname, set()).add(file)
                reference = addnodes.pending_xref(
                    "", *download.children, refdomain="", reftype="file", reftarget=file, refdoc=self.env.docname
                )
                download.replace_self(reference)


def page_of(env, file):
    """The name of the page that shows a file."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if file.endswith(".py") and getattr(env, "_viewcode_modules", {}).get(module):
        return f"_modules/{module.replace('.', '/')}"
    return f"_files/{file}"


def resolve(app, env, node, contnode):
    if node["reftype"] != "file":
        return None
    uri = app.builder.get_relative_uri(node["refdoc"], page_of(env, node["reftarget"]))
    return nodes.reference("", "", *node.children, internal=True, refuri=uri)


def relink(app, path, docname, content):
    """An included file's links are relative to it: they are made relative to the page."""
    if path.name in INCLUDED:
        link = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")
        content[0] = link.sub(lambda found: f"]({os.path.relpath(ROOT / found[1], app.srcdir)})", content[0])


def pages(app):
    """A page for every linked file that has none."""
    for file in sorted(set().union(*app.env.linked_files.values())):
        page = page_of(app.env, file)
        if page.startswith("_files/"):
            code = (ROOT / file).read_text(encoding="utf-8")
            try:
                language = get_lexer_for_filename(file).aliases[0]
            except ClassNotFound:
                language = "text"
            highlighted = app.builder.highlighter.highlight_block(code, language)
            yield page, {"title": file, "body": f"<h1>{file}</h1>\n{highlighted}"}, "page.html"


def start(app):
    if not hasattr(app.env, "linked_files"):
        app.env.linked_files = {}  # page: the files of the repository that it links to


def forget(app, env, docname):
    env.linked_files.pop(docname, None)


def merge(app, env, docnames, other):
    env.linked_files.update({name: other.linked_files[name] for name in docnames if name in other.linked_files})


def setup(app):
    app.add_transform(LinksToFiles)
    app.connect("builder-inited", start)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("include-read", relink)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
