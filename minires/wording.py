"""Text that nobody has vouched for, as it may stand in a sentence on a terminal.

shown     a value from within a file: an escape in it is seen to be none of ours; `quoted`, where its kind matters
readable  a name that the system gave (a file, a folder, a class called as they are), or a sentence with such names
"""

import re
import unicodedata

_LOOKS_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks, to Unicode
LONGEST_NAME = 4096  # letters, more than a path may have
NO_UTF8 = re.compile(r"\\udc([89a-f][0-9a-f])")  # what Python makes of a byte in a file's name that is no UTF-8
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


def quoted(value: object, most: int = 40) -> str:
    """`shown`, with quotes around a text, so that "1" is told from 1."""
    return f"'{shown(value, most)}'" if isinstance(value, (str, bytes)) else shown(value, most)


def readable(name: str, most: int = 80) -> str:
    """A name as text that can be printed and stored: escaped as `shown` does it, cut in the middle to `most` letters.

    Backslashes stay single, as paths of Windows are full of them; bytes that are no UTF-8 become \\xNN.
    """
    if len(name) > 2 * LONGEST_NAME:  # accents without end would take minutes to bring into order
        name = f"{name[:LONGEST_NAME]}...{name[-LONGEST_NAME:]}"
    if not (name.isascii() and name.isprintable()):
        parts = unicodedata.normalize("NFC", name).split("\\")
        name = NO_UTF8.sub(r"\\x\1", "\\".join(shown(part, 10 * len(part) + 1) for part in parts))
    return name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"


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
