"""Pages that run: their Python blocks in a browser's Pyodide, as a reader runs them, print what the page says.

A few pages in the suite; all of them by `make test-live`. Pyodide's files are looked for in the folder that PYODIDE
names, or in ../shared/pyodide; skipped where they, Sphinx, Selenium or Chromium are missing.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
from browsing import DOCS, ENGINE, PHONE, WIDER, axe, clear, console, faults, insert, launched, served, set_width  # noqa: F401
from test_docs import REASONS, ROOT, python_blocks, same_text

for package in ("sphinx", "myst_parser", "furo", "sphinx-mathjax-offline"):
    pytest.importorskip(package, reason=f'the site is built with {package}: pip install -e ".[docs]"')

PYODIDE = os.environ.get("PYODIDE") or ROOT.parent / "shared" / "pyodide"
if not os.path.isfile(f"{PYODIDE}/pyodide.asm.wasm"):
    pytest.skip(f"Pyodide's files are not in {PYODIDE}: name their folder by PYODIDE", allow_module_level=True)

QUICK = ["index", "layers/batch_norm", "protocol", "start", "zh/layers/upsample"]
BLOCKS = {
    page.relative_to(DOCS).with_suffix("").as_posix(): python_blocks(page.read_text(encoding="utf-8"))
    for page in sorted(DOCS.rglob("*.md"))
}
ALL = [page for page, blocks in BLOCKS.items() if blocks]
PAGES = ALL if os.environ.get("LIVE_PAGES") == "all" else QUICK
HOME = "layers/batch_norm"  # where everything but the blocks themselves is tried


def build(folder, pages, *options):
    """A site of some pages of docs/, by docs/conf.py. -> the folder of its files."""
    source = folder / "docs"
    for page in pages:
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(DOCS / f"{page}.md", source / f"{page}.md")
    homes = {"index", "zh/index"}  # each page's language has its menu
    for home in homes - {*pages}:
        (source / home).parent.mkdir(parents=True, exist_ok=True)
        chinese = home.startswith("zh/")
        listed = "\n".join(f"/{page}" for page in pages if page.startswith("zh/") == chinese and page not in homes)
        (source / f"{home}.md").write_text(f"# Pages\n\n```{{toctree}}\n{listed}\n```\n", encoding="utf-8")
    for name in ("_static", "images"):
        (source / name).symlink_to(DOCS / name)
    for name in ("minires", "examples", "benchmarks", "tests"):  # what pages include
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(DOCS), *options]
    done = subprocess.run([*command, source, folder / "html"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("live"), PAGES, "-D", f"live_pyodide={PYODIDE}")


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


# What a reader does ---------------------------------------------------------------------------------------------------


def opened(browser, address, page=HOME):
    set_width(browser, 1200)
    browser.get(f"{address}{page}.html")
    wait(lambda: browser.execute_script("return document.documentElement.classList.contains('live-ready')"))
    console(browser)


def wait(found, seconds=180):
    until = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return result


def lines(text):
    return [line for line in text.split("\n") if line.strip()]


class Piece:
    """A block of the page, or a source that it shows."""

    def __init__(self, browser, number, kind="block"):
        self.browser, self.number, self.kind = browser, number, kind

    def ask(self, script, *arguments):
        found = f"const piece = document.querySelectorAll('.live[data-{self.kind}]')[{self.number}];"
        return self.browser.execute_script(f"{found} {script}", *arguments)

    def press(self, button):
        """As a mouse does: a button that is hidden or disabled cannot be pressed."""
        wait(lambda: self.ask(f"return piece.querySelector('.live-{button}').ariaDisabled != 'true';"), 10)
        self.ask("delete piece.dataset.result;")
        self.element(f".live-{button}").click()

    def element(self, selector):
        self.ask("piece.scrollIntoView({block: 'center', behavior: 'instant'});")
        return self.ask(f"return piece.querySelector('{selector}');")

    @property
    def status(self):
        return self.ask("return piece.querySelector('.live-status').textContent;")

    @property
    def result(self):
        return self.ask("return piece.dataset.result;")

    @property
    def printed(self):
        return self.ask("return [...piece.querySelectorAll('.live-text')].map(part => part.textContent).join('');")

    @property
    def output(self):
        return self.ask("return piece.querySelector('.live-output').innerText;")

    def finish(self):
        wait(lambda: self.result)
        wait(lambda: self.ask("return piece.querySelector('.live-run, .live-check').ariaDisabled != 'true';"))
        return self

    def run(self):
        self.press("run")
        return self.finish()

    def write(self, text):
        """Types into the editor, which indents by itself."""
        if not self.ask("return piece.querySelector('.cm-content');"):
            self.press("edit" if self.kind == "block" else "change")
            wait(lambda: self.ask("return piece.querySelector('.cm-content');"))
        clear(self.browser, self.element(".cm-content"))
        enter = pytest.importorskip("selenium.webdriver.common.keys").Keys.ENTER
        self.browser.switch_to.active_element.send_keys(text.replace("\n", enter))


one_session = pytest.mark.skipif(
    ENGINE == "firefox", reason="each script of Firefox's driver has modules, and so a session, of its own"
)


def session(browser, script, *arguments):
    """What an async function of the page's session returns."""
    return browser.execute_async_script(
        f"""const [given, done] = [[...arguments].slice(0, -1), arguments[arguments.length - 1]];
        import("/_static/live/session.js").then(async ({{ session }}) => {{ {script} }})
            .then(done, error => done({{ thrown: error.kind, type: error.type, message: error.message }}));""",
        *arguments,
    )


# The blocks -----------------------------------------------------------------------------------------------------------


def test_pages():
    assert set(PAGES) <= set(ALL) and len(ALL) > 70
    assert sum(len(blocks) for blocks in BLOCKS.values()) > 500
    needs = [block.needs for blocks in BLOCKS.values() for block in blocks if block.needs]
    assert len(needs) < 60, "most of the blocks run in a browser"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_print_what_the_page_says(page, browser, address):
    opened(browser, address, page)
    blocks = BLOCKS[page]
    runs = [number for number, block in enumerate(blocks) if not block.needs]
    if runs:
        last = Piece(browser, runs[-1])
        last.press("upTo" if len(runs) > 1 else "run")
        wait(lambda: last.result or any(Piece(browser, number).result not in (None, "ok") for number in runs), 600)
    wrong = []
    for number, block in enumerate(blocks):
        piece = Piece(browser, number)
        if block.needs:
            assert piece.status and not piece.ask("return piece.querySelector('button')")
        elif piece.result != "ok":
            wrong.append(f"{page}, block {number}, line {block.line}: {piece.status}\n{piece.output}")
        elif block.prints is not None and not same_text(piece.printed, block.prints):
            wrong.append(f"{page}, block {number}, line {block.line} prints\n{piece.printed}\nnot\n{block.prints}")
    assert not wrong, "\n".join(wrong)
    assert not console(browser, "SEVERE")


def test_texts_in_both_languages(browser, address):
    opened(browser, address)
    keys = """const done = arguments[0];
    const names = (texts) => Object.entries(texts).flatMap(([key, text]) => typeof text == "object"
        ? names(text).map((name) => `${key}.${name}`) : [`${key} ${typeof text}`]);
    import("/_static/live/texts.js").then(({ TEXTS }) => done([names(TEXTS.en), names(TEXTS.zh)]));"""
    english, chinese = browser.execute_async_script(keys)
    assert sorted(english) == sorted(chinese) and len(english) > 25
    assert {name.split()[0] for name in english} >= {f"needs.{reason}" for reason in REASONS}


# One block ------------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_the_first_click(browser, address, site):
    opened(browser, address)
    loaded = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    files = [name.removeprefix(address).partition("?")[0] for name in browser.execute_script(loaded)]
    ours = {name: (site / name).stat().st_size for name in files if name.startswith("_static/live/")}
    assert {"_static/live/page.js", "_static/live/blocks.js", "_static/live/live.css"} <= ours.keys()
    assert not [name for name in files if re.search("pyodide|vendor|whl", name)]
    page = browser.page_source.split("Content-Security-Policy")[1].split(">")[0]
    marks = browser.execute_script("return document.querySelectorAll('.live').length") * 100
    assert sum(ours.values()) + len(page) + marks < 60_000, ours


def test_does_the_output_agree(browser, address):
    """Said after a run; what the page says a block prints is marked as that, in the page's language."""
    opened(browser, address)
    block = Piece(browser, 0)
    caption = "return piece.nextElementSibling.querySelector('.live-caption').textContent"
    assert block.ask(caption) == "What it should print" and not block.output
    assert block.run().result == "ok" and block.ask("return piece.dataset.agrees") == "true"
    assert "is what the page says" in block.status and block.output.startswith("Your output\n")
    block.write("print(6 * 7)")
    assert block.run().ask("return piece.dataset.agrees") == "false" and "is not what" in block.status
    block.write("x = 6 * 7")
    assert block.run().ask("return piece.dataset.agrees") == "false" and "no output" in block.status
    opened(browser, address, "zh/layers/upsample")
    chinese = Piece(browser, 0)
    assert chinese.ask(caption).startswith("应当输出")
    assert chinese.run().ask("return piece.dataset.agrees") == "true"
    assert "一致 ✓" in chinese.status and chinese.output.startswith("你的输出\n")


SAME = [
    ("1.0001", "1.0002", True),
    ("1.0", "1.1", False),
    ("a  b\n", "a b", True),
    ("x1 2e-3, -4", "x1 0.002, -4.000001", True),
    ("x1", "x2", False),
    ("start 5 then end", "start ... end", True),
    ("start 5 then ends", "start ... end", False),
    ("a b a c", "a ... a c", True),
    ("a", "a ... a", False),
    ("a b", "... b ...", True),
    ("", "...", True),
    ("a b c d", "a ... c ... b ... d", False),
]


def test_output_is_compared_as_the_tests_do(browser, address):
    opened(browser, address)
    ask = """const [pairs, done] = arguments; import("/_static/live/output.js")
        .then(({ sameText }) => done(pairs.map(([printed, wanted]) => sameText(printed, wanted))));"""
    found = browser.execute_async_script(ask, [pair[:2] for pair in SAME])
    assert found == [agree for *_, agree in SAME] == [same_text(printed, wanted) for printed, wanted, _ in SAME]


def test_edit_and_put_back(browser, address):
    opened(browser, address)
    block = Piece(browser, 0)
    before = block.ask("return piece.querySelector('pre').textContent")
    block.write("print(6 * 7)\nfor i in range(2):\nprint(i)")  # the editor indents the last line
    assert block.run().printed == "42\n0\n1\n"
    assert "Done" in block.status
    block.press("putBack")
    assert block.ask("return piece.querySelector('pre').textContent") == before
    assert not block.ask("return piece.querySelector('.cm-content')") and not block.output
    assert block.run().result == "ok"


def test_an_error_is_shown_without_the_machinery(browser, address):
    opened(browser, address)
    first, second = Piece(browser, 0), Piece(browser, 2)
    assert second.run().result == "python"
    assert "NameError" in second.status and "press “Run up to here”" in second.status  # what it needs has not been run
    second.write("1 / 0")
    assert "ZeroDivisionError" in second.run().status and "above" not in second.status  # it needs nothing of that
    first.write("import numpy as np\ndef product(a):\nreturn a @ np.zeros(4)")
    first.run()
    second.write("product(np.zeros(3))")
    _, message, where, rest = lines(second.run().output)
    assert message.startswith("ValueError: ") and rest == "The way there (traceback)"
    assert where == "code 1, line 3: return a @ np.zeros(4)".capitalize()
    assert second.ask("return document.querySelector(piece.querySelector('.live-failure a').hash)") == first.ask(
        "return piece"
    )
    second.element("summary").click()
    traceback = second.ask("return piece.querySelector('.live-error').innerText")
    assert 'File "code 1", line 3' in traceback and traceback.count("File") == 2
    assert "running.py" not in traceback
    first.press("putBack")
    first.write("x = 1\nx +")
    assert lines(first.run().output)[1:3] == ["SyntaxError: invalid syntax", "Line 2 of this code: x +"]


def test_lines_are_numbered_in_the_editor(browser, address):
    opened(browser, address)
    block = Piece(browser, 0)
    block.write("a = 1\nb = 2\nc = 3")
    assert block.ask("return piece.querySelector('.cm-lineNumbers').innerText").split()[-3:] == ["1", "2", "3"]


def test_an_error_in_chinese(browser, address):
    opened(browser, address, "zh/layers/upsample")
    block = Piece(browser, 0)
    block.write("x = 1\n1 / (x - 1)")
    message, where, rest = lines(block.run().output)[1:]
    assert message == "ZeroDivisionError: division by zero" and "traceback" in rest
    assert where.startswith("这段代码的第 2 行") and where.endswith(" 1 / (x - 1)")


def test_pictures(browser, address):
    opened(browser, address)
    block = Piece(browser, 0)
    block.write("from PIL import Image\nImage.new('RGB', (30, 20)).save('saved.png')\nImage.new('L', (7, 5))")
    block.run()
    size = (
        "return [...piece.querySelectorAll('img')].map(image => [image.naturalWidth, image.naturalHeight, image.alt])"
    )
    wait(lambda: block.ask(size + ".every(size => size[0])"))
    sizes = block.ask(size)
    assert [size[:2] for size in sizes] == [[7, 5], [30, 20]] and all(size[2] for size in sizes)


def test_an_endless_loop_is_stopped(browser, address):
    opened(browser, address)
    block = Piece(browser, 0)
    block.write("kept = 1\nwhile True: print('again')")
    block.press("run")
    wait(lambda: "again" in block.printed)
    assert browser.execute_script("return 1 + 1") == 2  # the page goes on
    block.press("stop")
    wait(lambda: block.result == "stopped")
    assert "press “Run” to" in block.status and len(block.printed) < 1_000_000  # the first has no "Run up to here"
    later = Piece(browser, 1)
    later.write("while True: pass")
    later.press("run")
    later.press("stop")
    wait(lambda: later.result == "stopped")
    assert "press “Run up to here” to" in later.status
    block.press("putBack")
    assert block.run().result == "ok"
    assert session(browser, "return await session.run('kept')")["error"]["type"] == "NameError"


def test_a_time_limit(browser, address):
    opened(browser, address)
    answer = session(browser, "return await session.run('while True: pass', { limit: 500 })")
    assert not answer["ok"] and answer["error"]["kind"] == "time"
    assert session(browser, "return [session.state, (await session.run('1', { limit: 60000 })).ok]") == ["none", True]


@one_session
def test_what_the_session_offers(browser, address):
    opened(browser, address)
    assert session(browser, "return session.state") == "none"
    assert session(browser, "return await session.call('math:hypot', [3, 4])") == 5
    assert session(browser, "return await session.call('builtins:dict', { a: 1 })") == {"a": 1}
    thrown = session(browser, "return await session.call('math:sqrt', [-1])")
    assert (thrown["thrown"], thrown["type"]) == ("python", "ValueError")
    put = "await session.put('a.txt', new TextEncoder().encode('text').buffer)"
    read = "await session.run('print(open(\"a.txt\").read())', { onText: text => heard.push(text) })"
    assert session(browser, f"const heard = []; {put}; {read}; return heard.join('')") == "text\n"
    other = "await session.run('mine = 1', { namespace: 'other' })"
    assert session(browser, f"{other}; return (await session.run('mine')).error.type") == "NameError"
    assert session(browser, "return (await session.run('mine', { namespace: 'other' })).ok")
    gone = "await session.forget('other'); return (await session.run('mine', { namespace: 'other' })).ok"
    assert session(browser, gone) is False
    down = "const crash = await session.run('import ctypes; ctypes.string_at(-8)'); return crash.error.kind"
    assert session(browser, down) in ("crash", "python")


@one_session
def test_two_tabs(browser, address):
    opened(browser, address)
    first = browser.current_window_handle
    assert session(browser, "return (await session.run('here = 1')).ok")
    browser.switch_to.new_window("tab")
    try:
        opened(browser, address, "protocol")
        assert Piece(browser, 0).run().result == "ok"
        assert session(browser, "return (await session.run('here')).error.type") == "NameError"
    finally:
        browser.close()
        browser.switch_to.window(first)
    assert session(browser, "return (await session.run('here')).ok")


def test_keyboard(browser, address):
    """Tab indents in the editor; Escape, then Tab, leaves it; Shift or Control and Enter run."""
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    opened(browser, address)
    block = Piece(browser, 0)
    block.write("if True:")
    assert block.status == "Shift-Enter: Run. Escape, then Tab: out of the editor."
    active = browser.switch_to.active_element
    active.send_keys(keys.ENTER, "print(1)", keys.HOME, keys.TAB)
    lines = "return [...piece.querySelectorAll('.cm-line')].map(line => line.textContent)"
    assert block.ask(lines) == ["if True:", "        print(1)"]
    active.send_keys(keys.END, " # 1 / 2")  # outside an editor "/" leads to the search
    active.send_keys(keys.SHIFT, keys.ENTER)
    assert block.finish().printed == "1\n"
    active.send_keys(keys.ESCAPE, keys.TAB)
    assert not block.ask("return document.activeElement.matches('.cm-content')")
    assert block.ask("return piece.contains(document.activeElement)")


# Source that the page shows -------------------------------------------------------------------------------------------


def sources(browser):
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.live[data-object]')].map(piece => piece.dataset.object)"
    )
    return {path: Piece(browser, number, "object") for number, path in reversed([*enumerate(shown)])}


@one_session
def test_a_change_is_checked_and_put_back(browser, address):
    opened(browser, address)
    found = sources(browser)
    textbook = found["minires.textbook:batch_norm"]
    textbook.press("change")
    wait(lambda: textbook.ask("return piece.querySelector('.cm-content')"))
    textbook.press("check")
    assert textbook.finish().output.count("gradcheck passed") == 2
    source = textbook.ask("return piece.querySelector('pre').textContent")
    wrong = source.replace("dx = weight / std *", "dx = weight *")
    assert wrong != source
    textbook.write("def batch_norm(x:")
    textbook.press("check")
    assert textbook.finish().result == "python" and "SyntaxError" in textbook.output
    other = Piece(browser, 0)
    other.press("run")  # nothing runs beside a change that cannot be used, and the reader is told where it is
    wait(lambda: "The edited batch_norm has an error" in other.status)
    assert not other.result
    clear(browser, textbook.element(".cm-content"))
    insert(browser, wrong)
    path = json.dumps("minires.textbook:batch_norm")
    check = "const heard = []; await session.run(given[0], { onText: text => heard.push(text) }); return heard.join('')"
    run = f"from live.changes import check; check({path})"
    later = Piece(browser, next(n for n, block in enumerate(BLOCKS[HOME]) if "minires.textbook" in block.code))
    assert later.ask("piece.querySelector('.live-upTo').click()") is None
    wait(lambda: later.result)
    assert later.result == "python" and "AssertionError" in later.status  # what is written counts, checked or not
    assert "now in use" in textbook.status and session(browser, check, run).count("GradcheckError") == 2
    textbook.press("putBack")
    wait(lambda: session(browser, "return session.state") == "ready")
    assert session(browser, check, run).count("gradcheck passed") == 2


MOVE = "def move(a, b, mean, var, momentum, bessel):\na += momentum * (mean - a)\nb += momentum * (var{} - b)"
HATS = """def interpolation(length, out, like, align_corners=False, scale=None):
xp = array_module(like)
position = (xp.arange(out) + {}) * (length / out) - 0.5
distance = abs(xp.clip(position, 0, length - 1)[:, None] - xp.arange(length))
return xp.clip(1 - distance, 0, 1).astype(like.dtype)"""
UNSEEN = [
    (HOME, "batch_norm:move", MOVE.format(""), ["batch norm in training: running_var[0] is", "the library's own code"]),
    ("zh/layers/upsample", "upsample:interpolation", HATS.format(0.4), ["y[0, ", " 为 ", "而原来的代码给出"]),
]


@pytest.mark.parametrize(("page", "path", "wrong", "said"), UNSEEN)
def test_what_comes_out_is_compared(browser, address, page, path, wrong, said):
    """gradcheck passes where forward and backward pass are wrong together, or what a call leaves behind."""
    opened(browser, address, page)
    changed = sources(browser)[f"minires.layers.{path}"]
    changed.write(wrong)
    changed.press("check")
    found = lines(changed.finish().output)
    assert any("gradcheck passed" in line for line in found) and all(part in found[-1] for part in said)
    assert changed.ask("return piece.dataset.right") == "false" and "✓" not in changed.status


def test_a_change_of_names_passes(browser, address):
    opened(browser, address)
    changed = sources(browser)["minires.layers.batch_norm:move"]
    changed.write(MOVE.format(" * bessel"))
    changed.press("check")
    assert lines(changed.finish().output)[-1].startswith("On the same inputs, equal to the library's own: y, dx,")
    assert changed.ask("return piece.dataset.right") == "true" and "nothing is wrong ✓" in changed.status


def test_a_part_is_changed_as_a_whole(browser, address):
    opened(browser, address)
    part = sources(browser)["minires.layers.batch_norm:gradient_sums"]
    part.press("change")
    wait(lambda: part.ask("return piece.querySelector('.cm-content')"))
    assert part.ask("return piece.querySelector('.cm-content').innerText").startswith("def gradient_sums(")
    part.press("check")
    assert "gradcheck passed" in part.finish().output
    session(browser, "session.stop()")
    assert Piece(browser, 0).run().result == "ok"
    assert session(browser, "return await session.call('live.changes:source', ['minires.layers.batch_norm:move'])")


def test_what_is_written_survives_a_reload(browser, address):
    opened(browser, address)
    block = Piece(browser, 0)
    shown = "return piece.querySelector('.cm-content').innerText.trim()"

    def reopened():
        browser.refresh()
        wait(lambda: "live-ready" in browser.find_element("tag name", "html").get_attribute("class"))
        block.press("edit")
        wait(lambda: block.ask("return piece.querySelector('.cm-content')"))
        return block.ask(shown)

    block.write("print('mine')")
    assert reopened() == "print('mine')"
    block.press("putBack")
    assert reopened() != "print('mine')"


def test_no_button_comes_under_the_pointer(browser, address):
    """A double click presses one button, not two: Stop, which comes and goes, moves no other."""
    opened(browser, address)
    block = Piece(browser, 0)
    places = "return [...piece.querySelectorAll('button:not(.live-stop)')].map(button => button.offsetLeft)"
    before = block.ask(places)
    block.press("run")
    wait(lambda: block.ask("return !piece.querySelector('.live-stop').hidden") or block.result)
    assert block.ask(places) == before
    wait(lambda: block.result)
    assert block.ask(places) == before


# Where something is missing, or slow ----------------------------------------------------------------------------------


def test_without_the_network(browser, tmp_path):
    with served(build(tmp_path, [HOME])) as address:
        opened(browser, address)
        browser.execute_script("document.body.append('as before')")
        block = Piece(browser, 0)
        block.press("run")
        wait(lambda: block.result == "load", 60)
        assert "network" in block.status
        assert browser.execute_script("return document.querySelectorAll('mjx-container').length") > 20
        assert session(browser, "return session.state") == "none"
        assert block.run().result == "load"  # once more: it is tried again


def test_a_browser_without_module_workers(browser, address):
    opened(browser, address)
    browser.execute_script("const Known = Worker; window.Worker = function (address) { return new Known(address); }")
    block = Piece(browser, 0)
    assert block.run().result == "browser" and "module workers" in block.status


def test_a_file_that_is_not_the_expected_one_is_not_used(browser, site, tmp_path):
    other = tmp_path / "html"
    shutil.copytree(site, other)
    (wheel,) = other.glob("_static/live/minires-*.whl")
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)
    with served(other) as address:
        opened(browser, address)
        assert Piece(browser, 0).run().result == "load"
    (other / "_static" / "live" / "worker.js").unlink()
    with served(other) as address:
        opened(browser, address)
        assert Piece(browser, 0).run().result == "load"


def test_progress_of_a_slow_start(browser, site):
    with served(site, speed=4_000_000) as address:
        opened(browser, address)
        block, said = Piece(browser, 0), []
        block.press("run")
        while not block.result:
            said.append(block.status)
            time.sleep(0.05)
    assert block.result == "ok"
    megabytes = [float(found[1]) for text in said if (found := re.search(r"([\d.]+) of 18\.\d MB", text))]
    assert len(set(megabytes)) > 5 and megabytes == sorted(megabytes)


def test_opened_as_a_file(browser, site):
    browser.get((site / f"{HOME}.html").as_uri())
    wait(lambda: browser.execute_script("return document.querySelector('p.live-status')?.textContent"))
    assert not browser.execute_script("return document.querySelectorAll('.live-bar').length")
    wait(lambda: browser.execute_script("return document.querySelectorAll('mjx-container').length > 20"))


@contextlib.contextmanager
def listening():
    """Another server of this machine, which lets every page ask. -> (its address, what it was asked)"""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True, name="minires").start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


def test_code_reaches_nothing_but_the_site(browser, address):
    """What runs in a session cannot send anything away: the page's policy holds in the worker as well."""
    opened(browser, address)
    code = "import js\nrequest = js.XMLHttpRequest.new()\nrequest.open('GET', {!r}, False)\nrequest.send()\n"
    with listening() as (elsewhere, asked):
        away = session(browser, "return await session.run(given[0])", code.format(elsewhere))
        assert not away["ok"] and not asked
        home = session(browser, "return await session.run(given[0])", code.format(f"{address}index.html"))
        assert home["ok"]


# How it looks ---------------------------------------------------------------------------------------------------------


def test_phone(browser, address):
    opened(browser, address)
    set_width(browser, PHONE)
    Piece(browser, 0).write(
        "print('wide ' * 200)\nx = 'a line that goes on' + ' and on' * 3 + ' until it is wider than a phone'"
    )
    Piece(browser, 0).run()
    Piece(browser, 1).press("edit")
    wait(lambda: Piece(browser, 1).ask("return piece.querySelector('.cm-content')"))
    assert not browser.execute_script(WIDER, PHONE)
    low = "return Math.min(...[...piece.querySelectorAll('button')].filter(b => !b.hidden).map(b => b.offsetHeight))"
    assert Piece(browser, 1).ask(low) >= 24  # WCAG 2.2, 2.5.8


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", [HOME, "zh/layers/upsample"])
def test_accessible(browser, address, axe, theme, page):  # noqa: F811
    opened(browser, address, page)
    browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
    Piece(browser, 0).write("import sys\nprint(1)\nprint(2, file=sys.stderr)  # what\ndef f(): return 'a', 1 / 0\nf()")
    Piece(browser, 0).run()
    assert not faults(browser, axe, ".live")
