"""The pages are run: their examples, what those print, the source they quote, their links and their formulas.

In docs/**/*.md

    <!-- source: minires/layers/conv.py -->   before a python block: it stands in that file, indentation aside
    ```python                                 any other python block is run, a page's blocks in order in one namespace
    ```text                                   right after a python block: what the block prints, where "..." is anything

Numbers that are printed may differ by a thousandth, or by 1e-6 where that is more: rounding differs between machines.
"""

import contextlib
import io
import re
import string
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINKED = [*PAGES, *(page for page in [ROOT / "README.md"] if page.exists())]

FENCE = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S)
SOURCE = re.compile(r"<!-- source: (\S+) -->\s*$")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?(?![\w])")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MATH = re.compile(r"\$\$(.+?)\$\$|\$((?:[^$\n]|\n(?!\n))+)\$", re.S)  # a formula may go on in the next line


@dataclass
class Block:
    language: str
    code: str
    line: int  # of the block's first line of code
    source: str | None = None  # the file it is quoted from
    prints: str | None = None


def blocks_of(text):
    """The fenced blocks of a page in order, each python block with what stands around it."""
    found, end = [], 0
    for match in FENCE.finditer(text):
        between, end = text[end : match.start()], match.end()
        source = SOURCE.search(between)
        block = Block(match["language"], match["code"], text[: match.start()].count("\n") + 2, source and source[1])
        if block.language == "text" and found and found[-1].language == "python" and not between.strip():
            found[-1].prints = block.code
        found.append(block)
    return found


def check_source(block):
    path = ROOT / block.source
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = textwrap.dedent(block.code).rstrip().splitlines()
    for start in range(len(lines) - len(wanted) + 1):
        if textwrap.dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted:
            return
    raise AssertionError(f"not in {block.source} as it stands there now:\n{block.code}")


def same_text(printed, wanted):
    """Equal but for white space, the last digits of numbers, and whatever stands in place of "..."."""
    numbers = lambda text: [float(number) for number in NUMBER.findall(text)]  # noqa: E731
    words = lambda text: NUMBER.sub("#", " ".join(text.split()))  # noqa: E731
    if "..." in wanted:
        pattern = ".*".join(re.escape(words(part)) for part in wanted.split("..."))
        return re.fullmatch(pattern, words(printed)) is not None
    return words(printed) == words(wanted) and all(
        abs(a - b) <= 1e-6 + 1e-3 * abs(b) for a, b in zip(numbers(printed), numbers(wanted), strict=True)
    )


def run(page, blocks):
    namespace = {"__name__": f"docs.{page.stem}"}
    for block in blocks:
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")  # a traceback names the page's line
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.prints is not None:
            assert same_text(printed.getvalue(), block.prints), (
                f"{page}:{block.line} prints\n{printed.getvalue()}\nwhere the page says\n{block.prints}"
            )


def slug(heading):
    """The anchor that GitHub makes of a heading."""
    kept = re.sub(rf"[{re.escape(string.punctuation.replace('-', '').replace('_', ''))}]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def check_link(page, target):
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists(), f"{page}: no such file: {target}"
    if anchor and file.suffix == ".md":
        text = FENCE.sub("", file.read_text(encoding="utf-8"))
        assert anchor in [slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)], f"{page}: {target}"


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where they may write
    blocks = [block for block in blocks_of(page.read_text(encoding="utf-8")) if block.language == "python"]
    run(page, [block for block in blocks if not block.source])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_quoted_source(page):
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.source:
            check_source(block)


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"\w+:", target):
            check_link(page, target)


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_formulas_survive_markdown(page):
    r"""GitHub's Markdown takes the backslash from \, \{ \\ before a formula is read, and * may become emphasis."""
    text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for display, inline in MATH.findall(text):
        assert not re.search(r"\\[^A-Za-z]|\*|<", display or inline), f"{page}: {display or inline}"


def test_the_test_itself():
    page = "a\n\n```python\nprint(1.0)\n```\n\n```text\n1.0004\n```\n\n"
    page += "<!-- source: setup.cfg -->\n```python\n[mypy]\n```\n"
    first, _, quoted = blocks_of(page)
    assert (first.prints, first.line, quoted.source) == ("1.0004\n", 4, "setup.cfg")
    run(Path("page.md"), [first])
    check_source(quoted)
    for wrong in ("1.1\n", "1.0 more\n", "-1.0\n"):
        with pytest.raises(AssertionError, match="page says"):
            run(Path("page.md"), [Block("python", first.code, 1, prints=wrong)])
    with pytest.raises(AssertionError, match="as it stands there now"):
        check_source(Block("python", "[mypy]\nfiles = elsewhere\n", 1, source="setup.cfg"))
    assert same_text("the worst is x[(1, 2)] with 3e-10", "the worst is ...")
    assert not same_text("the best is x", "the worst is ...")
    assert [inline for _, inline in MATH.findall("$a\n+ b$ and $c$, 5 $\n\nd")] == ["a\n+ b", "c"]
    assert slug("Why NHWC, and `dy`") == "why-nhwc-and-dy"
    with pytest.raises(AssertionError, match="no such file"):
        check_link(ROOT / "setup.cfg", "nowhere.md")
