"""Live figures in a browser: they show minires's numbers, and answer a mouse, a finger and the keyboard.

On a page that has them all. Skipped as tests/test_live.py is.
"""

import inspect
import itertools
import json
import re
import sys
import time

import numpy as np
import pytest
import test_live
from browsing import DOCS, PHONE, WIDER, console, launched, served, set_width
from draw_figures import NAMES, build, started
from PIL import Image
from test_live import axe  # noqa: F401

from minires import models, textbook

sys.path.append(str(DOCS / "_static"))

from live import figures, running  # noqa: F401

TEXTBOOK = inspect.getsource(textbook)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(build(tmp_path_factory.mktemp("figures"), NAMES, test_live.PYODIDE)) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


class Figure:
    """A figure that was started."""

    def __init__(self, browser, name):
        self.browser, self.name = browser, name
        started(browser, name)

    def ask(self, script, *arguments):
        found = f"const figure = document.querySelector('[data-figure={self.name}] .figure-body');"
        return self.browser.execute_script(f"{found} {script}", *arguments)

    def find(self, selector):
        node = self.ask("return figure.querySelector(arguments[0]);", selector)
        assert node, selector
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});", node)
        return node

    def matrix(self, name):
        """The numbers of a matrix, as they were computed; what is written is these, rounded."""
        texts = self.ask(  # not as numbers, whose last digit Firefox's driver does not keep
            r"""return [...figure.querySelectorAll(`[data-matrix="${arguments[0]}"] g[data-row]`)].map(cell =>
                [cell.dataset.row, cell.dataset.column, cell.dataset.value, cell.textContent]);""",
            name,
        )
        cells = [[float(text.replace("\u2212", "-")) for text in cell] for cell in texts]
        shape = int(max(cell[0] for cell in cells)) + 1, int(max(cell[1] for cell in cells)) + 1
        for *_, value, written in cells:
            assert abs(value - written) <= 0.005001
        return np.array([cell[2] for cell in cells]).reshape(shape)

    def bars(self, name):
        """The heights of columns, or of their first series."""
        texts = self.ask(
            """return [...figure.querySelectorAll(`[data-matrix="${arguments[0]}"] g[data-row="0"]`)].map(bar =>
                bar.dataset.value);""",
            name,
        )
        return [float(text) for text in texts]

    def line(self, name):
        """The heights of a line's points, upwards."""
        path = self.ask(f"return figure.querySelector('[data-line={name}]')?.getAttribute('d') ?? ''")
        return [-float(point.split()[1]) for point in path.replace("M", "L").split("L") if point]

    def cell(self, name, row, column):
        return self.find(f'[data-matrix="{name}"] [data-row="{row}"][data-column="{column}"]')

    def value(self, name):
        """A number shown by its name."""
        return float(self.ask("return figure.querySelector(`[data-name='${arguments[0]}']`).dataset.value;", name))

    def until(self, what, seconds=30):
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.ask("return figure.innerText;")
            time.sleep(0.05)

    def drag(self, node, right=0, up=0, touch=False):
        """By the mouse, or by a finger."""
        actions = pytest.importorskip("selenium.webdriver.common.action_chains").ActionChains
        pointer = pytest.importorskip("selenium.webdriver.common.actions.pointer_input").PointerInput
        device = pointer("touch" if touch else "mouse", "finger" if touch else "mouse")
        chain = actions(self.browser, duration=20, devices=[device])
        pointer_actions = chain.w3c_actions.pointer_action
        middle = (
            "const box = arguments[0].getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2];"
        )
        x, y = self.browser.execute_script(middle, node)
        pointer_actions.move_to_location(round(x), round(y)).pointer_down()
        for part in range(1, 5):
            pointer_actions.move_to_location(round(x + right * part / 4), round(y - up * part / 4))
        pointer_actions.pointer_up()
        chain.w3c_actions.perform()

    def point(self, node):
        """Moves the mouse over it, and leaves it there: what a test before has left it over counts no more."""
        pytest.importorskip("selenium.webdriver").ActionChains(self.browser, duration=20).move_to_element(
            node
        ).perform()

    def keys(self, node, *names):
        keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
        self.browser.execute_script("arguments[0].focus();", node)
        for name in names:
            self.browser.switch_to.active_element.send_keys(getattr(keys, name))


@pytest.fixture(scope="module", params=["index", "zh/index"])
def page(request, browser, address):
    """A page with all figures, which share a session, in each language."""
    set_width(browser, 1200)
    browser.get(f"{address}{request.param}.html")
    console(browser)
    return request.param


@pytest.fixture
def opened(browser, page):
    """opened(name) -> the figure, started, or as it was at the start."""
    set_width(browser, 1200)
    yield lambda name: Figure(browser, name)
    assert not console(browser, "SEVERE")


def numbers(name, function, *given):
    """What a figure's module answers here."""
    answer = json.loads(running.call(f"live.figures.{name}:{function}", json.dumps(given)))
    assert answer["ok"], answer
    return answer["value"]


# The start ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(browser, address):
    """fresh(page) -> the page, of which nothing is started."""

    def opened(page="index"):
        set_width(browser, 1200)
        browser.get(f"{address}{page}.html")
        test_live.wait(lambda: "figures-ready" in browser.find_element("tag name", "html").get_attribute("class"))

    return opened


def box(browser, name, script):
    found = f"const box = document.querySelector('[data-figure={name}]'), still = box.querySelector('.figure-still');"
    return browser.execute_script(f"{found} {script}")


def test_phones_show_the_narrow_picture(browser, fresh):
    fresh("zh/index")
    image = "const image = box.querySelector('img'); return image.complete && "
    for width, picture, shown in ((1200, "conv.png", 300), (PHONE, "conv-narrow.webp", 100), (1200, "conv.png", 300)):
        set_width(browser, width)
        test_live.wait(lambda end=picture: box(browser, "conv", f"{image} image.currentSrc.endsWith('{end}')"))
        test_live.wait(lambda wide=shown: box(browser, "conv", f"{image} image.getBoundingClientRect().width") == wide)
        assert box(browser, "conv", f"{image} image.alt") == "conv"


WATCH = """
window.seen = [];  // at each change: is there a picture, or else a figure with something in it?
const look = () => seen.push([box.querySelector("img").checkVisibility({ visibilityProperty: true }),
    (box.querySelector(".figure-body")?.checkVisibility({ visibilityProperty: true }) ?? false)
        && box.querySelectorAll(".figure-body [data-matrix] text").length > 5,
    box.querySelector("[role=status]").textContent]);
new MutationObserver(look).observe(box, { subtree: true, childList: true, attributes: true, characterData: true });
"""


@pytest.mark.parametrize("by", ["mouse", "finger", "ENTER", "SPACE"])
def test_the_still_picture_starts_its_figure(by, browser, fresh):
    fresh("zh/index" if by == "finger" else "index")
    box(browser, "conv", WATCH)
    still = box(browser, "conv", "still.scrollIntoView({ block: 'center', behavior: 'instant' }); return still")
    assert still.aria_role == "button" and still.accessible_name.endswith((": conv", "\uff1aconv"))
    if by in ("mouse", "finger"):
        figure = Figure.__new__(Figure)
        figure.browser = browser
        figure.drag(still, touch=by == "finger")
    else:
        keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
        box(browser, "conv", "still.focus()")
        browser.switch_to.active_element.send_keys(getattr(keys, by))
    test_live.wait(lambda: box(browser, "conv", "return 'started' in box.dataset"), 120)
    seen = browser.execute_script("return window.seen")
    assert all(picture or figure for picture, figure, _ in seen)  # no empty box at any time
    assert any(" MB" in said for *_, said in seen) and seen[-1][2] == "", {said for *_, said in seen}
    assert box(browser, "conv", "return !still.checkVisibility() && document.activeElement.matches('.figure-body')")


def test_a_start_that_fails_leaves_the_picture(browser, fresh):
    fresh()
    box(
        browser,
        "pooling",
        "box.dataset.figure = 'pooling'; window.Worker = class { constructor() { throw Error('no') } };",
    )
    box(browser, "pooling", "still.focus(); still.click()")
    test_live.wait(lambda: "2023" in box(browser, "pooling", "return box.querySelector('[role=status]').textContent"))
    assert box(
        browser, "pooling", "return still.checkVisibility() && document.activeElement === still && !still.ariaDisabled"
    )


# All figures ----------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_the_first_click(browser, address):
    browser.get(f"{address}index.html")
    test_live.wait(
        lambda: browser.execute_script("return document.documentElement.classList.contains('figures-ready')")
    )
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert not [
        name for name in loaded if any(part in name for part in ("pyodide", "whl", *(f"{n}.js" for n in NAMES)))
    ]
    assert len(browser.find_elements("css selector", ".live-figure img")) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_phone(name, browser, opened):
    opened(name)
    set_width(browser, PHONE)
    assert not browser.execute_script(WIDER, PHONE)
    assert not small(browser, name)


def small(browser, name):
    """Words of a figure that are smaller than 12 pixels on the screen."""
    script = """
    const texts = [...document.querySelectorAll(`[data-figure=${arguments[0]}] .figure-body *`)].filter(node =>
        [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
    return texts.filter(node => parseFloat(getComputedStyle(node).fontSize)
        * (node.ownerSVGElement ? node.getScreenCTM().a : 1) < 11.99).map(node => node.textContent)"""
    test_live.wait(lambda: browser.execute_script("return document.documentElement.clientWidth") <= PHONE)
    end = time.monotonic() + 5  # plots are drawn anew where the width has changed
    while (found := browser.execute_script(script, name)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_accessible(name, browser, opened, axe):  # noqa: F811
    opened(name)
    browser.execute_script(axe)
    for theme in ("light", "dark"):
        browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
        found = browser.execute_async_script("axe.run(arguments[0]).then(arguments[1])", f"[data-figure={name}]")
        assert len(found["passes"]) > 5
        faults = [(fault["id"], [node["html"][:200] for node in fault["nodes"][:3]]) for fault in found["violations"]]
        assert not faults, theme


# One by one -----------------------------------------------------------------------------------------------------------


def test_conv(opened):
    figure = opened("conv")

    def check(stride, padding):
        found = numbers("conv", "numbers", *(figure.matrix(name).tolist() for name in ("x", "weight")),
                        figure.matrix("dy").ravel().tolist(), stride, padding)  # fmt: skip
        for name in ("P", "y", "dP"):
            np.testing.assert_array_equal(figure.matrix(name), found[name])
        return found

    found = check(1, 0)
    np.testing.assert_array_equal(figure.matrix("dx"), found["parts"][0])
    figure.drag(figure.cell("x", 0, 0), up=30)
    figure.until(lambda: figure.matrix("x")[0, 0] == 3)
    figure.until(lambda: figure.matrix("P")[0, 0] == 3)
    check(1, 0)
    figure.drag(figure.cell("weight", 0, 1), up=-30, touch=True)
    figure.until(lambda: figure.matrix("Θ")[1, 0] == -3)
    check(1, 0)
    figure.keys(figure.cell("dy", 0, 0), "ARROW_RIGHT", "ARROW_DOWN", "PAGE_DOWN")
    figure.until(lambda: figure.matrix("dP")[1, 0] == -4)
    found = check(1, 0)

    place = figure.find(".figure-slider input")
    figure.keys(place, "ARROW_RIGHT", "ARROW_RIGHT")
    np.testing.assert_array_equal(figure.matrix("dx"), np.sum(found["parts"][:3], axis=0))
    figure.find(".figure-choice input[value=all]").click()
    np.testing.assert_array_equal(figure.matrix("dx"), found["dx"])
    figure.drag(figure.cell("y", 2, 1))  # a click; WebKit's driver clicks no texts of drawings
    assert "y[2, 1]" in figure.ask("return figure.querySelector('.figure-said').textContent")

    stride, padding = figure.ask("return [...figure.querySelectorAll('.figure-slider input')].slice(1);")
    figure.keys(padding, "ARROW_RIGHT")
    figure.until(lambda: figure.matrix("y").shape == (5, 5))
    figure.keys(stride, "ARROW_RIGHT")
    figure.until(lambda: figure.matrix("y").shape == (3, 3))
    found = check(2, 1)

    # Windows that reach into the padding take zeros from it, and what they give back to it is thrown away.
    border = """const cells = [...figure.querySelectorAll(`[data-matrix="${arguments[0]}"] [data-border]`)];
        return Object.fromEntries(cells.map(({ dataset, textContent, classList }) =>
            [dataset.border, [textContent.replace("\u2212", "-"), classList.value]]))"""
    zeros, thrown = figure.ask(border, "x"), figure.ask(border, "dx")
    assert len(zeros) == 20 and {text for text, _ in zeros.values()} == {"0"}
    assert not figure.ask("return figure.querySelector('[data-border][tabindex]')")
    back = np.sum(found["parts"], axis=0)
    for at, (text, kind) in thrown.items():
        r, c = (int(number) + 1 for number in at.split())
        assert float(text) == pytest.approx(back[r, c], abs=0.005)
        assert ("thrown" in kind) == bool(back[r, c])
    said = figure.ask("return figure.querySelector('[data-name=thrown]').textContent").replace("\u2212", "-")
    lost = back.sum() - np.sum(found["dx"])
    assert f"{lost:.12g}" in said
    figure.keys(figure.find(".figure-slider input"), "HOME")
    assert sum("seen" in kind for _, kind in figure.ask(border, "x").values()) == 3  # of the window in the corner


def test_a_finger_that_drags_does_not_scroll_the_page(opened, browser):
    figure = opened("conv")
    set_width(browser, PHONE)
    cell = figure.cell("weight", 0, 0)
    before = browser.execute_script("return scrollY")
    figure.drag(cell, up=140, touch=True)
    figure.until(lambda: figure.matrix("weight")[0, 0] == 9)
    assert abs(browser.execute_script("return scrollY") - before) < 5


def test_what_is_multiplied_lights_up(opened, browser):
    figure = opened("conv")
    lit = """return [...figure.querySelectorAll('[data-lit]')].map(node =>
        node.closest('[data-matrix]')?.dataset.matrix ?? 'sum')"""
    browser.execute_script("arguments[0].focus()", figure.cell("weight", 0, 1))
    together = ["P", "dP", "dx", "sum", "weight", "x", "\u0398"]
    assert sorted(figure.ask(lit)) == together
    assert figure.ask("return figure.querySelector('.figure-said [data-lit]').textContent").startswith("2\u00b7")
    figure.keys(figure.cell("weight", 1, 0), "ARROW_UP")
    figure.until(lambda: figure.matrix("\u0398")[2, 0] == 3)
    assert sorted(figure.ask(lit)) == together
    browser.execute_script("document.activeElement.blur()")
    figure.drag(figure.cell("P", 0, 3))
    assert sorted(figure.ask(lit)) == together
    browser.execute_script("document.activeElement.blur()")
    figure.drag(figure.cell("\u0398", 2, 0), touch=True)
    assert sorted(figure.ask(lit)) == together
    figure.drag(figure.cell("P", 4, 0))  # a row that was not looked at: now it is
    assert "y[1, 1]" in figure.ask("return figure.querySelector('.figure-said').textContent")


def test_formula_and_code_of_batch_norm(opened):
    figure = opened("batch_norm")
    terms = """return [...figure.querySelectorAll(`${arguments[0]} [data-term]`)].map(
        part => [part.dataset.term, part.textContent])"""
    written, code = "[data-name=written]", "code"
    assert [term for term, _ in figure.ask(terms, written)] == ["dx", "direct", "mean", "variance"]
    assert figure.ask("return figure.querySelector('code').textContent") in TEXTBOOK
    assert [term for term, _ in figure.ask(terms, code)] == ["dx", "direct", "mean", "variance"]
    figure.keys(figure.find("[data-matrix=x] [data-column='2']"), "ARROW_UP")
    figure.until(lambda: "dx[2]" in figure.ask(terms, written)[0][1])
    found = numbers("batch_norm", "numbers", [1, 1, 5.5, 5], [1, 2, 3, 6], 2, True)
    figure.until(lambda: np.array_equal(figure.matrix("dx")[0], found["dx"]))
    for term, text in figure.ask(terms, written)[1:]:
        product = float(eval(text.replace("\u00b7", "*").replace("\u2212", "-")))  # of numbers with two digits
        assert product == pytest.approx(found[term][2] * (1 if term == "direct" else -1), abs=0.05)
    figure.point(figure.find("[data-matrix=mean] g"))
    lit = "return [...new Set([...figure.querySelectorAll('[data-lit]')].map(node => node.dataset.term))]"
    figure.until(lambda: figure.ask(lit) == ["mean"])
    assert figure.ask("return figure.querySelector('code [data-lit]').textContent") == "- dy.mean(axis=pixels)"
    figure.find(".figure-check input").click()
    figure.until(lambda: figure.ask(terms, code) == [["dx", "dx"], ["direct", "dy"]])
    assert figure.ask("return figure.querySelector('code').textContent") in TEXTBOOK


def test_formula_and_code_of_cross_entropy(opened):
    figure = opened("cross_entropy")
    written = "return figure.querySelector('[data-name=written]').textContent.replaceAll('\u2212', '-')"
    assert figure.ask("return figure.querySelector('code').textContent") in TEXTBOOK
    for place, target in ((3, 0), (1, 1)):
        figure.find(f"[data-matrix='p = softmax(z)'] [data-column='{place}']").click()
        p = figure.bars("p = softmax(z)")[place]
        assert figure.ask(written).startswith(f"dz[{place}] = p[{place}] - t[{place}] = {p:.4f}".rstrip("0"))
        assert figure.ask(written).endswith(f"= {p - target:.4f}".rstrip("0"))


def test_batch_norm(opened):
    figure = opened("batch_norm")
    x, dy, at = [1, 1, 5, 5], [1, 2, 3, 6], {"weight": 2, "training": True}

    def check():
        found = numbers("batch_norm", "numbers", x, dy, *at.values())
        figure.until(lambda: np.array_equal(figure.matrix("dx")[0], found["dx"]))
        for name in ("direct", "mean", "variance"):
            np.testing.assert_array_equal(figure.matrix(name)[0], found[name])

    check()
    figure.drag(figure.find("[data-matrix=x] [data-column='1'] circle"), up=25)
    figure.until(lambda: figure.bars("x")[1] != 1)
    x[1] = figure.bars("x")[1]
    assert x[1] > 2
    check()
    figure.drag(figure.find("[data-matrix=dy] [data-column='3'] circle"), up=-25, touch=True)
    figure.until(lambda: figure.bars("dy")[3] != 6)
    dy[3] = figure.bars("dy")[3]
    assert dy[3] < 5
    check()
    figure.keys(
        figure.find("[data-matrix=x] [data-column='0']"), "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_DOWN", "HOME", "ARROW_UP"
    )
    x[2] = -7.5
    check()
    figure.keys(figure.find(".figure-slider input"), "ARROW_LEFT")
    at["weight"] = 1.75
    check()
    figure.find(".figure-check input").click()
    at["training"] = False
    check()


def test_cross_entropy(opened):
    figure = opened("cross_entropy")
    z = [2, 1, 0.5, -1, -2]

    def check(label=1, smoothing=0.0):
        found = numbers("cross_entropy", "numbers", z, label, smoothing)
        figure.until(lambda: figure.value("loss") == found["loss"])
        np.testing.assert_array_equal(figure.bars("p = softmax(z)"), found["p"])
        np.testing.assert_array_equal(figure.bars("dz = p \u2212 t"), found["dlogits"])
        return found

    check()
    figure.drag(figure.find("[data-matrix=z] [data-column='1'] circle"), up=30)
    figure.until(lambda: figure.bars("z")[1] != 1)
    z[1] = figure.bars("z")[1]
    assert z[1] > 2
    before = check()
    figure.find(".figure-controls button").click()
    figure.until(lambda: figure.bars("z")[4] == -1)
    z = [value + 1 for value in z]
    assert check()["loss"] == pytest.approx(before["loss"])
    figure.keys(figure.find("[data-matrix=z] [data-column='0']"), "ARROW_UP", "PAGE_DOWN")
    z[0] -= 1
    check()
    figure.find("input[value='4']").click()
    check(4)
    figure.keys(figure.find(".figure-slider input"), "ARROW_RIGHT", "ARROW_RIGHT")
    check(4, 0.1)


def test_pooling(opened):
    figure = opened("pooling")

    def check(kind, *window):
        x, dy = figure.matrix("x").tolist(), figure.matrix("dy").ravel().tolist()
        found = numbers("pooling", "numbers", kind, x, dy, *window)
        figure.until(lambda: np.array_equal(figure.matrix("y"), found["y"]))
        np.testing.assert_array_equal(figure.matrix("dx"), found["dx"])

    check("max", 3, 2, 0)
    figure.drag(figure.cell("x", 0, 0), up=100)
    figure.until(lambda: figure.matrix("y")[0, 0] == 8)
    check("max", 3, 2, 0)
    figure.keys(figure.cell("dy", 0, 0), "ARROW_UP", "ARROW_RIGHT", "ARROW_UP")
    figure.until(lambda: figure.matrix("dy")[0].tolist() == [2, 3])
    check("max", 3, 2, 0)
    assert "x[0, 0]" in figure.ask("return figure.querySelector('.figure-said').textContent")
    figure.keys(figure.find(".figure-slider input"), "ARROW_RIGHT")
    assert "y[0, 1]" in figure.ask("return figure.querySelector('.figure-said').textContent")
    figure.find("input[value=average]").click()
    check("average", 3, 2, 0)
    _, kernel, stride, padding = figure.ask("return [...figure.querySelectorAll('.figure-slider input')];")
    for slider, key in ((kernel, "ARROW_LEFT"), (stride, "ARROW_LEFT"), (padding, "ARROW_RIGHT")):
        figure.keys(slider, key)
    figure.until(lambda: figure.matrix("y").shape == (6, 6))
    check("average", 2, 1, 1)


def tell_session(browser, page, what):
    """As something else on the page does, that shares its Python."""
    script = f"""const address = new URL(arguments[0] + '_static/live/session.js', location.href);
        import(address).then(({{ session }}) => {{ session.{what}; }});"""
    browser.execute_script(script, "../" if "/" in page else "./")


def test_residual(opened, browser, page):
    figure = opened("residual")
    kinds = ("plain", "norm", "shortcut", "both")

    def check(depth, scale, block):
        found = numbers("residual", "numbers", depth, scale)
        for kind in kinds:
            wanted = pytest.approx(found[kind]["gradients"][block - 1], rel=1e-6)
            figure.until(lambda kind=kind, wanted=wanted: figure.value(kind) == wanted)

    check(20, 1, 1)
    depth, scale, block = figure.ask("return [...figure.querySelectorAll('.figure-slider input')];")
    figure.keys(depth, "HOME", "ARROW_RIGHT")
    check(3, 1, 1)
    figure.keys(scale, "HOME")
    check(3, 0.5, 1)
    figure.keys(block, "END")
    check(3, 0.5, 3)
    figure.drag(figure.find(".figure-plot"), right=-250)
    check(3, 0.5, 1)
    figure.find(".figure-check input").click()
    lines = "return [...figure.querySelectorAll('.figure-line')].map(line => line.dataset.line)"
    assert figure.ask(lines) == list(kinds[1:])
    said = "return figure.querySelector('.figure-empty').textContent"
    assert not figure.ask(said)
    for number, tick in enumerate(figure.ask("return [...figure.querySelectorAll('.figure-check input')]")):
        if number:
            figure.keys(tick, "SPACE")
    assert not figure.ask(lines) and len(figure.ask(said)) > 8
    figure.find(".figure-check input").click()
    assert figure.ask(lines) == ["plain"] and not figure.ask(said)
    tell_session(browser, page, "call('time:sleep', [1])")
    figure.keys(depth, "END")
    figure.until(lambda: figure.ask(said))  # that the lines are of before
    check(40, 0.5, 1)
    assert not figure.ask(said)


def test_schedules(opened):
    figure = opened("schedules")

    def check(kind, lr, length, warmup, iteration):
        found = numbers("schedules", "numbers", kind, lr, length, warmup)
        figure.until(lambda: figure.ask("return figure.querySelector('code').textContent") == found["code"])
        figure.until(lambda: figure.value("rate") == found["rates"][iteration])

    check("CosineAnnealingLR", 0.1, 1000, 100, 0)
    lr, length, warmup, place = figure.ask("return [...figure.querySelectorAll('.figure-slider input')];")
    figure.keys(lr, "ARROW_RIGHT")
    figure.keys(length, "ARROW_LEFT")
    figure.keys(warmup, "HOME")
    figure.keys(place, "PAGE_UP")
    iteration = int(place.get_attribute("value"))
    assert iteration > 0
    check("CosineAnnealingLR", 0.11, 980, 0, iteration)
    figure.drag(figure.find(".figure-plot"), right=1, touch=True)
    assert 400 < int(place.get_attribute("value")) < 600
    figure.keys(figure.find("select"), "ARROW_DOWN")
    check("StepLR", 0.11, 300, 0, int(place.get_attribute("value")))
    lit = "return [...figure.querySelectorAll('code [data-lit]')].map(node => node.textContent)"
    for slider, argument in ((lr, "lr=0.11"), (length, "step_size=300"), (place, None)):
        figure.keys(slider)
        figure.until(lambda shown=[argument] if argument else []: figure.ask(lit) == shown)
    figure.keys(warmup, "ARROW_RIGHT")
    figure.until(lambda: figure.ask(lit) == ["steps=20"])
    figure.keys(figure.find("select"), "END")
    figure.until(lambda: "ConstantLR" in figure.ask("return figure.querySelector('code').textContent"))
    figure.keys(figure.find("select"), "ARROW_UP")
    figure.keys(length)
    figure.until(lambda: figure.ask(lit) == ["pct_start=0.3"])


def test_training(opened):
    figure = opened("training")
    live = "return figure.querySelector('.figure-said').getAttribute('aria-live')"
    stopped = lambda: figure.ask(live) == "polite"  # noqa: E731
    accuracy = figure.value("accuracy")
    run = numbers("training", "begin", "A", 0.1, 0)["run"]
    first = numbers("training", "test", run)
    assert accuracy == pytest.approx(first["accuracy"], abs=0.02)
    assert np.abs(figure.matrix("confusion") - first["confusion"]).sum() <= 4  # logits nearly equal round otherwise
    sides = figure.ask("""return [...figure.querySelectorAll('[data-matrix="confusion"] > text')]
        .map(name => [name.textContent, name.getBBox()]);""")
    names = [name for name, _ in sides]
    assert names[::2] == names[1::2] and len(set(names)) == 6  # at the rows and at the columns
    above = [box for _, box in sides[1::2]]
    for one, other in itertools.combinations(above, 2):
        assert abs(one["y"] - other["y"]) > 12 or one["x"] + one["width"] < other["x"]
    train = figure.find(".figure-train")
    figure.keys(train, "ENTER")
    figure.until(lambda: len(figure.line("losses")) > 8, 120)
    train.click()
    figure.until(stopped, 60)
    found = numbers("training", "steps", run, 4)
    figure.until(lambda: max(figure.bars("gradients")) > 0)
    heights = figure.line("losses")
    expected = found["losses"]
    for a in range(1, 4):  # the line falls and rises as these do
        assert (heights[a] - heights[0]) * (expected[a] - expected[0]) >= -1e-2
    count = len(heights)
    time.sleep(3)
    assert len(figure.line("losses")) == count  # it has stopped
    step = lambda: int(figure.ask("return figure.querySelector('.figure-said').textContent.match(/[0-9]+/)[0]"))  # noqa: E731
    assert step() == count  # and says where
    for _ in range(3):  # it goes on from there, however often, and no step is lost or taken twice
        train.click()
        figure.until(lambda: len(figure.line("losses")) > count + 2, 60)  # noqa: B023
        train.click(), train.click(), train.click()
        figure.until(stopped, 60)
        count = len(figure.line("losses"))
    more = numbers("training", "steps", run, count - 4)["losses"]
    both, heights = expected + more, figure.line("losses")
    assert len(both) == count
    assert np.corrcoef(np.clip(both, 0, 2), heights)[0, 1] > 0.9
    figure.find("input[value=none]").click()
    figure.until(lambda: not figure.line("losses"), 60)


def test_training_ends_with_its_last_step(opened):
    figure = opened("training")
    train = figure.find(".figure-train")
    while not figure.ask("return figure.querySelector('.figure-train').disabled"):
        train.click()
        count = len(figure.line("losses"))
        figure.until(lambda: len(figure.line("losses")) >= min(count + 60, 240), 120)  # noqa: B023
        train.click()
        figure.until(
            lambda: figure.ask("return figure.querySelector('.figure-said').getAttribute('aria-live')") == "polite", 60
        )
    assert len(figure.line("losses")) == 240 and len(figure.line("own")) == len(figure.line("tests")) >= 13
    assert figure.value("accuracy") > 0.9
    status = "return figure.closest('.live-figure').querySelector('[role=status]').textContent"
    assert not figure.ask(status)


def test_python_that_is_ended_is_said_and_starts_again(opened, browser, page):
    """As by "Stop" of a block on the same page."""
    training, seen, conv = (opened(name) for name in ("training", "grad_cam", "conv"))
    train = training.find(".figure-train")
    train.click()
    training.until(lambda: len(training.line("losses")) > 2, 60)
    tell_session(browser, page, "stop()")
    training.until(lambda: training.ask("return figure.querySelector('.figure-train').disabled"))
    said = training.ask("return figure.querySelector('.figure-said').textContent")
    assert "Error" not in training.ask("return figure.closest('.live-figure').innerText")
    assert ("new one" if page == "index" else "新网络") in said
    training.find(".figure-controls button:not(.figure-train)").click()
    training.until(lambda: training.ask("return !figure.querySelector('.figure-train').disabled"), 120)
    train.click()
    training.until(lambda: len(training.line("losses")) > 2, 60)
    train.click()
    conv.keys(conv.cell("x", 0, 0), "ARROW_UP")
    conv.until(lambda: conv.matrix("P")[0, 0] == 2, 60)
    title = "return figure.querySelector('.figure-title').textContent"
    before = seen.ask(title)
    seen.keys(seen.find("button[aria-pressed=false]"), "ENTER")
    seen.until(
        lambda: seen.ask(title) != before and "Error" not in seen.ask("return figure.parentElement.innerText"), 60
    )
    assert seen.ask("return figure.querySelectorAll('button[data-label]').length") == 5


def test_weights_file(opened, browser, page, tmp_path, monkeypatch):
    from live.figures import weights_file

    figure = opened("weights_file")
    monkeypatch.chdir(tmp_path)
    weights_file.example()
    language = "en" if page == "index" else "zh"
    text = weights_file.identify("somebodys-network.npz", language)["text"]
    assert ("parameters" in text) == (language == "en")
    weights_file.example()
    requests = "return performance.getEntriesByType('resource').length"
    before = browser.execute_script(requests)
    result = "return figure.querySelector('.figure-result').textContent"
    figure.find(".figure-file").send_keys(str(tmp_path / "somebodys-network.npz"))
    figure.until(lambda: figure.ask(result) == text)
    (tmp_path / "note.pth").write_text("no weights")
    figure.find(".figure-file").send_keys(str(tmp_path / "note.pth"))
    figure.until(lambda: "note.pth" in figure.ask(result))
    assert figure.ask("return figure.querySelector('.figure-result').dataset.kind") == "error"
    figure.keys(figure.find(".figure-drop button"), "ENTER")
    figure.until(lambda: figure.ask(result) == text)
    assert browser.execute_script(requests) == before  # nothing was sent


def test_grad_cam(opened, browser, page, tmp_path):
    figure = opened("grad_cam")
    shown = "return [...figure.querySelectorAll('button[data-label]')].map(button => Number(button.dataset.value))"
    figure.until(lambda: len(figure.ask(shown)) == 5, 60)
    title = "return figure.querySelector('.figure-title').textContent"
    first = figure.ask(title)
    if page == "zh/index":  # what is ours is in Chinese
        said = figure.ask("return figure.innerText")
        assert not re.search("parameters|trained|drawn|star|crescent", said) and "五角星" in first and "个参数" in said
    maps = "return [...figure.querySelectorAll('img')].map(image => image.src)"
    before = figure.ask(maps)
    assert len(before) == 3
    figure.keys(figure.find("button[aria-pressed=false]"), "ENTER")
    figure.until(lambda: figure.ask(title) != first)
    figure.until(lambda: figure.ask(maps)[2] != before[2])
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "red.png")
    figure.find(".figure-file").send_keys(str(tmp_path / "red.png"))
    figure.until(lambda: figure.ask(maps)[0] != before[0])
    assert "60" in figure.ask(title) and "40" in figure.ask(title)  # not all of it is looked at, and that is said
    np.savez(tmp_path / "other.npz", **models.resnet8(rng=0).state_dict())
    figure.find(".figure-file").send_keys(str(tmp_path / "other.npz"))
    figure.until(lambda: "class " in figure.ask(title))
    (tmp_path / "note.png").write_text("no picture")
    figure.find(".figure-file").send_keys(str(tmp_path / "note.png"))
    figure.until(lambda: "note.png" in figure.ask(title))
