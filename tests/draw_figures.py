"""Draws docs/images/figures/NAME.png: each live figure as it stands when it is started, with the numbers of
its NAME.py; NAME-narrow.webp is what a phone shows, and the folder zh has both in Chinese.

    python tests/draw_figures.py [NAME...]

Takes what tests/test_live.py takes: Sphinx, Selenium, Chromium and Pyodide's files.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browsing import DOCS, LAPTOP, PHONE, launched, served, set_width
from PIL import Image

PYODIDE = os.environ.get("PYODIDE") or DOCS.parent.parent / "shared" / "pyodide"
FIGURES = DOCS / "_static" / "live" / "figures"
NAMES = sorted(path.stem for path in FIGURES.glob("*.js") if path.with_suffix(".py").exists())
WIDE, COLOURS = 1200, 64
# What is pressed before the picture is taken, and what is true after it.
AFTER = {
    "training": (".figure-train", "figure.querySelector('.figure-train').disabled"),
    "weights_file": (".figure-drop button", "!figure.querySelector('.figure-result').hidden"),
}


def build(folder, names, pyodide=PYODIDE):
    """A site with a page that has the figures, and one in Chinese. -> the folder of its files."""
    source = folder / "docs"
    (source / "images" / "figures").mkdir(parents=True)
    (source / "zh").mkdir()
    for name in names:
        Image.new("L", (300, 200), 200).save(source / "images" / "figures" / f"{name}.png")
        Image.new("L", (200, 300), 200).save(source / "images" / "figures" / f"{name}-narrow.webp")
    for page, up in (("index", ""), ("zh/index", "../")):
        pictures = "\n\n".join(f"![{name}]({up}images/figures/{name}.png)" for name in names)
        (source / f"{page}.md").write_text(f"# Figures\n\n{pictures}\n", encoding="utf-8")
    (source / "_static").symlink_to(DOCS / "_static")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(DOCS), "-D", f"live_pyodide={pyodide}"]
    subprocess.run([*command, source, folder / "html"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return folder / "html"


def started(browser, name, seconds=300):
    """The figure of a page that is open, after a click on its button, or as at its start. -> its element"""
    box = f"document.querySelector('.live-figure[data-figure={name}]')"
    until = time.monotonic() + seconds

    def wait(script):
        while not browser.execute_script(f"return {script}"):
            said = browser.execute_script(f"return {box}?.innerText")
            assert time.monotonic() < until, f"{name}: waited in vain for {script}: {said}"
            time.sleep(0.05)

    wait("document.documentElement.classList.contains('figures-ready')")
    browser.execute_script(
        f"const box = {box}; delete box.dataset.started; box.querySelector('.live-bar button:not([hidden])').click()"
    )
    wait(f"'started' in {box}.dataset")
    return browser.execute_script(f"return {box}.querySelector('.figure-body')")


def press(browser, body, button, done, seconds=600):
    browser.execute_script("arguments[0].querySelector(arguments[1]).click()", body, button)
    until = time.monotonic() + seconds
    while not browser.execute_script(f"const figure = arguments[0]; return {done};", body):
        assert time.monotonic() < until, f"waited in vain for {done}"
        time.sleep(0.1)


def draw(browser, body, width, scale):
    """A picture of few colours of an element, on a screen of that width that is high enough for all of it."""
    metrics = {"width": width, "height": 2400, "deviceScaleFactor": scale, "mobile": width < LAPTOP}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", body)
    time.sleep(0.5)  # plots take their new width
    picture = Image.open(io.BytesIO(body.screenshot_as_png)).convert("RGB")
    return picture.quantize(COLOURS, dither=Image.Dither.NONE)


def main(names):
    with tempfile.TemporaryDirectory() as folder:
        site = build(Path(folder), names)
        with served(site) as address, launched(Path(folder) / "browser", "chromium") as browser:
            for language in ("", "zh"):
                into = DOCS / "images" / "figures" / language
                into.mkdir(parents=True, exist_ok=True)
                set_width(browser, WIDE)
                browser.get(f"{address}{language}/index.html")
                for name in names:
                    body = started(browser, name)
                    if name in AFTER:
                        press(browser, body, *AFTER[name])
                    draw(browser, body, WIDE, 1).save(into / f"{name}.png", optimize=True)
                    narrow = draw(browser, body, PHONE, 2).convert("RGB")
                    narrow.save(into / f"{name}-narrow.webp", lossless=True, method=6)
                    for file in sorted(into.glob(f"{name}[.-]*")):
                        print(f"{file.relative_to(DOCS)}: {file.stat().st_size / 1000:.0f} kB")
                    set_width(browser, WIDE)


if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
