"""The pages in docs/zh say what the English pages say: the same code, the same headings' levels, the same formulas.

docs/zh/X.md is the translation of docs/X.md; the start page, docs/zh/index.md, is a page of its own.
"""

import re
from collections import Counter
from pathlib import Path

import pytest
from test_docs import FENCE, MATH, ROOT, name

CHINESE = ROOT / "docs" / "zh"
PAGES = sorted(page for page in CHINESE.rglob("*.md") if page != CHINESE / "index.md")
INCLUDE = re.compile(r"^\{literalinclude\} (\S+)")
HEADING = re.compile(r"^(#+) ", re.M)


def english(page):
    return ROOT / "docs" / page.relative_to(CHINESE)


def fences(page, text):
    """Every fenced block of a page, with the file that it includes in place of the path from the page's folder."""
    found = []
    for match in FENCE.finditer(text):
        first, rest = match[0].split("\n", 1)
        included = INCLUDE.match(first[3:])
        found.append(((page.parent / included[1]).resolve() if included else first, rest))
    return found


def levels(text):
    return [len(marks) for marks in HEADING.findall(FENCE.sub("", text))]


def formulas(text):
    """How often each formula stands on a page, but for its words; in which order is a matter of the language."""
    text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", text))
    found = (re.sub(r"\s*\\text\{[^{}]*\}\s*", " ", display or inline) for display, inline in MATH.findall(text))
    return Counter(" ".join(formula.split()) for formula in found)


def check(page, text, english_page, english_text):
    assert fences(page, text) == fences(english_page, english_text), f"{name(page)}: other blocks"
    assert levels(text) == levels(english_text), f"{name(page)}: other headings"
    there, here = formulas(english_text), formulas(text)
    assert there == here, f"{name(page)}: formulas missing {there - here}, too many {here - there}"


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_translation(page):
    assert english(page).exists(), f"{name(page)}: no {name(english(page))}"
    text, english_text = (one.read_text(encoding="utf-8") for one in (page, english(page)))
    check(page, text, english(page), english_text)
    assert re.search(r"[\u4e00-\u9fff]", text), f"{name(page)}: not in Chinese"


def test_the_test_itself():
    page, other = CHINESE / "a.md", ROOT / "docs" / "a.md"
    text = "# A\n\n$x$ `$not$`\n\n```python\nx = 1\n# not a heading\n```\n\n"
    included = "```{literalinclude} %sminires/textbook.py\n:pyobject: relu\n```\n"
    check(page, text + included % "../../", other, text + included % "../")
    for wrong in (("x = 1", "x = 2"), ("# A", "## A"), ("$x$", "$y$"), ("relu", "tanh")):
        with pytest.raises(AssertionError, match=r"zh/a\.md: "):
            check(page, (text + included % "../../").replace(*wrong), other, text + included % "../")
    assert Path("docs/corrections.md") == english(CHINESE / "corrections.md").relative_to(ROOT)


# A star between a full-width mark and a letter ends no emphasis (CommonMark, section 6.2): it would be printed.
UNSEEN = re.compile(r"(?<![*\w])(\*\*|\*)(?=[^\s*])[^*\n]*?[。：，；、）]\1(?=\w)")  # noqa: RUF001


@pytest.mark.parametrize("page", [*PAGES, CHINESE / "index.md"], ids=name)
def test_emphasis_ends_where_it_is_seen_to(page):
    assert UNSEEN.search("*想法：*只用") and not UNSEEN.search("*想法*：只用 **一。** 二*三*四")  # noqa: RUF001
    found = [match[0] for match in UNSEEN.finditer(FENCE.sub("", page.read_text(encoding="utf-8")))]
    assert not found, f"{name(page)}: put the mark behind the star: {found}"
