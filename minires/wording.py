"""Text from a file that nobody has vouched for, as it may stand in a sentence on a terminal."""

import unicodedata

_LOOKS_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks, to Unicode
MOST_ACCENTS = 2  # on one letter, one above the other; more would cover the lines above


def shown(text: object, most: int = 100) -> str:
    """A name from a file as it may be printed: at most `most` characters, with "..." for those that are cut.

    Letters of every language stay as they are. Control characters, what turns the direction of writing, surrogates,
    and what is not seen become escapes as in Python ("\\x1b", "\\u202e"), and a backslash two, so that no text pretends
    to hold one. Of bytes each is a character; any other object that is not text is shown by its type, since its own
    words may be as long as they like.
    """
    if isinstance(text, (bytes, bytearray)):
        text = text[: most + 1].decode("latin1")
    elif isinstance(text, (bool, float)) or text is None or (isinstance(text, int) and abs(text) < 10**most):
        text = str(text)
    elif not isinstance(text, str):
        text = f"<{type(text).__name__}>"
    parts, length, accents = [], 0, 0
    for letter in text[: most + 1]:
        accents = accents + 1 if unicodedata.combining(letter) else 0
        part = _escaped(letter) if accents > MOST_ACCENTS else _seen(letter)
        parts.append(part)
        length += len(part)
        if length > most:
            return _cut(parts, length, most)
    return "".join(parts)


def _seen(letter):
    """A character, or its escape if it is a backslash, not seen, or changes the look of the text around it."""
    return letter if letter.isprintable() and letter != "\\" and letter not in _LOOKS_EMPTY else _escaped(letter)


def _escaped(letter):
    return letter.encode("unicode_escape").decode()


def _cut(parts, length, most):
    """As many of the parts as leave room for "..."; no escape is cut in two."""
    while parts and length > most - 3:
        length -= len(parts.pop())
    return "".join(parts) + "..."[: most - length]
