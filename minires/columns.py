"""Text in columns of a terminal, where a Chinese, Japanese or Korean letter takes two and an accent none."""

import unicodedata
from collections.abc import Iterable


def display_width(text: str) -> int:
    """How many columns a terminal gives this text (Unicode Standard Annex 11: wide and full-width letters two)."""
    return sum(map(_columns_of, text))


def _columns_of(letter):
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """The text where it fits in so many columns, and otherwise its beginning and "..."."""
    if display_width(text) <= columns:
        return text
    kept = ""
    for letter in text:
        if display_width(kept + letter) > columns - 3:
            break
        kept += letter
    return kept + "..."


def padded(text: str, columns: int) -> str:
    """The text, cut to so many columns and filled up to them with spaces."""
    text = cut(text, columns)
    return text + " " * (columns - display_width(text))


def listed(words: Iterable[str], columns: int = 400) -> str:
    """The words with commas between them, as many as fit in so many columns, and how many more there are."""
    words, fitting, width = list(words), 0, 0
    for word in words:
        width += display_width(word) + 2
        if width > columns and fitting:
            break
        fitting += 1
    more = len(words) - fitting
    return ", ".join(cut(word, columns) for word in words[:fitting]) + (f" and {more:,} more" if more else "")
