"""A drawing as SVG: arrays as squares with their numbers, boxes, arrows. On the site its colours follow the theme.

Forward is the theme's link colour, backward orange. The words of a drawing are names from the code and formulas: one
file does for every language. Where there are others, the drawing is made again in Chinese, as NAME-zh.svg.
"""

from html import escape

import numpy as np

CELL = 42  # the side of a square
PHONE = 520  # a wider drawing scrolls on a phone; others are made smaller
STYLE = """
svg.drawing { --d-ink: var(--color-foreground-primary, #222); --d-forward: var(--color-brand-content, #0a5bd0);
  --d-backward: var(--backward, #b4490c); font: 14px system-ui, sans-serif; color: var(--d-ink); }
svg.drawing text { fill: currentColor; text-anchor: middle; dominant-baseline: central; }
svg.drawing .code { font-family: ui-monospace, Consolas, monospace; font-size: 13px; }
svg.drawing .number { font-size: 13px; font-variant-numeric: tabular-nums; }
svg.drawing .small { font-size: 13px; }
svg.drawing .soft-text { opacity: 0.75; }
svg.drawing .start { text-anchor: start; }
svg.drawing rect, svg.drawing circle, svg.drawing path { fill: none; stroke: currentColor; stroke-width: 1; }
svg.drawing .forward { color: var(--d-forward); }
svg.drawing .backward { color: var(--d-backward); }
svg.drawing .thick { stroke-width: 2.5; }
svg.drawing .soft { stroke-opacity: 0.35; }
svg.drawing .dashed { stroke-dasharray: 5 4; }
svg.drawing .filled { fill: currentColor; stroke: none; }
svg.drawing .arrow { stroke-width: 1.6; }
svg.drawing a { text-decoration: none; }
svg.drawing a:hover rect, svg.drawing a:focus rect { stroke-width: 2.5; }
@media (prefers-color-scheme: dark) {
  svg.drawing:root { --d-ink: #ddd; --d-forward: #5ca5ff; --d-backward: #ff9d5c; }
}
"""


def number(value):
    """At most two decimals, and a true minus."""
    text = f"{value + 0:.2f}".rstrip("0").rstrip(".")
    return ("0" if text == "-0" else text).replace("-", "\u2212")


class Drawing:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def add(self, tag, content="", **attributes):
        written = "".join(
            f' {name.rstrip("_").replace("_", "-")}="{shown(value)}"' for name, value in attributes.items()
        )
        self.parts.append(f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>")

    def text(self, x, y, words, kind=""):
        self.add("text", escape(words), x=x, y=y, class_=kind)

    def box(self, x, y, width, height, words="", kind="", link=None):
        """A box around the point x, y, with words in it; a link is a page, as seen from docs/images/drawings."""
        if link:
            self.parts.append(f'<a href="{escape(link)}">')
        self.add("rect", x=x - width / 2, y=y - height / 2, width=width, height=height, rx=6, class_=kind)
        for i, line in enumerate(lines := words.split("\n")):
            self.text(x, y + 17 * (i - (len(lines) - 1) / 2), line, kind.replace("dashed", ""))
        if link:
            self.parts.append("</a>")

    def arrow(self, *points, kind="forward"):
        """Straight from point to point, with a head at the last."""
        (x1, y1), (x2, y2) = points[-2:]
        length = np.hypot(x2 - x1, y2 - y1)
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        base = x2 - 9 * ux, y2 - 9 * uy
        line = " L ".join(f"{shown(x)} {shown(y)}" for x, y in [*points[:-1], base])
        self.add("path", d=f"M {line}", class_=f"arrow {kind}")
        head = [(x2, y2), (base[0] - 4.5 * uy, base[1] + 4.5 * ux), (base[0] + 4.5 * uy, base[1] - 4.5 * ux)]
        corners = " L ".join(f"{shown(x)} {shown(y)}" for x, y in head)
        self.add("path", d=f"M {corners} Z", class_=f"filled {kind.replace('dashed', '')}")

    def array(self, x, y, values, kind="forward", marked=None):
        """A matrix around the point x, y: larger numbers in darker squares, marked ones with a thick edge."""
        values = np.atleast_2d(np.asarray(values, dtype=float))
        rows, columns = values.shape
        largest = np.abs(values).max() or 1
        marked = np.zeros(values.shape, bool) if marked is None else np.atleast_2d(marked)
        left, top = x - columns * CELL / 2, y - rows * CELL / 2
        for thick in (False, True):  # thick edges over thin ones
            for i, j in zip(*np.nonzero(marked == thick), strict=True):
                at = {"x": left + j * CELL, "y": top + i * CELL, "width": CELL, "height": CELL}
                if not thick or values[i, j]:
                    shade = round(0.45 * abs(values[i, j]) / largest, 2)
                    self.add("rect", **at, class_=f"filled {kind}", fill_opacity=shade)
                self.add("rect", **at, class_=f"thick {kind}" if thick else "soft")
        for (i, j), value in np.ndenumerate(values):
            self.text(left + (j + 0.5) * CELL, top + (i + 0.5) * CELL, number(value), "number")

    def written(self):
        size = f'viewBox="0 0 {shown(self.width)} {shown(self.height)}" width="{shown(self.width)}"'
        kind = "drawing wide" if self.width > PHONE else "drawing"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" {size}>\n<style>{STYLE}</style>'
        return "\n".join([head, *self.parts, "</svg>"]) + "\n"


def shown(value):
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
