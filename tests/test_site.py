"""The site: it builds without a warning, its links lead somewhere, and a browser shows every page as it is meant.

Skipped where Sphinx is not installed (pip install -e ".[docs]"); what needs a browser, where Selenium (pip install
selenium) or Chromium with its chromedriver is not.
"""

import importlib
import inspect
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
import zlib
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urlsplit

import pytest
from browsing import DOCS, LAPTOP, PHONE, WIDER, axe, console, faults, launched, served, set_width  # noqa: F401

import minires

for package in ("sphinx", "myst_parser", "furo", "sphinx-mathjax-offline"):
    pytest.importorskip(package, reason=f'the site is built with {package}: pip install -e ".[docs]"')

PAGES = sorted(page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md"))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "auto", "-b", "html"]
    command += ["-d", folder / "doctrees", DOCS, folder / "html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder / "html"


# Links --------------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """What a page links to, what it loads, and the anchors in it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = {name: value or "" for name, value in attributes}
        self.anchors.add(attributes.get("id", ""))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preload", "modulepreload"):
            self.loads.append(attributes["href"])
        self.loads += [attributes[name] for name in ("src", "data", "poster") if name in attributes and tag != "a"]


def broken(page, target, parsed):
    """Why a link within the site leads nowhere, or None."""
    path, anchor = unquote(urlsplit(target).path), unquote(urlsplit(target).fragment)
    file = (page.parent / path).resolve() if path else page
    if not file.is_file():
        return "no such file"
    if anchor and file in parsed and anchor not in parsed[file].anchors:
        return "no such anchor"
    return None


def is_external(target):
    return bool(urlsplit(target).scheme or urlsplit(target).netloc) and not target.startswith("data:")


def test_links(site):
    parsed = {page.resolve(): Links(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    assert len(parsed) > len(PAGES)
    wrong = []
    for page, found in parsed.items():
        inside = [target for target in found.links if not is_external(target)] + found.loads
        wrong += [
            f"{page.relative_to(site.resolve())}: {target}: {reason}"
            for target in dict.fromkeys(inside)
            if not target.startswith("data:")
            if (reason := "from another host" if is_external(target) else broken(page, target, parsed))
        ]
    assert not wrong, "\n".join(wrong)


def test_style_sheets_load_nothing_from_elsewhere(site):
    for sheet in site.rglob("*.css"):
        elsewhere = re.findall(
            r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", sheet.read_text(encoding="utf-8")
        )
        assert not elsewhere, f"{sheet}: {elsewhere}"


def test_links_to_files_show_the_file(site):
    """Not a download, and for a module the page on which each function has a link of its own."""
    links = Links((site / "layers" / "conv.html").read_text(encoding="utf-8")).links
    assert "../_modules/minires/layers/conv.html" in links
    assert "../_files/benchmarks/peers/textbook.py.html" in links
    shown = (site / "_files" / "benchmarks" / "peers" / "textbook.py.html").read_text(encoding="utf-8")
    assert "tensordot" in shown and 'class="highlight"' in shown
    assert not (site / "_downloads").exists()


def test_what_counts_as_a_broken_link(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<a href="#here" id="here">')
    parsed = {page: Links(page.read_text())}
    assert broken(page, "#here", parsed) is None and broken(page, "page.html#here", parsed) is None
    assert broken(page, "#there", parsed) == "no such anchor"
    assert broken(page, "other.html", parsed) == "no such file"
    assert is_external("https://example.org") and is_external("//example.org") and not is_external("a/b.html#c")


# The reference ------------------------------------------------------------------------------------------------------


def modules():
    found = pkgutil.walk_packages(minires.__path__, "minires.")
    return [minires, *(importlib.import_module(module.name) for module in found if "__main__" not in module.name)]


def public_names(module):
    """Where the reference should have them: what a module defines, and what its __all__ hands on from elsewhere."""
    handed_on = getattr(module, "__all__", [])
    things = {name: thing for name, thing in vars(module).items() if not name.startswith("_")}
    for name, thing in things.items():
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and (
            thing.__module__ == module.__name__ or name in handed_on
        ):
            yield f"{thing.__module__}.{thing.__qualname__}"


def test_every_public_name_is_on_the_reference(site):
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]  # after four lines of its own
    listed = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines() if " py:" in line}
    names = {name for module in modules() for name in (module.__name__, *public_names(module))}
    constants = {name for module in modules() for name in getattr(module, "__all__", []) if name.isupper()}
    assert len(names) > 200 and constants
    missing = sorted(names - listed) + sorted(constants - {name.rpartition(".")[2] for name in listed})
    assert not missing, f"enter the module in docs/reference/: {missing}"


def test_every_operation_has_its_page():
    table = (DOCS / "reference.md").read_text(encoding="utf-8").partition("## From operation to page")[2]
    rows = [line for line in table.splitlines() if "](" in line]
    for name in [*minires.layers.__all__, *minires.losses.__all__]:
        assert any(f"`{name}`" in row for row in rows), name


def test_docstrings_stand_as_written(site):
    page = (site / "reference" / "operations.html").read_text(encoding="utf-8")
    shown = re.sub("<[^>]+>", "", page)
    first, _, rest = inspect.cleandoc(minires.layers.conv2d.__doc__).partition("\n\n")
    assert first in shown
    assert "\n".join(line for line in rest.splitlines()[:2]) in shown.replace("&lt;", "<").replace("&gt;", ">")


# Two languages -------------------------------------------------------------------------------------------------------

CHINESE = [page for page in PAGES if page.startswith("zh/")]
THEME = (
    "Next",
    "Previous",
    "On this page",
    "Back to top",
    "Search",
    "Skip to content",
    "Toggle ",
    "Light mode",
    "Home",
    "Link to this heading",
)
MARK, HAN = "[\u2018-\u201d\u2026\u3001-\u303f\uff01-\uff60]", "[\u4e00-\u9fff]"


INLINE, BETWEEN = {"a", "code", "em", "span", "strong"}, ("", "\0")  # what stands between paragraphs is no line's end


class Shown(HTMLParser):
    """The text of a page's article, without code; and that of the rest, with what its buttons are called."""

    def __init__(self, text):
        super().__init__()
        self.article, self.around, self.attributes, self.inside = "", "", {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.article += BETWEEN[tag not in INLINE]
        if tag in ("article", "pre", "style", "script"):
            self.inside.append(tag)
        if tag == "html":
            self.attributes = attributes
        self.around += f"\n{attributes.get('aria-label', '')}\n{attributes.get('title', '')}\n"

    def handle_endtag(self, tag):
        self.article += BETWEEN[tag not in INLINE]
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if self.inside == ["article"]:
            self.article += data
        elif not self.inside:
            self.around += data


def shown(site, page):
    return Shown((site / f"{page}.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [*CHINESE, "search-zh"])
def test_chinese_pages_are_chinese(page, site):
    text = shown(site, page)
    assert text.attributes["lang"] == "zh-CN"
    lines = {line.strip() for line in text.around.split("\n")}
    assert "搜索" in lines
    assert not [line for line in lines for word in THEME if line.startswith(word)]
    breaks = re.findall(rf".{{0,9}}(?:{MARK}\n[^\n\0 ]|[^\n\0 ]\n{MARK}|{HAN}\n{HAN}).{{0,9}}", text.article)
    assert not breaks, "line breaks that would show as spaces"


def test_english_pages_are_english(site):
    text = shown(site, "layers/conv")
    assert text.attributes["lang"] == "en" and not re.search(HAN, text.around.replace("中文", ""))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_two_languages_links_to_its_twin(page, site):
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    twin = page.removeprefix("zh/") if page.startswith("zh/") else f"zh/{page}"
    language = "en" if page.startswith("zh/") else "zh-CN"
    to = os.path.relpath(f"{twin}.html", (site / page).parent.relative_to(site))
    assert (f'<link rel="alternate" hreflang="{language}" href="{to}">' in text) == (twin in PAGES)
    assert (f'<a href="{to}" hreflang="{language}" lang="{language}">' in text) == (twin in PAGES)


def sections(site, page):
    """The ids of a page's sections; every id on the page is there once."""
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    ids = re.findall(r'<[a-z][^>]* id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    return re.findall(r'<section [^>]*id="([^"]*)"', text)


@pytest.mark.parametrize("page", CHINESE)
def test_a_section_has_the_same_id_in_both_languages(page, site):
    here, there = sections(site, page), sections(site, page.removeprefix("zh/"))
    assert here == there and not [name for name in here if re.fullmatch(r"id\d+", name)]
    text = (site / f"{page}.html").read_text(encoding="utf-8").partition('class="toc-tree"')[2]
    assert re.findall('href="#([^"]+)"', text.partition("</div>")[0]) == here[1:]


def test_links_to_pages_in_english_alone_say_so(site):
    wrong = []
    for page in CHINESE:
        text = (site / f"{page}.html").read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
        for link in re.finditer(
            r'<a class="reference internal" href="([^"#]+)[^"]*">(.*?)</a>(.{40})', text, re.DOTALL
        ):
            target = os.path.normpath(os.path.join(os.path.dirname(page), link[1])).removesuffix(".html")
            if target in PAGES and not target.startswith("zh/") and "英文" not in link[2] + link[3]:
                wrong.append(f"{page}: {link[1]}")
    assert not wrong, "\n".join(wrong)


def test_menus_hold_the_pages_of_one_language(site):
    for page in ("index", "layers/conv", "zh/index", "zh/protocol"):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        menu = re.findall('href="([^"#]+)"', text.partition('class="sidebar-tree"')[2].partition("</aside>")[0])
        pages = [os.path.normpath(os.path.join(os.path.dirname(page), link)).removesuffix(".html") for link in menu]
        assert len(pages) > 20
        assert {page.startswith("zh/") for page in pages} == {page.startswith("zh/")}


# In a browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def address(site):
    """The site behind a server of its own."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


READY = """
const done = arguments[0];
const math = window.MathJax ? MathJax.startup.promise : Promise.resolve();
const pictures = [...document.images].map(picture => picture.decode().catch(() => null));
Promise.all([math, document.fonts.ready, ...pictures]).then(() => done());
"""
STATE = """
const count = selector => document.querySelectorAll(selector).length;
return {
    heading: document.querySelector("h1")?.textContent,
    formulas: count("span.math, div.math"),
    typeset: count("mjx-container"),
    wrong: [...document.querySelectorAll("mjx-merror, [data-mjx-error]")].map(error => error.textContent),
    cut: [...document.querySelectorAll("article pre")].map(box => [box, box.textContent.split("\\n")])
        .filter(([box, lines]) => box.scrollWidth > box.clientWidth && lines.every(line => line.length <= 120))
        .map(([box, lines]) => lines.reduce((a, b) => a.length > b.length ? a : b)),
    missing: [...document.images].filter(picture => !picture.naturalWidth).map(picture => picture.src),
    loaded: performance.getEntriesByType("resource").map(entry => entry.name),
};
"""


@pytest.mark.parametrize("page", [*PAGES, "_modules/minires/layers/conv", "genindex", "search", "search-zh"])
def test_page(page, browser, address):
    set_width(browser, LAPTOP)
    console(browser)  # what was there before
    browser.get(f"{address}{page}.html")
    browser.execute_async_script(READY)
    state = browser.execute_script(STATE)
    assert state["heading"]
    assert state["typeset"] == state["formulas"] and not state["wrong"]
    assert not state["missing"]
    assert not state["cut"], "a line of at most 120 columns is cut off at 1280 pixels"
    assert not [name for name in state["loaded"] if not name.startswith((address, "data:"))]
    set_width(browser, PHONE)
    assert not browser.execute_script(WIDER, PHONE), "wider than a phone: the page would scroll sideways"
    assert not console(browser, "SEVERE", "WARNING")


DRAWER = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.left, box.right]"


@pytest.mark.parametrize(("icon", "drawer"), [("nav-overlay", ".sidebar-drawer"), ("toc-header", ".toc-drawer")])
def test_drawers_by_keyboard(icon, drawer, browser, address):
    support = pytest.importorskip("selenium.webdriver.support.ui")
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    set_width(browser, PHONE)
    browser.get(f"{address}layers/conv.html")

    def outside():
        left, right = browser.execute_script(DRAWER, drawer)
        return right <= 0 or left >= browser.execute_script("return document.documentElement.clientWidth")

    def focused(where):
        return browser.execute_script("return document.activeElement.closest(arguments[0]) !== null", where)

    assert outside()
    assert not browser.execute_script(
        "const link = document.querySelector(arguments[0] + ' a'); link.focus(); return document.activeElement == link",
        drawer,
    ), "what is out of sight takes the focus"
    browser.execute_script("document.querySelector(arguments[0]).focus()", f".{icon}-icon .icon")
    browser.switch_to.active_element.send_keys(keys.ENTER)
    wait = support.WebDriverWait(browser, 10)
    wait.until(lambda browser: not outside() and focused(drawer))
    browser.switch_to.active_element.send_keys(keys.ESCAPE)
    wait.until(lambda browser: outside() and focused(f".{icon}-icon"))


@pytest.mark.parametrize("page", ["layers/batch_norm", "layers/conv", "layers/residual", "losses"])
@pytest.mark.parametrize("home", ["", "zh/"])
def test_formulas_stand_beside_their_code(home, page, browser, address):
    """Where there is room, and above it on a phone and on paper."""
    boxes = """return [...document.querySelectorAll(".beside")].map(pair => [...pair.children].map(column =>
        (({left, right, top, bottom}) => [left, right, top, bottom])(column.getBoundingClientRect())))"""
    set_width(browser, LAPTOP)
    browser.get(f"{address}{home}{page}.html")
    browser.execute_async_script(READY)
    beside = browser.execute_script(boxes)
    assert beside and all(text[1] < code[0] for text, code in beside)
    assert not browser.execute_script(
        "return [...document.querySelectorAll('.beside mjx-container')].some(box => box.scrollWidth > box.clientWidth)"
    )
    set_width(browser, PHONE)
    assert all(text[3] <= code[2] for text, code in browser.execute_script(boxes))
    set_width(browser, LAPTOP)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(text[3] <= code[2] for text, code in browser.execute_script(boxes))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_what_is_too_wide_is_found(browser, address):
    set_width(browser, PHONE)
    browser.get(f"{address}index.html")
    assert not browser.execute_script(WIDER, PHONE)
    add = "document.querySelector('article').insertAdjacentHTML('beforeend', '<b style=\"white-space: pre\">%s</b>')"
    browser.execute_script(add % ("wide " * 100))
    assert len(browser.execute_script(WIDER, PHONE)) == 2


GENERATED = ["search", "search-zh", "genindex", "_modules/minires/layers/conv", "_files/benchmarks/peers/textbook.py"]
QUICK = ["index", "exercise_sheet", "layers/batch_norm", "zh/layers/conv", "search"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", [*PAGES, *GENERATED] if os.environ.get("LIVE_PAGES") == "all" else QUICK)
def test_accessible(page, theme, browser, address, axe):  # noqa: F811
    """The whole page, with the theme's parts; a few pages in the suite, all of them by `make test-live`."""
    set_width(browser, LAPTOP)
    if page.startswith("search"):
        search(browser, address, page, "batch norm")
    else:
        browser.get(f"{address}{page}.html")
    browser.execute_async_script(READY)
    browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
    assert not faults(browser, axe)
    set_width(browser, PHONE)
    assert not faults(browser, axe)


def test_a_fault_of_accessibility_is_found(browser, address, axe):  # noqa: F811
    browser.get(f"{address}search.html")
    browser.execute_script("document.querySelector('article').insertAdjacentHTML('beforeend', '<img src=a.png>')")
    assert [rule for rule, _ in faults(browser, axe)] == ["image-alt"]


def test_the_link_to_the_other_language_keeps_the_place(browser, address):
    set_width(browser, LAPTOP)
    browser.get(f"{address}layers/conv.html#by-hand")
    press = "document.querySelector('.twin a').click()"
    for page in ("zh/layers/conv.html#by-hand", "layers/conv.html#by-hand"):
        browser.execute_async_script(READY)
        browser.execute_script("document.querySelector('#by-hand').scrollIntoView({behavior: 'instant'})")
        browser.execute_script(press)
        assert browser.current_url == f"{address}{page}"
    browser.execute_script("scrollTo({top: 0, behavior: 'instant'})")
    browser.execute_script(press)
    assert browser.current_url == f"{address}zh/layers/conv.html"


def search(browser, address, page, words):
    """The pages that a search finds, best first."""
    browser.get(f"{address}{page}.html?q={quote(words)}")
    support = pytest.importorskip("selenium.webdriver.support.ui")
    done = "return /\\d/.test(document.querySelector('.search-summary')?.innerText)"  # "found 12 pages"
    support.WebDriverWait(browser, 60).until(lambda browser: browser.execute_script(done))
    found = "return [...document.querySelectorAll('#search-results li > a')].map(link => link.href)"
    links = [urlsplit(link).path.strip("/").removesuffix(".html") for link in browser.execute_script(found)]
    return list(dict.fromkeys(links))


TEACHES = {
    "batch norm": "layers/batch_norm",
    "conv2d": "layers/conv",
    "im2col": "layers/conv",
    "cross-entropy": "losses",
    "softmax": "losses",
    "shortcut": "layers/residual",
    "Adam": "optim",
    "批归一化": "zh/layers/batch_norm",
    "卷积": "zh/layers/conv",
    "conv2d 卷积": "zh/layers/conv",
    "交叉熵": "zh/losses",
    "捷径连接": "zh/layers/residual",
}


@pytest.mark.parametrize("words", TEACHES)
def test_search_leads_to_the_page_that_teaches(words, browser, address):
    chinese = TEACHES[words].startswith("zh/")
    found = search(browser, address, "search-zh" if chinese else "search", words)
    assert found[0] == TEACHES[words]
    other = [page.startswith("zh/") is not chinese for page in found]
    assert other == sorted(other), "pages of the other language come last"


CONTEXTS = "return [...document.querySelectorAll('#search-results .context')].map(part => part.textContent)"


@pytest.mark.parametrize(("page", "words"), [("search", "gradient of the mean"), ("search-zh", "均值 方差")])
def test_a_result_shows_text(page, words, browser, address):
    """Where the words stand, and no formula's source."""
    found = search(browser, address, page, words)
    time.sleep(1)  # each page is fetched for its text
    contexts = browser.execute_script(CONTEXTS)
    assert len(contexts) >= len(found) > 5
    assert not [context for context in contexts if re.search(r"\\[a-z(\[]|\$", context)]
    assert sum(any(word in context.lower() for word in words.split()) for context in contexts) > 0.8 * len(contexts)


def test_all_of_the_project_comes_with_the_site(site, tmp_path):
    """As a ZIP file, to which every page leads, and in which the command line works."""
    (archive,) = site.glob("*.zip")
    for page in ("index.html", "zh/layers/conv.html", "genindex.html"):
        target = f'href="{"../" * page.count("/")}{archive.name}"'
        assert target in (site / page).read_text(encoding="utf-8")
    zipfile.ZipFile(archive).extractall(tmp_path / "_build")  # whatever the folder is called that it is unpacked in
    (folder,) = (tmp_path / "_build").iterdir()
    lists = runpy.run_path(str(DOCS / "_ext" / "archive.py"))
    unpacked = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    known = lists["tracked"](DOCS.parent)
    if known is not None:  # and what is found without git is the same
        assert unpacked == {file.relative_to(DOCS.parent) for file in known if file.is_file()}
    assert unpacked == {file.relative_to(folder) for file in lists["in_folders"](folder) if file.is_file()}
    command = [sys.executable, "-m", "minires.exercises"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "predict_relu" in done.stdout


def test_the_site_is_served_to_a_room(tmp_path):
    serving = runpy.run_path(str(DOCS / "serve.py"))
    (tmp_path / "index.html").write_text("here")
    (tmp_path / "a.mjs").write_text("")
    with serving["server"](tmp_path, 0, "0.0.0.0") as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        assert urllib.request.urlopen(address).read() == b"here"
        assert urllib.request.urlopen(f"{address}a.mjs").headers["Content-Type"] == "text/javascript"
        server.shutdown()
    serving["main"].__globals__["SITE"] = tmp_path
    with pytest.raises(SystemExit, match=r"--host 203\.0\.113\.1: this machine has no such address"):
        serving["main"](["--host", "203.0.113.1"])


def test_terms_of_a_glossary():
    finding = runpy.run_path(str(DOCS / "_ext" / "finding.py"))
    text = "**Fork.** Two uses, [see](protocol.md#a-fork) and [so](losses.md).\n\n**None.** No page.\n\n## A\n\n"
    text += "**分叉（fork）**。见[约定](protocol.md)。"
    assert list(finding["terms_of"](text)) == [("Fork", "protocol"), ("分叉", "protocol"), ("fork", "protocol")]
    assert list(finding["operations_of"]("| `add`, `concat` | | [r](layers/residual.md) |\n|---|")) == [
        ("add", "layers/residual"),
        ("concat", "layers/residual"),
    ]


@pytest.mark.parametrize("word", ["缓存", "填充", "伴随", "折点", "捷径连接", "批归一化", "He 初始化"])
def test_search_finds_chinese_words(word, browser, address, site):
    """On every page that has them, and, where a word has two characters, on no other."""
    found = set(search(browser, address, "search-zh", word))
    having = {page for page in CHINESE if word in shown(site, page).article}
    assert len(having) > 1 and having <= found
    assert browser.execute_script("return document.querySelector('.search-summary').innerText").startswith("找到 ")
    assert len(word) > 2 or having == found


def test_a_query_is_cut_as_the_text_was(browser, address):
    browser.get(f"{address}search.html")
    pairs = runpy.run_path(str(DOCS / "_ext" / "han.py"))["PairsOfHan"]({})
    for text in ("缓存", "核", "批归一化的backward", "im2col 与 col2im，He 初始化。", "plain English", "x_1 = 2"):
        assert browser.execute_script("return splitQuery(arguments[0])", text) == pairs.split(text)
    assert pairs.split("批归一化 backward") == ["批归", "归一", "一化", "backward"]
