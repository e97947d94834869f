"""Drawings of docs/images/drawings stand in the page itself: their colours follow the theme, and their links work.

On GitHub the same line of Markdown, ![what it shows](images/drawings/conv.svg), shows the file as a picture.
"""

import posixpath
import re
from html import escape

from docutils import nodes
from languages import language_of, twin_of
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

FOLDER = "images/drawings"
LINK = re.compile(r'<a href="([^"]+)\.md"')


class Inlined(SphinxPostTransform):
    formats = ("html",)
    default_priority = 300

    def run(self, **options):
        for image in list(self.document.findall(nodes.image)):
            if image["uri"].startswith(f"{FOLDER}/") and image["uri"].endswith(".svg"):
                file = self.env.srcdir / image["uri"]
                narrow = file.with_name(f"narrow-{file.name}")  # for a phone
                shown = self.shown(file, image, "for-wide" if narrow.is_file() else "")
                if narrow.is_file():
                    shown += self.shown(narrow, image, "for-narrow")
                image.replace_self(nodes.raw("", shown, format="html"))

    def shown(self, file, image, kind):
        drawing = file.read_text(encoding="utf-8")
        label = f'<svg role="img" aria-label="{escape(image.get("alt", ""))}" '
        drawing = LINK.sub(self.link, drawing).replace("<svg ", self.grouped(label, drawing), 1)
        scrolls = ' tabindex="0"' if "drawing wide" in drawing and "<a " not in drawing else ""  # by keys, too
        return f'<span class="{" ".join(filter(None, ["drawing", kind]))}"{scrolls}>{drawing}</span>'

    def grouped(self, label, drawing):
        """What has links inside is a group of them, not one picture."""
        return label.replace('role="img"', 'role="group"') if "<a " in drawing else label

    def link(self, found):
        """To a page, in the language of this one where it stands in it."""
        page = posixpath.normpath(posixpath.join(FOLDER, found[1]))
        here = self.env.docname
        if language_of(here) is not language_of(page):
            page = twin_of(self.env, page) or page
        return f'<a href="{self.app.builder.get_relative_uri(here, page)}"'


class Sources(SphinxTransform):
    """The line below the title that says where the code is: site.css makes it small."""

    default_priority = 600

    def apply(self):
        for title in self.document.findall(nodes.title):
            first = title.next_node(descend=False, siblings=True)
            if isinstance(first, nodes.paragraph) and first.astext().startswith(("Code: ", "\u4ee3\u7801\uff1a")):
                first["classes"].append("sources")
            return


class Captions(SphinxTransform):
    """A paragraph that is one emphasis, as below a picture, is a caption: site.css says how it looks."""

    default_priority = 600

    def apply(self):
        for paragraph in self.document.findall(nodes.paragraph):
            parts = [part for part in paragraph if part.astext().strip(".。\n")]
            if len(parts) == 1 and isinstance(parts[0], nodes.emphasis):
                paragraph["classes"].append("caption-below")


def setup(app):
    app.add_transform(Captions)
    app.add_transform(Sources)
    app.add_post_transform(Inlined)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
