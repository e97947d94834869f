"""Chinese text: a line's end in the source is no space on the page, and the search finds words of two characters."""

import re

from docutils import nodes
from sphinx.search.en import SearchEnglish
from sphinx.transforms import SphinxTransform

HAN = "\u4e00-\u9fff"
FULL = "\u2018-\u201d\u2026\u3001-\u303f\uff01-\uff60"  # marks as wide as a character
JOINED = re.compile(rf"[{FULL}]\n.|.\n[{FULL}]|[{HAN}]\n[{HAN}]", re.DOTALL)


class JoinedLines(SphinxTransform):
    """Takes away a break in the source beside a full-width mark, or between two Han characters."""

    default_priority = 500

    def apply(self):
        if self.env.docname.startswith("zh/"):
            for block in self.document.findall(nodes.TextElement):
                for i in range(len(block) - 2, 0, -1):  # by place: all breaks are equal
                    before, after = ("".join(part.astext() for part in parts) for parts in (block[:i], block[i + 1 :]))
                    if block[i].astext() == "\n" and JOINED.fullmatch(f"{before[-1:]}\n{after[:1]}"):
                        del block[i]


class PairsOfHan(SearchEnglish):
    """English words as ever, and every two neighbouring Han characters: what is asked for is cut in the same way."""

    lang = "en-han"
    js_splitter_code = r"""
function splitQuery(query) {
  const words = query.match(/[\p{Letter}\p{Number}_]+/gu) || [];
  const runs = words.flatMap(word => word.match(/[\u4e00-\u9fff]+|[^\u4e00-\u9fff]+/g));
  return runs.flatMap(run => /^[\u4e00-\u9fff]{2}/.test(run)
    ? [...run].slice(1).map((character, i) => run[i] + character)
    : [run]);
}
"""

    def split(self, text):
        runs = re.findall(rf"[{HAN}]+|[^\W{HAN}]+", text)
        return [part for run in runs for part in (pairs(run) if re.match(f"[{HAN}]{{2}}", run) else [run])]


def pairs(run):
    return [run[i : i + 2] for i in range(len(run) - 1)]


def setup(app):
    app.add_transform(JoinedLines)
    app.add_search_language(PairsOfHan)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
