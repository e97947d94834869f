"""Letters of every script in pictures, as far as the machine has a font for them."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fit_fonts(figure: Figure) -> str:
    """Give every text of a figure the fonts it takes; returns the letters that no font of this machine draws.

    A text keeps its own font for what that can draw, and gets others of the machine for the rest.
    """
    from matplotlib.text import Text

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.canvas.draw()  # now the labels of the axes are there, too
    lacking = set()
    for text in figure.findobj(Text):
        missing = _letters(text.get_text()) - _drawn_by(_file_of(text))
        if missing:
            families, missing = _families_for(frozenset(missing))
            text.set_fontfamily([*text.get_fontfamily(), *families])
            lacking |= missing
    return "".join(sorted(lacking))


def _letters(text):
    """What must be drawn of a text."""
    return {letter for letter in text if letter.isprintable() and not letter.isspace()}


def _file_of(text):
    from matplotlib.font_manager import findfont

    return findfont(text.get_fontproperties())


@functools.lru_cache(maxsize=64)
def _drawn_by(file):
    """The letters that a font draws."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(file)
    return frozenset(map(chr, font.get_charmap()) if font.scalable else ())  # matplotlib draws no bitmaps of letters


@functools.lru_cache(maxsize=64)
def _families_for(letters):
    """(names of as few fonts as draw these letters, sans serif where there is one, those that none does)."""
    from matplotlib.font_manager import fontManager

    families, missing = [], set(letters)
    files = {entry.name: entry.fname for entry in reversed(fontManager.ttflist) if "Last Resort" not in entry.name}
    while missing:
        drawn = {name: len(missing & _drawn_or_nothing(file)) for name, file in files.items()}
        best = max(drawn, key=lambda name: (drawn[name], "Sans" in name), default=None)  # as the other letters are
        if best is None or not drawn[best]:
            break
        families.append(best)
        missing -= _drawn_or_nothing(files[best])
    return families, missing


def _drawn_or_nothing(file):
    """The letters that a font draws; none where its file cannot be read."""
    try:
        return _drawn_by(file)
    except (OSError, RuntimeError, ValueError):
        return frozenset()
