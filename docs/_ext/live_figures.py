"""Pictures that become figures to try: docs/images/figures/NAME.png on a page is the still picture of NAME.js.

    ![What the picture shows](../images/figures/conv.png)

becomes a <div class="live-figure" data-figure="conv"> around the picture. docs/_static/live/figures/start.js gives it
its button; the numbers come from NAME.py, beside NAME.js, which runs in the page's Python session. Narrow screens show
NAME-narrow.webp, the figure as it stands there, with words of the same size. Chinese pages show those of figures/zh.

Setting live_weights: a weights file that travels with the site, for the figure grad_cam. Empty, docs/weights.py makes
one that knows drawn shapes, once; it is kept in docs/_build/weights.
"""

import hashlib
import posixpath
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util import logging

DOCS = Path(__file__).resolve().parents[1]
FOLDER = DOCS / "_static" / "live" / "figures"
PICTURE = re.compile(r"images/figures/(?:zh/)?([a-z0-9_]+)\.png$")
NARROW = "(max-width: 46em)"  # as site.css has it

MOST = 400_000  # bytes of the weights

log = logging.getLogger(__name__)


class live_figure(nodes.container):  # other builders than HTML's show what is in it
    pass


def open_figure(translator, node):
    translator.body.append(f'<div class="live-figure" data-figure="{node["name"]}">\n')


def close_figure(translator, node):
    translator.body.append("</div>\n")


class pictures(nodes.inline):
    pass


class narrow_picture(nodes.image):  # what narrow screens show in the place of the picture behind it
    pass


def open_pictures(translator, node):
    translator.body.append("<picture>")


def close_pictures(translator, node):
    translator.body.append("</picture>")


def sources(translator, node):
    """The narrow picture, and the wide one once more, with its density: browsers keep that of the one they showed."""

    def address(picture):
        file = translator.builder.images.get(picture["uri"], picture["uri"])
        return posixpath.join(translator.builder.imgpath, urllib.parse.quote(file))

    translator.body.append(f'<source media="{NARROW}" srcset="{address(node)} 2x"/>')
    translator.body.append(f'<source srcset="{address(node.parent[1])} 1x"/>')
    raise nodes.SkipNode


def mark(app, document):
    """Before the images are collected, so that the narrow ones are among them."""
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
        narrow = picture["uri"].removesuffix(".png") + "-narrow.webp"
        if (Path(app.env.doc2path(app.env.docname)).parent / narrow).is_file():
            both = pictures()
            picture.replace_self(both)
            both += [narrow_picture(uri=narrow, alt=picture.get("alt", "")), picture]
        if found[1] == "grad_cam":
            app.env.metadata[app.env.docname]["takes-weights"] = "yes"


def styles(app, page, template, context, doctree):
    if doctree is not None and next(doctree.findall(live_figure), None):
        app.add_css_file("live/live.css")
        app.add_css_file("live/figures/figures.css")
        app.add_js_file("live/figures/page.js", loading_method="defer")


def put_weights(app, error):
    """The weights into the site, where a page asks for them."""
    if error or app.builder.format != "html" or not any("takes-weights" in of for of in app.env.metadata.values()):
        return
    file = Path(app.config.live_weights) if app.config.live_weights else made()
    if not file.is_file():
        raise ExtensionError(f"live_weights: there is no {file}")
    if file.stat().st_size > MOST:
        raise ExtensionError(
            f"live_weights: {file} has {file.stat().st_size:,} bytes, the page may load {MOST:,}: give a smaller "
            "network, or python examples/compress.py FILE OUT --int8"
        )
    shutil.copy2(file, Path(app.outdir) / "_static" / "live" / "figures" / "weights.safetensors")


def made():
    """The file that docs/weights.py makes, for each version of that script, and of what it draws, once."""
    script = DOCS / "weights.py"
    drawn = DOCS / "_static" / "live" / "shapes.py"
    version = hashlib.sha256(script.read_bytes() + drawn.read_bytes()).hexdigest()[:8]
    file = DOCS / "_build" / "weights" / f"shapes-{version}.safetensors"
    if not file.exists():
        done = subprocess.run([sys.executable, script, file], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExtensionError(f"docs/weights.py: {done.stderr}")
    return file


def setup(app):
    app.add_config_value("live_weights", "", "html", str)
    app.add_node(live_figure, html=(open_figure, close_figure))
    app.add_node(pictures, html=(open_pictures, close_pictures))
    app.add_node(narrow_picture, html=(sources, None))
    app.connect("doctree-read", mark, priority=100)
    app.connect("html-page-context", styles)
    app.connect("build-finished", put_weights)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
