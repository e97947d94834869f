"""What was found, as it is printed."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from minires.columns import display_width
from minires.exercises.language import Text, in_language

WIDTH = 88  # columns
MOST_LINES = 10  # of what the file printed
VERDICTS = {"passed": "passed", "unwritten": "not written yet", "wrong": "not right yet"}
PRINTED = "The file printed:"

# What stays in one piece: a word, or a letter of Chinese, with opening marks before it and closing ones behind.
_OPENING, _CLOSING = "\u201c\uff08\u300a", "\u3001\u3002\uff0c\uff1a\uff1b\uff1f\uff01\uff09\u300b\u201d\u2026"
_WIDE = "\u2e80-\u9fff\uff00-\uffef\u201c\u201d"
_PIECES = re.compile(rf"\s+|[{_OPENING}]*(?:[^\s{_WIDE}]+|.)[{_CLOSING}]*")


def verdict(state: str) -> Text:
    return Text(VERDICTS[state])


def heading(lines: Iterable[Text], language: str) -> str:
    """The docstring of an exercise's file."""
    above = "\n\n".join(wrapped(in_language(line, language), "") for line in lines)
    return f'"""{above}\n"""\n\n'


def body(answer: dict[str, Any], language: str) -> str:
    """What stands below the verdict: the answer's lines, and what the file printed."""
    lines = [wrapped(line) for line in answer["lines"]]
    if answer["printed"]:
        printed = answer["printed"].splitlines()
        lines.append(f"  {in_language(Text(PRINTED), language)}")
        lines += [f"    | {line[:84]}" for line in printed[:MOST_LINES]]
        if len(printed) > MOST_LINES:
            lines.append("    | ...")
    return "\n".join(lines)


def wrapped(line: str, indent: str = "  ") -> str:
    """The line in as many as it takes, indented as it is and by `indent`."""
    indent += " " * (len(line) - len(line.lstrip()))
    if display_width(line) == len(line):
        return textwrap.fill(line.lstrip(), WIDTH, initial_indent=indent, subsequent_indent=indent,
                             break_on_hyphens=False)  # fmt: skip
    return "\n".join(_pieces(line.strip(), indent))


def _pieces(line: str, indent: str) -> Iterator[str]:
    """Lines of Chinese, which may end behind every letter but one with a mark behind it."""
    now = indent
    for piece in _PIECES.findall(line):
        if display_width(now + piece.rstrip()) > WIDTH and now.strip():
            yield now.rstrip()
            now = indent + piece.lstrip()
        else:
            now += piece
    yield now.rstrip()
