"""A browser without a network, and a server for it: what tests/test_site.py and tests/test_live.py open pages with.

Chromium, or with ENGINE=firefox or ENGINE=webkit (WebKitGTK, the engine of Safari) in the environment one of these.
"""

import contextlib
import glob
import io
import os
import runpy
import shutil
import subprocess
import tarfile
import threading
import time
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PHONE, LAPTOP = 390, 1280  # pixels
AXE = "axe-core@4.14.1"
ENGINE = os.environ.get("ENGINE", "chromium")
HEAD = b'<meta charset="utf-8">'
RECORD = b"""<script>
window.said = [];
addEventListener("error", event => {  // a late notice of a size is none
    if (!/^ResizeObserver loop/.test(event.message)) said.push(["SEVERE", event.message || event.target.outerHTML]);
}, true);
addEventListener("unhandledrejection", event => said.push(["SEVERE", String(event.reason)]));
addEventListener("securitypolicyviolation", event => {
    said.push(["SEVERE", `policy: ${event.effectiveDirective} ${event.blockedURI}`]);
});
for (const [name, level] of [["error", "SEVERE"], ["warn", "WARNING"]]) {
    const log = console[name];
    console[name] = (...what) => { said.push([level, what.join(" ")]); log(...what); };
}
</script>"""


@contextlib.contextmanager
def served(folder, speed=None):
    """The address of a folder's files, behind the server of docs/serve.py. speed: bytes a second of each file."""
    module = runpy.run_path(str(DOCS / "serve.py"))

    def send_slowly(handler, source, outputfile):
        while piece := source.read(speed // 10):
            outputfile.write(piece)
            time.sleep(0.1)

    def send_recording(handler, send=module["Handler"].send_head):
        """Of a page, one that keeps what it is told, from before its policy."""
        file = Path(handler.translate_path(handler.path))
        if file.suffix != ".html" or not file.is_file():
            return send(handler)
        page = file.read_bytes().replace(HEAD, HEAD + RECORD, 1)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        return io.BytesIO(page)

    if speed:
        module["Handler"].copyfile = send_slowly
    if ENGINE == "webkit":
        module["Handler"].send_head = send_recording
    with module["server"](folder, port=0) as server:

        def serve_for_all_tests(*request):  # by a thread of this name, since a browser's connection outlasts the test
            threading.Thread(target=server.process_request_thread, args=request, name="minires", daemon=True).start()

        server.process_request = serve_for_all_tests
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def program(*names, cure):
    """The path of the first that is installed; else the test is skipped."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"{names[0]} is missing: {cure}")


def chromium(profile):
    webdriver = pytest.importorskip("selenium.webdriver")
    cure = "apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome", cure=cure)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(profile)})
    quiet = ("background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")
    options.add_argument("--no-first-run")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    for feature in quiet:
        options.add_argument(f"--disable-{feature}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(program("chromedriver", cure=cure)))


def firefox(profile):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.FirefoxOptions()
    options.binary_location = program("firefox", "firefox-esr", cure="apt-get install firefox-esr")
    options.add_argument("-headless")
    options.add_argument("-remote-allow-system-access")  # for set_width and console
    options.set_preference("network.dns.disabled", True)
    options.set_preference("browser.download.folderList", 2)
    options.set_preference("browser.download.dir", str(profile))
    driver = program("geckodriver", cure="https://github.com/mozilla/geckodriver/releases has it")
    return webdriver.Firefox(options=options, service=webdriver.FirefoxService(driver))


MINIBROWSER = "/usr/lib/*/webkit2gtk-4.1/MiniBrowser"
TOOLBAR = "* { min-width: 0; min-height: 0; padding: 0; margin: 0; font-size: 1px; }"  # it is wider than a phone


def webkit(profile):
    webdriver = pytest.importorskip("selenium.webdriver")
    cure = "apt-get install webkit2gtk-driver, and xvfb where there is no screen"
    options = webdriver.WebKitGTKOptions()
    options.binary_location = program(*glob.glob(MINIBROWSER), MINIBROWSER, cure=cure)
    options.add_argument("--automation")
    nowhere = {"proxyType": "manual", "httpProxy": "127.0.0.1:9", "sslProxy": "127.0.0.1:9", "noProxy": ["127.0.0.1"]}
    options.set_capability("proxy", nowhere)
    (profile / "gtk-3.0").mkdir()
    (profile / "gtk-3.0" / "gtk.css").write_text(TOOLBAR)
    (profile / "user-dirs.dirs").write_text(f'XDG_DOWNLOAD_DIR="{profile}"')
    homes = {f"XDG_{name}_HOME": str(profile) for name in ("CONFIG", "CACHE", "DATA")}
    driver = program("WebKitWebDriver", cure=cure)
    service = webdriver.WebKitGTKService(driver, env={**os.environ, **homes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Selenium, about itself
        return webdriver.WebKitGTK(options=options, service=service)


@contextlib.contextmanager
def launched(profile, engine=ENGINE):
    """A browser with no network but this machine; the test is skipped where there is none."""
    pytest.importorskip("selenium", reason="selenium drives the browser: pip install selenium")
    try:
        browser = {"chromium": chromium, "firefox": firefox, "webkit": webkit}[engine](profile)
    except pytest.importorskip("selenium.common.exceptions").WebDriverException as error:
        pytest.skip(f"{engine} does not start here: {error.msg}")
    browser.profile = profile
    with browser:
        browser.set_script_timeout(120)
        yield browser


def set_width(browser, width):
    if browser.name == "MiniBrowser":
        browser.set_window_size(width, 900)
    elif browser.name == "firefox":
        with browser.context("chrome"):  # its windows have a least width, a page within has none
            browser.execute_script("gBrowser.selectedBrowser.style = `width: ${arguments[0]}px; height: 900px`", width)
    else:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


FIREFOX_SAID = """
const console = Services.console, storage = Cc["@mozilla.org/consoleAPI-storage;1"].getService(Ci.nsIConsoleAPIStorage);
const errors = console.getMessageArray().filter(each => each instanceof Ci.nsIScriptError)
    .map(each => [each.sourceName, each.flags & 1 ? "WARNING" : "SEVERE", each.errorMessage]);
const calls = storage.getEvents().map(each => [each.filename, { error: "SEVERE", warn: "WARNING" }[each.level],
    [...each.arguments].join(" ")]);
console.reset();
storage.clearEvents();
return [...errors, ...calls].filter(([from]) => /^(http|blob|file)/.test(from)).map(each => each.slice(1));
"""


def console(browser, *levels):
    """What the browser's console was told since it was asked last, of these levels: "SEVERE", "WARNING"."""
    if browser.name == "MiniBrowser":  # nothing but the page can tell
        said = browser.execute_script("return window.said?.splice(0) ?? []")
    elif browser.name == "firefox":
        with browser.context("chrome"):
            said = browser.execute_script(FIREFOX_SAID)
    else:
        said = [(entry["level"], entry["message"]) for entry in browser.get_log("browser")]
    return [message for level, message in said if level in levels]


def clear(browser, editor):
    """Takes all text out of an editor, by its keys."""
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    chain = pytest.importorskip("selenium.webdriver.common.action_chains").ActionChains(browser, duration=20)
    editor.click()
    chain.key_down(keys.CONTROL).send_keys("a").key_up(keys.CONTROL).send_keys(keys.DELETE).perform()


def insert(browser, text):
    """Puts text where the focus is, at once: what is typed key by key, an editor would indent."""
    browser.execute_script(
        """const clipboardData = new DataTransfer();
        clipboardData.setData("text/plain", arguments[0]);
        const paste = new ClipboardEvent("paste", { bubbles: true, cancelable: true });
        Object.defineProperty(paste, "clipboardData", { value: clipboardData });
        document.activeElement.dispatchEvent(paste);""",
        text,
    )


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
