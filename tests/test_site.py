"""The site: it builds without a warning, its links lead somewhere, and a browser shows every page as it is meant.

Skipped where Sphinx is not installed (pip install -e ".[docs]"); what needs a browser, where Selenium (pip install
selenium) or Chromium with its chromedriver is not.
"""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from browsing import DOCS, PHONE, WIDER, chromium, served, set_width

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


# In a browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def address(site):
    """The site behind a server of its own."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
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
    missing: [...document.images].filter(picture => !picture.naturalWidth).map(picture => picture.src),
    loaded: performance.getEntriesByType("resource").map(entry => entry.name),
};
"""


@pytest.mark.parametrize("page", [*PAGES, "_modules/minires/layers/conv", "genindex"])
def test_page(page, browser, address):
    set_width(browser, 1200)
    browser.get_log("browser")  # what was there before
    browser.get(f"{address}{page}.html")
    browser.execute_async_script(READY)
    state = browser.execute_script(STATE)
    assert state["heading"]
    assert state["typeset"] == state["formulas"] and not state["wrong"]
    assert not state["missing"]
    assert not [name for name in state["loaded"] if not name.startswith((address, "data:"))]
    set_width(browser, PHONE)
    assert not browser.execute_script(WIDER, PHONE), "wider than a phone: the page would scroll sideways"
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not said


def test_what_is_too_wide_is_found(browser, address):
    set_width(browser, PHONE)
    browser.get(f"{address}index.html")
    assert not browser.execute_script(WIDER, PHONE)
    add = "document.querySelector('article').insertAdjacentHTML('beforeend', '<b style=\"white-space: pre\">%s</b>')"
    browser.execute_script(add % ("wide " * 100))
    assert len(browser.execute_script(WIDER, PHONE)) == 2


def test_search(browser, address):
    browser.get(f"{address}search.html?q=batch+norm")
    found = "return [...document.querySelectorAll('#search-results li a')].slice(0, 10).map(link => link.href)"
    support = pytest.importorskip("selenium.webdriver.support.ui")
    results = support.WebDriverWait(browser, 60)  # the page lists one result after the other
    page = "layers/batch_norm.html"
    assert results.until(lambda browser: any(page in result for result in browser.execute_script(found)))
