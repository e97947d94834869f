"""The search leads to the page that teaches: a glossary's terms, and the reference's table from operation to page.

Each becomes an entry of the search's index on the page that it links to, in both languages. What is shown of a result,
and in which order, says search.js.
"""

import posixpath
import re

from sphinx import addnodes

TERM = re.compile(r"^\*\*(?P<term>[^*]+)\*\*(?P<text>.*?)(?=^\*\*|^## |\Z)", re.M | re.S)
PAGE = re.compile(r"\]\(([\w/]+)\.md(?:#[^)]*)?\)")
PARTS = re.compile(r"[(),\uff08\uff09\uff0c]| or |\u6216")  # a term in Chinese and, in brackets, in English, are two
FILES = ("reference.md", "glossary.md", "zh/glossary.md")


def terms_of(glossary):
    """The terms of a glossary's text, each with the page that it links to first."""
    for found in TERM.finditer(glossary):
        page = PAGE.search(found["text"])
        for term in PARTS.split(found["term"].rstrip(".。")):
            if page and term.strip():
                yield term.strip(), page[1]


def operations_of(reference):
    """The names of a table's rows, each with the page that the row links to."""
    for row in reference.splitlines():
        page = PAGE.search(row)
        if page and row.startswith("| "):
            yield from ((name, page[1]) for name in re.findall(r"`(\w+)`", row))


def collect(app):
    """What leads to each page, before any is read."""
    reference, english, chinese = ((app.srcdir / name) for name in FILES)
    app.terms = {}
    found = list(operations_of(text_of(reference)))
    found += [(name, f"zh/{page}") for name, page in found]
    found += terms_of(text_of(english))
    found += [(term, posixpath.normpath(f"zh/{page}")) for term, page in terms_of(text_of(chinese))]
    for term, page in found:
        app.terms.setdefault(page, {})[term.lower()] = None


def text_of(file):
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def enter(app, document):
    """For the search alone: the site's index has been made, it is that of the reference."""
    if terms := app.terms.get(app.env.docname):
        document += addnodes.index(entries=[("single", term, "", "main", None) for term in terms])
        for name in FILES:
            app.env.note_dependency(name)


def setup(app):
    app.connect("builder-inited", collect)
    app.connect("doctree-read", enter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
