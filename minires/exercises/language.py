"""What is said, in English and in Chinese.

A Text is its English sentence, and remembers how it was made: `in_language(text, "zh")` says the same in Chinese, as
zh.po has it. So whoever finds a mistake need not know in which language it will be read.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "zh")
_AND = {"en": (", ", " and "), "zh": ("、", " 和 ")}


class Text(str):
    """`Text("{name} is None", name="dx")`: a sentence with its template, and what stands in it (Texts, too)."""

    template: str
    values: dict[str, Any]
    on_page: "Text | None"

    def __new__(cls, template: str, **values: Any) -> "Text":
        text = super().__new__(cls, template.format(**values) if values else template)
        text.template, text.values, text.on_page = template, values, None
        return text

    def or_on_page(self, said: "Text") -> "Text":
        """The same, and what a page says in its place, which has buttons and links for commands and files."""
        self.on_page = said
        return self


class Several(str):
    """`Several(["a", "b", "c"])`: "a, b and c"."""

    items: list[str]

    def __new__(cls, items: Sequence[str]) -> "Several":
        text = super().__new__(cls, ", ".join(items) if issubclass(cls, Listed) else _joined(items, "en"))
        text.items = list(items)
        return text


class Listed(Several):
    """`Listed(["a", "b", "c"])`: "a, b, c"."""


def in_language(text: Any, language: str, on_page: bool = False) -> Any:
    """A Text in one of LANGUAGES, as a plain str; what is no Text as it is.   on_page: as a page says it."""
    if isinstance(text, Several):
        items = [in_language(item, language, on_page) for item in text.items]
        return _AND[language][0].join(items) if isinstance(text, Listed) else _joined(items, language)
    if not isinstance(text, Text):
        return str(text) if isinstance(text, str) else text
    if on_page and text.on_page is not None:
        return in_language(text.on_page, language, on_page)
    template = table(language).get(text.template, text.template)
    values = {name: in_language(value, language, on_page) for name, value in text.values.items()}
    return template.format(**values) if values else template


@cache
def table(language: str) -> dict[str, str]:
    """A language's templates by the English ones: its file in gettext's format, each text in one line."""
    if language == "en":  # the templates themselves
        return {}
    written = (files("minires.exercises") / f"{language}.po").read_text(encoding="utf-8")
    entries = re.findall(r'^msgid (".+")\nmsgstr (".+")$', written, re.MULTILINE)
    return {json.loads(english): json.loads(other) for english, other in entries}


def language_of(environment: Mapping[str, str] = os.environ) -> str:
    """The reader's language as the system has it: the first of LC_ALL, LC_MESSAGES and LANG that says something."""
    named = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "zh" if named.lower().startswith("zh") else "en"


def _joined(items, language):
    comma, last = _AND[language]
    return last.join(filter(None, [comma.join(items[:-1]), *items[-1:]]))
