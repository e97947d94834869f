"""Pictures that become figures to try: docs/images/figures/NAME.png on a page is the still picture of NAME.js.

    ![What the picture shows](../images/figures/conv.png)

becomes a <div class="live-figure" data-figure="conv"> around the picture. docs/_static/live/figures/start.js gives it
its button; the numbers come from NAME.py, beside NAME.js, which runs in the page's Python session.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

FOLDER = Path(__file__).resolve().parents[1] / "_static" / "live" / "figures"
PICTURE = re.compile(r"images/figures/([a-z0-9_]+)\.png$")

log = logging.getLogger(__name__)


class live_figure(nodes.container):  # other builders than HTML's show what is in it
    pass


def open_figure(translator, node):
    translator.body.append(f'<div class="live-figure" data-figure="{node["name"]}">\n')


def close_figure(translator, node):
    translator.body.append("</div>\n")


def mark(app, document):
    for picture in list(document.findall(nodes.image)):
        found = PICTURE.search(picture["uri"])
        if not found:
            continue
        if not (FOLDER / f"{found[1]}.js").is_file():
            log.warning("no figure %s in docs/_static/live/figures", found[1], location=app.env.docname)
            continue
        around, paragraph = live_figure(name=found[1]), picture.parent
        paragraph.replace_self(around)
        around += paragraph


def styles(app, page, template, context, doctree):
    if doctree is not None and next(doctree.findall(live_figure), None):
        app.add_css_file("live/live.css")
        app.add_css_file("live/figures/figures.css")
        app.add_js_file("live/figures/page.js", loading_method="defer")


def setup(app):
    app.add_node(live_figure, html=(open_figure, close_figure))
    app.connect("doctree-read", mark)
    app.connect("html-page-context", styles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
