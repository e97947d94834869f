"""A derivation and the code that it explains, beside each other where the screen is wide enough (site.css).

In docs/**/*.md

    <!-- beside -->

    $$ ... $$              all from the comment on: the left column

    ```{literalinclude}    the next code, and the fences right after it: the right column
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

MARK = "<!-- beside -->"

log = logging.getLogger(__name__)


class Beside(SphinxTransform):
    default_priority = 600

    def apply(self):
        for mark in list(self.document.findall(nodes.raw)):
            if mark.astext().strip() == MARK:
                self.pair(mark)

    def pair(self, mark):
        section, start = mark.parent, mark.parent.index(mark)
        code = next((i for i in range(start + 1, len(section)) if is_code(section[i])), start + 1)
        end = next((i for i in range(code, len(section)) if not is_code(section[i])), len(section))
        text, shown = section[start + 1 : code], section[code:end]
        if not (text and shown) or any(isinstance(node, nodes.section) for node in text):
            log.warning("after %s comes no text with code below it", MARK, location=mark)
            return
        pair = nodes.container("", *(nodes.container("", *part) for part in (text, shown)), classes=["beside"])
        section[start:end] = [pair]


def is_code(node):
    return isinstance(node, nodes.literal_block)


def setup(app):
    app.add_transform(Beside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
