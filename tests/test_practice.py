"""The page of exercises, in a browser: what the command line says, what is kept, and that nothing written is lost.

Some of the known mistakes in the suite, all of them by `make test-live`. Needs what tests/test_live.py needs.
"""

import json
import os
import re
import time

import pytest
from browsing import PHONE, WIDER, clear, insert, launched, served, set_width
from test_live import PYODIDE, axe, build, session, wait  # noqa: F401

from minires.exercises import check, exercises, out_of_time, solution
from minires.exercises.catalogue import EXERCISES
from minires.exercises.generate import backward_body, exercise_code, exercise_file, source, with_backward
from minires.exercises.mistakes import MISTAKES, wrong_body

WHOLE = os.environ.get("LIVE_PAGES") == "all"
EVERY = [(name, mistake) for name in MISTAKES for mistake in MISTAKES[name]]
TRIED = EVERY if WHOLE else EVERY[::30]
FOR_A_TERMINAL = re.compile(r"python -m|docs/|exercises/")
LONGEST = 3  # seconds for a check, by the promise of docs/practice.md
ENDLESS = "while True: pass\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pages = ["practice", "zh/practice", "layers/activations", "zh/layers/activations"]
    with served(build(tmp_path_factory.mktemp("practice"), pages, "-D", f"live_pyodide={PYODIDE}")) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def written(name, body):
    return with_backward(exercise_file(EXERCISES[name]), body)


def right(name):
    return written(name, backward_body(source(EXERCISES[name])))


class Practised:
    """An exercise on the page."""

    def __init__(self, browser, name):
        self.browser, self.name = browser, name

    def ask(self, script, *arguments):
        found = f"const part = document.querySelector('#exercise-{self.name}');"
        return self.browser.execute_script(f"{found} {script}", *arguments)

    def element(self, selector):
        seen = "part.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})"
        self.ask(f"part.open = true; {seen}", selector)
        return self.ask("return part.querySelector(arguments[0])", selector)

    def press(self, button):
        wait(lambda: self.ask(f"return part.querySelector('.live-{button}').ariaDisabled") != "true")
        self.ask("delete part.dataset.result")
        self.element(f".live-{button}").click()

    def write(self, text):
        if not self.ask("return part.querySelector('.cm-content')"):
            self.press("write")
            wait(lambda: self.ask("return part.querySelector('.cm-content')"))
        clear(self.browser, self.element(".cm-content"))
        insert(self.browser, text)
        return self

    def check(self):
        self.press("check")
        return self.found()

    def found(self):
        wait(lambda: self.ask("return part.dataset.result"))
        wait(lambda: self.ask("return part.querySelector('.live-check').ariaDisabled") != "true")
        return self.ask("return part.querySelector('.exercise-found pre').textContent")

    def keep(self):
        time.sleep(0.6)  # after a pause without a key the page keeps what was written
        return self

    @property
    def kept(self):
        self.keep()
        return self.browser.execute_script(
            "return JSON.parse(localStorage.getItem(arguments[0]) || '{}')", f"minires.exercises/{self.name}"
        )

    def shows(self, button):
        return not self.ask(f"return part.querySelector('.live-{button}').hidden")


def opened(browser, address, page="practice", forget=True):
    set_width(browser, 1200)
    browser.get(f"{address}{page}.html")
    if forget:
        browser.execute_script("localStorage.clear()")
        browser.get("about:blank")
        browser.get(f"{address}{page}.html")
    wait(lambda: browser.execute_script("return document.documentElement.classList.contains('practice-ready')"))


def test_all_exercises_can_be_read_without_a_script(browser, address):
    opened(browser, address)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert not [name for name in asked if "pyodide" in name or "codemirror" in name]
    for each in exercises():
        shown = Practised(browser, each["name"]).ask("return part.textContent").replace("\u2019", "'")
        assert all(said.replace("`", "") in shown for said in (each["text"], each["how"], each["code"]))
        assert not FOR_A_TERMINAL.search(shown)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_verdicts_are_those_of_the_command_line(browser, address, language):
    opened(browser, address, "practice" if language == "en" else "zh/practice")
    relu = Practised(browser, "relu")
    unknown = written("relu", "return dy * np.cos(x)\n")
    files = (exercise_file(EXERCISES["relu"]), unknown, written("relu", "return dy\n"), "def relu(", right("relu"))
    for text in files:
        said = check("relu", text, language, on_page=True)["text"]
        assert relu.write(text).check() == re.sub(r"`([^`\n]+)`", r"\1", said)
        assert relu.ask("return part.querySelectorAll('.exercise-found a').length") == (text in files[1:4])
    assert relu.ask("return part.dataset.result") == "passed" and relu.shows("next")
    relu.press("next")
    assert browser.switch_to.active_element.text.split()[1] == "predict_sigmoid"


def test_every_known_mistake_gets_its_hint(browser, address):
    """In the worker, as the page asks there; all of them by make test-live."""
    opened(browser, address)
    script = """const found = [];
        for (const [name, source] of given[0]) {
            const began = performance.now();
            const { text } = await session.call("minires.exercises:check", { name, source });
            found.push([text, (performance.now() - began) / 1000]);
        }
        return found;"""
    session(browser, "await session.start()")
    files = [(name, written(name, wrong_body(EXERCISES[name], mistake))) for name, mistake in TRIED]
    every = [(each["name"], solution(each["name"])["source"]) for each in exercises()]  # of all three kinds
    files += every if WHOLE else every[::6]
    seconds = []
    for start in range(0, len(files), 20):
        part = files[start : start + 20]
        for (name, text), (said, took) in zip(part, session(browser, script, part), strict=True):
            assert said == check(name, text)["text"]
            seconds.append(took)
    print(f"{len(files)} checks, the longest took {max(seconds):.2f} s (to be under {LONGEST} s)")


def test_an_endless_loop_is_ended(browser, address):
    opened(browser, address)
    relu = Practised(browser, "relu").write(right("relu"))
    relu.check()
    assert relu.write(ENDLESS + right("relu")).check() == out_of_time("relu", 10)["text"]
    relu.press("check")
    wait(lambda: relu.shows("stop"))
    time.sleep(1)
    relu.press("stop")
    wait(lambda: relu.ask("return part.dataset.result") == "stopped")
    assert relu.write(right("relu")).check() == check("relu", right("relu"))["text"]


def test_the_editor_takes_the_place_of_the_code(browser, address):
    opened(browser, address)
    for name in ("relu", "predict_relu", "find_sigmoid"):
        each = Practised(browser, name).write("one")
        assert each.ask("return part.querySelector('.highlight-python3').offsetHeight") == 0
        assert each.ask("return getComputedStyle(part.querySelector('.cm-content')).color") != "rgba(0, 0, 0, 0)"


def test_every_exercise_is_on_the_map(browser, address):
    opened(browser, address)
    links = "return [...document.querySelectorAll('.exercise-map a')].map(link => link.getAttribute('href'))"
    assert browser.execute_script(links) == [f"#exercise-{each['name']}" for each in exercises()]
    rows = "return [...document.querySelectorAll('.exercise-map li > span')].map(operation => operation.textContent)"
    assert browser.execute_script(rows) == list(EXERCISES)


def test_the_way_on(browser, address):
    """The first that is open, by its name; also after a reload, and past what was given up."""
    opened(browser, address)
    going = "const going = document.querySelector('.exercise-going');"
    assert browser.execute_script(f"{going} return going.textContent") == "Begin with predict_relu"
    first = Practised(browser, "predict_relu")
    first.press("giveUp")
    first.press("giveUp")
    wait(lambda: first.ask("return part.querySelector('.exercise-solution').textContent"))
    assert browser.execute_script(f"{going} going.click(); return going.textContent") == "Go on with predict_relu_mask"
    opened(browser, address, forget=False)
    browser.refresh()
    wait(lambda: browser.execute_script("return document.documentElement.classList.contains('practice-ready')"))
    assert browser.execute_script(f"{going} return going.textContent") == "Go on with predict_relu_mask"
    links = "return [...document.querySelectorAll('.exercise-map a')].slice(0, 3).map(link => link.ariaLabel)"
    assert browser.execute_script(links) == [
        "predict_relu, predict what the code gives, solution seen",
        "predict_relu_mask, predict what the code gives",
        "relu, write the backward pass",
    ]
    conv = Practised(browser, "conv2d")
    conv.element(".exercise-derivation a[href='#exercise-im2col']").click()
    assert browser.switch_to.active_element.text.split()[1] == "im2col"
    browser.refresh()
    wait(lambda: browser.execute_script("return document.documentElement.classList.contains('practice-ready')"))
    assert Practised(browser, "im2col").ask("return part.open")


def test_what_is_written_stays(browser, address):
    opened(browser, address)
    relu = Practised(browser, "relu").write("one")
    assert relu.kept["text"] == "one"
    relu.press("again")
    assert "The other text" in relu.ask("return part.querySelector('.live-status').textContent")
    assert relu.kept["text"] == exercise_code(EXERCISES["relu"]).rstrip() + "\n" and relu.kept["before"] == "one"
    relu.press("back")
    opened(browser, address, forget=False)
    relu.press("write")
    wait(lambda: relu.ask("return part.querySelector('.cm-content')"))
    assert relu.ask("return part.querySelector('.cm-content').innerText").strip() == "one"


def test_giving_up_is_asked_twice_and_remembered(browser, address):
    opened(browser, address)
    relu = Practised(browser, "relu")
    double_click(browser, relu.element(".live-giveUp"))
    assert not relu.kept.get("gave_up") and not relu.ask("return part.querySelector('.exercise-solution').textContent")
    relu.press("giveUp")
    wait(lambda: "y > 0" in relu.ask("return part.querySelector('.exercise-solution').textContent"))
    assert relu.kept["gave_up"] and not relu.ask("return part.querySelector('.live-status').textContent")
    opened(browser, address, forget=False)
    assert relu.ask("return part.querySelector('.exercise-state').textContent") == "solution seen"


def double_click(browser, button):
    pytest.importorskip("selenium.webdriver").ActionChains(browser).double_click(button).perform()


def test_a_hint_before_anything_is_written(browser, address):
    """As --more says on the command line; where it is pressed twice, nothing else is."""
    opened(browser, address)
    relu = Practised(browser, "relu")
    relu.press("write")
    wait(lambda: relu.ask("return part.querySelector('.cm-content')"))
    begun = exercise_code(EXERCISES["relu"]).rstrip() + "\n"
    double_click(browser, relu.element(".live-more"))
    assert relu.found() == re.sub(r"`([^`\n]+)`", r"\1", check("relu", begun, more=True, on_page=True)["text"])
    relu.write(written("relu", "return dy\n")).check()
    double_click(browser, relu.element(".live-more"))
    relu.keep()
    assert "further" in relu.found() and relu.kept["text"] == written("relu", "return dy\n")


def test_the_computer_is_left_to_the_next(browser, address):
    opened(browser, address)
    relu = Practised(browser, "relu").write("mine")
    browser.find_element("css selector", ".exercise-owner input").send_keys("anna/b")
    erase = browser.find_element("css selector", ".exercise-erase")
    double_click(browser, erase)
    assert relu.kept["text"] == "mine"
    erase.click()
    file = browser.profile / "anna b.json"
    wait(lambda: file.is_file() and file.stat().st_size)
    assert json.loads(file.read_text())["exercises"]["relu"]["text"] == "mine"
    assert not browser.find_element("css selector", ".exercise-owner input").get_attribute("value")
    assert not relu.kept and "def relu" in relu.ask("return part.querySelector('.cm-content').innerText")
    erase.click()
    assert relu.kept["text"] == "mine" and relu.ask("return part.querySelector('.cm-content').innerText") == "mine"


def test_export_and_import(browser, address, tmp_path):
    opened(browser, address)
    relu = Practised(browser, "relu").write(right("relu"))
    relu.check()
    Practised(browser, "add").write("mine")
    browser.execute_script("document.querySelector('.exercise-export').click()")
    file = browser.profile / "minires-exercises.json"
    wait(lambda: file.is_file() and file.stat().st_size)
    held = json.loads(file.read_text())["exercises"]
    assert held["relu"]["text"] == right("relu") and held["relu"]["passed"] and held["add"]["text"] == "mine"
    opened(browser, address)
    Practised(browser, "add").write("other").keep()
    choose = browser.find_element("css selector", ".exercise-file")
    choose.send_keys(str(file))
    wait(lambda: relu.ask("return part.querySelector('.exercise-state').textContent") == "done")
    assert Practised(browser, "add").kept["text"] == "other" and Practised(browser, "add").kept["before"] == "mine"
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    choose.send_keys(str(broken))
    said = "return document.querySelector('.live-bar [role=status]').textContent"
    wait(lambda: "no file of progress" in browser.execute_script(said))
    assert Practised(browser, "add").kept["text"] == "other"


def test_two_tabs(browser, address):
    opened(browser, address)
    first = browser.current_window_handle
    relu, add = Practised(browser, "relu"), Practised(browser, "add")
    relu.write("from the first").keep()
    browser.switch_to.new_window("tab")
    opened(browser, address, forget=False)
    add.write("from the second").keep()
    relu.write("changed in the second").keep()
    browser.close()
    browser.switch_to.window(first)
    assert relu.ask("return part.querySelector('.cm-content').innerText").strip() == "changed in the second"
    Practised(browser, "tanh").write("from the first, later").keep()
    assert (add.kept["text"], relu.kept["text"]) == ("from the second", "changed in the second")


def test_phone(browser, address):
    opened(browser, address)
    set_width(browser, PHONE)
    Practised(browser, "grouped_conv2d").press("write")
    wait(lambda: Practised(browser, "grouped_conv2d").ask("return part.querySelector('.cm-content')"))
    assert not browser.execute_script(WIDER, PHONE)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible(browser, address, axe, theme):  # noqa: F811
    opened(browser, address)
    browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
    Practised(browser, "relu").write(right("relu")).check()
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run('article').then(arguments[0])")
    faults = [(fault["id"], [node["html"][:200] for node in fault["nodes"][:3]]) for fault in found["violations"]]
    assert not faults and len(found["passes"]) > 5
