// pytest within Pyodide, the same in Node and in Chromium.

export const PACKAGES = ["numpy", "pillow"];
export const ENVIRONMENT = { HOME: "/tmp", HYPOTHESIS_STORAGE_DIRECTORY: "/tmp/hypothesis" };

// The tests' exit code; what they say goes to stdout. Folders /checkout and /packages are there.
export function runTests(pyodide, flags) {
    pyodide.runPython(`
import sys

sys.path[:0] = ["/checkout", "/checkout/tests"]
sys.path += ["/packages", "/checkout/tests/in_browser/double"]
from in_browser.inside import main
`);
    return pyodide.globals.get("main")(pyodide.toPy(flags));
}

// What went wrong, in Python's words where they are Python's; Node would print all of Pyodide's source with it.
export function said(error) {
    return String(error.message ?? error);
}
