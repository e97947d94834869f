"""Chromium without a network, and a server for it: what tests/test_site.py and tests/test_live.py open pages with."""

import contextlib
import runpy
import shutil
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PHONE, LAPTOP = 390, 1280  # pixels
AXE = "axe-core@4.14.1"


@contextlib.contextmanager
def served(folder, speed=None):
    """The address of a folder's files, behind the server of docs/serve.py. speed: bytes a second of each file."""
    module = runpy.run_path(str(DOCS / "serve.py"))

    def send_slowly(handler, source, outputfile):
        while piece := source.read(speed // 10):
            outputfile.write(piece)
            time.sleep(0.1)

    if speed:
        module["Handler"].copyfile = send_slowly
    with module["server"](folder, port=0) as server:

        def serve_for_all_tests(*request):  # by a thread of this name, since a browser's connection outlasts the test
            threading.Thread(target=server.process_request_thread, args=request, name="minires", daemon=True).start()

        server.process_request = serve_for_all_tests
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextlib.contextmanager
def chromium(profile):
    """A browser with no network but this machine; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser: pip install selenium")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("Chromium or its chromedriver is missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    quiet = ("background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")
    options.add_argument("--no-first-run")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    for feature in quiet:
        options.add_argument(f"--disable-{feature}")
    try:
        started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except pytest.importorskip("selenium.common.exceptions").WebDriverException as error:
        pytest.skip(f"Chromium does not start here: {error.msg}")
    with started as browser:
        browser.set_script_timeout(120)
        yield browser


def set_width(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


WIDER = """
const boxes = [document.documentElement, document.querySelector(".content")];  // the latter scrolls by itself in furo
if (!boxes.some(box => box && box.scrollWidth > box.clientWidth)) return [];
const scrolls = part => part && (getComputedStyle(part).overflowX == "auto" && !part.matches(".content")
    || scrolls(part.parentElement));
return [...document.querySelectorAll("article *")]
    .filter(part => part.getBoundingClientRect().right > arguments[0] && !scrolls(part.parentElement))
    .map(part => part.outerHTML.slice(0, 200)).slice(0, 5).concat("the page");
"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The script of axe, which finds faults of accessibility, by npm."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    command = [npm, "pack", AXE, "--pack-destination", str(folder), "--silent"]
    if not npm or subprocess.run(command, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip(f"npm or {AXE} cannot be had")
    (package,) = folder.glob("*.tgz")
    with tarfile.open(package) as files:
        return files.extractfile("package/axe.min.js").read().decode()


def faults(browser, axe, part="html"):
    """What axe finds wrong in the parts of a page that a selector names: (rule, the first elements)."""
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run(arguments[0]).then(arguments[1])", part)
    assert len(found["passes"]) > 5
    return [(fault["id"], [node["html"][:200] for node in fault["nodes"][:3]]) for fault in found["violations"]]
