"""The pages are run: their examples, what those print, the source they show, their links and their formulas.

docs/_ext/blocks.py says which blocks those are: source that is included must exist, a python block is run, and prints
what the text block after it says. Numbers that are printed may differ by a thousandth, or by 1e-6 where that is more:
rounding differs between machines.
"""

import ast
import contextlib
import importlib
import io
import itertools
import pkgutil
import re
import string
import sys
import textwrap
from pathlib import Path

import pytest

import minires

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs" / "_ext"))

from blocks import FENCE, INCLUDE, OPTION, REASONS, Block, blocks_of, python_blocks  # noqa: E402

PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINKED = [*PAGES, *(page for page in [ROOT / "README.md"] if page.exists())]
TRANSLATED = [page for page in PAGES if "zh" in page.parts]  # the blocks are the English ones: tests/test_docs_zh.py

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?(?![\w])")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MATH = re.compile(r"\$\$(.+?)\$\$|\$((?:[^$\n]|\n(?!\n))+)\$", re.S)  # a formula may go on in the next line


def lines_of(source, qualified_name):
    """The lines of a function, class or method, decorators included."""
    body = ast.parse(source).body
    for part in qualified_name.split("."):
        found = [node for node in body if getattr(node, "name", None) == part]
        assert found, f"nothing is called {qualified_name}"
        body = found[0].body
    first = min(node.lineno for node in [found[0], *found[0].decorator_list])
    return source.splitlines()[first - 1 : found[0].end_lineno]


CUTS = {  # option of a literalinclude: what is left of the lines where line number `at` is the first with its text
    "start-at": lambda at: slice(at, None),
    "start-after": lambda at: slice(at + 1, None),
    "end-at": lambda at: slice(at + 1),
    "end-before": lambda at: slice(at),
}


def included(page, file, options):
    """The text that a literalinclude shows, as Sphinx makes it from these options."""
    source = (page.parent / file).read_text(encoding="utf-8")
    options = dict(OPTION.findall(options))
    unknown = options.keys() - {"language", "caption", "name", "class", "emphasize-lines", "pyobject", "dedent", *CUTS}
    assert not unknown, f"options that this test cannot follow: {unknown}"
    lines = lines_of(source, options["pyobject"]) if "pyobject" in options else source.splitlines()
    for option, cut in CUTS.items():
        if option in options:
            found = [at for at, line in enumerate(lines) if options[option] in line]
            assert found, f"no line has {options[option]!r}"
            lines = lines[cut(found[0])]
    if options.get("dedent"):
        width = int(options["dedent"])
        assert not any(line[:width].strip() for line in lines), f"a dedent of {width} cuts into the code"
        lines = [line[width:] for line in lines]
    elif "dedent" in options:
        lines = textwrap.dedent("\n".join(lines)).splitlines()
    text = "\n".join(lines)
    assert text.strip(), "nothing is left"
    return text


def pieces(text):
    """A text as a list: each number a float, every other character by itself; white space counts once, inside."""
    text = " ".join(text.split())
    found, end = [], 0
    for match in NUMBER.finditer(text):
        found += [*text[end : match.start()], float(match[0])]
        end = match.end()
    return [*found, *text[end:]]


def alike(printed, wanted):
    """Are the pieces equal, but for the last digits of numbers?"""
    return len(printed) == len(wanted) and all(
        abs(a - b) <= 1e-6 + 1e-3 * abs(b) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(printed, wanted, strict=True)
    )


def same_text(printed, wanted):
    """Equal but for white space, the last digits of numbers, and whatever stands in place of "..."."""
    printed, (first, *parts) = pieces(printed), map(pieces, wanted.split("..."))
    at = len(first)
    if not parts or not alike(printed[:at], first):
        return not parts and alike(printed, first)
    *between, last = parts
    for part in between:  # each where it comes first: that leaves most to the others
        found = (i for i in range(at, len(printed)) if alike(printed[i : i + len(part)], part))
        at = next(found, len(printed)) + len(part)
    return at + len(last) <= len(printed) and alike(printed[len(printed) - len(last) :], last)


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


@pytest.mark.parametrize("page", [page for page in LINKED if page not in TRANSLATED], ids=name)
def test_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where they may write
    run(page, python_blocks(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_included_source(page):
    """Every part is there, and begins and ends with whole statements."""
    for match in INCLUDE.finditer(page.read_text(encoding="utf-8")):
        try:
            text = included(page, match["file"], match["options"])
            if match["file"].endswith(".py"):
                ast.parse(textwrap.dedent(text))
        except (AssertionError, OSError, SyntaxError) as error:
            raise AssertionError(f"{page}: {match[0]}\n{error}") from error


def uncompared(text):
    """The lines where a block without a language stands right after a python block: is it what that one prints?"""
    blocks, found = list(FENCE.finditer(text)), []
    for first, second in itertools.pairwise(blocks):
        if first["language"] == "python" and not second["language"] + text[first.end() : second.start()].strip():
            found.append(text[: second.start()].count("\n") + 1)
    return found


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_all_that_is_printed_is_compared(page):
    """It is, where it stands in a text block; a block without a language would say what nobody checks."""
    assert not uncompared(page.read_text(encoding="utf-8")), f"{page}: text after ```, or words between the two"
    assert uncompared("```python\n1\n```\n\n```\n1\n```\n") == [5]
    assert not uncompared("```python\n1\n```\n\n```text\n1\n```\n\n```\n1\n```\n")


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"\w+:", target):
            check_link(page, target)


ADDRESSES = {  # host: what its addresses of papers look like
    "arxiv.org": r"https://arxiv\.org/abs/\d\d(0[1-9]|1[0-2])\.\d{4,5}(v\d+)?",
    "doi.org": r"https://doi\.org/10\.\d{4,9}/[\w.()/:-]+",
}


def check_address(page, text, address):
    """An address of a paper is well-formed, and its text on the page names the same paper. Nothing is fetched."""
    for host, form in ADDRESSES.items():
        if host in address:
            assert re.fullmatch(form, address), f"{page}: {address}"
    identifier = re.fullmatch(r"arXiv:(\S+)", text)
    assert not identifier or address.endswith(f"/{identifier[1]}"), f"{page}: {text} leads to {address}"
    assert not address.startswith("http:"), f"{page}: not encrypted: {address}"


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_addresses_of_papers(page):
    for text, address in re.findall(
        r"\[([^\]]*)\]\((https?:[^\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))
    ):
        check_address(page, text, address)


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_no_result_is_missing(page):
    assert not re.findall(r"\bRESULT_[A-Z_]+\b", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_formulas_survive_markdown(page):
    r"""GitHub's Markdown takes the backslash from \, \{ \\ before a formula is read, and * may become emphasis."""
    text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for display, inline in MATH.findall(text):
        assert not re.search(r"\\[^A-Za-z]|\*|<", display or inline), f"{page}: {display or inline}"


def test_every_module_and_constant_is_on_the_reference():
    """What can be seen of it without building the site: names within modules are in tests/test_site.py."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    entered = set(re.findall(r"^\.\. (?:automodule|py:data):: (\S+)", pages, re.M))
    names = ["minires", *(module.name for module in pkgutil.walk_packages(minires.__path__, "minires."))]
    modules = {name: importlib.import_module(name) for name in names if "__main__" not in name}
    handed_on = [(module, name) for module in modules.values() for name in getattr(module, "__all__", [])]
    constants = {name for module, name in handed_on if name.isupper() and not isinstance(getattr(module, name), type)}
    missing = sorted(modules.keys() - entered) + sorted(constants - {name.rpartition(".")[2] for name in entered})
    assert constants and not missing, f"enter in docs/reference/: {missing}"


def test_reasons_against_a_browser_are_known():
    needs = {block.needs for page in PAGES for block in python_blocks(page.read_text(encoding="utf-8"))} - {None}
    assert needs and needs <= REASONS


def test_the_test_itself():
    (first, _) = blocks_of("a\n\n```python\nprint(1.0)\n```\n\n```text\n1.0004\n```\n\n")
    assert (first.prints, first.line) == ("1.0004\n", 4)
    run(Path("page.md"), [first])
    for wrong in ("1.1\n", "1.0 more\n", "-1.0\n"):
        with pytest.raises(AssertionError, match="page says"):
            run(Path("page.md"), [Block("python", first.code, 1, prints=wrong)])
    assert same_text("the worst is x[(1, 2)] with 3e-10", "the worst is ...")
    assert not same_text("the best is x", "the worst is ...")
    printed = "epoch 1: loss 2.3017\nepoch 2: loss 1.9\nin 196 batches of 64"
    for elided in (
        "epoch 1: ...",
        "...\nin 196 batches of 64",
        "epoch 1: loss 2.3018 ... 1.9 ... of 64",
        "...",
        "... 2: ...",
    ):
        assert same_text(printed, elided), elided
    for elided in (
        "epoch 1: loss 2.4 ...",
        "...\nin 256 batches of 64",
        "epoch 1: loss 2.3017 ... of 64 ...1.9",
        "... 1.9 ... 2.3017 ...",
        "epoch 1: ... loss 1.8 ... 64",
        "epoch 1: loss 2.3017 epoch 2: ... epoch 2: loss 1.9 in 196 batches of 64",
        "... batches of 65",
    ):
        assert not same_text(printed, elided), elided
    assert [inline for _, inline in MATH.findall("$a\n+ b$ and $c$, 5 $\n\nd")] == ["a\n+ b", "c"]
    assert slug("Why NHWC, and `dy`") == "why-nhwc-and-dy"
    with pytest.raises(AssertionError, match="no such file"):
        check_link(ROOT / "setup.cfg", "nowhere.md")
    check_address("page", "arXiv:1512.03385", "https://arxiv.org/abs/1512.03385")
    for text, address in (
        ("a", "https://arxiv.org/abs/1513.03385"),
        ("arXiv:1512.1", "https://arxiv.org/abs/1512.03385"),
    ):
        with pytest.raises(AssertionError):
            check_address("page", text, address)


PART = """
@decorated
class A:
    def f(x):
        y = 1
        return y

    def g(x):
        return 2
"""


@pytest.fixture
def part(tmp_path):
    (tmp_path / "part.py").write_text(PART)
    return lambda options: included(tmp_path / "page.md", "part.py", options)


def test_what_is_included(part):
    assert part(":language: python\n") == PART.rstrip("\n")
    assert part(":pyobject: A\n").startswith("@decorated\nclass A:")
    assert part(":pyobject: A.g\n:dedent: 4\n") == "def g(x):\n    return 2"
    assert part(":pyobject: A.f\n:start-at: y =\n:dedent: 8\n") == "y = 1\nreturn y"
    assert part(":pyobject: A.f\n:start-after: y =\n:dedent:\n") == "return y"
    assert part(":start-at: def f\n:end-at: y =\n") == "    def f(x):\n        y = 1"


@pytest.mark.parametrize(
    "options",
    [":pyobject: B", ":pyobject: A.f.y", ":pyobject: A\n:start-at: 3", ":end-at: z", ":dedent: 4", ":lines: 1"],
)
def test_what_cannot_be_included(part, options):
    with pytest.raises(AssertionError):
        part(options)
