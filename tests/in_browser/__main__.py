"""The tests in Python as a browser has it: in Node, or where that is missing in Chromium.

    make test-browser                                    all tests that a browser can run
    make test-browser ARGS="tests/test_conv.py -k stride"
    make test-browser ARGS="--short"                     six minutes of a core
    make test-browser ARGS="--runtime chromium"          in a browser even where Node is
    make test-browser ARGS="--measure"                   how long it takes to import minires, to train a step, ...
    make test-browser PYODIDE=DIR                        with the Pyodide in a folder

Any other argument is pytest's. What a browser cannot do, and why, stands in tests/in_browser/cannot.py.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from in_browser import pyodide
from in_browser.cannot import LONG
from in_browser.chromium import in_chromium

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns pytest's exit code, or 2 where something is missing."""
    options, flags = command_line().parse_known_args(arguments)
    try:
        folder, run = pyodide.find(options.pyodide), runtime(options.runtime)
        if not (pyodide.PACKAGES / "pytest").is_dir():
            raise LookupError(f"pytest is not in {pyodide.PACKAGES}: `make test-browser` puts it there")
    except LookupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.short:
        flags += [f"--ignore=tests/{name}" for name in LONG]
    return run(folder, flags)


def command_line() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(
        prog="make test-browser", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pyodide", help="the folder with Pyodide's files")
    parser.add_argument("--runtime", choices=("node", "chromium"), help="default: Node where it is")
    parser.add_argument("--short", action="store_true", help="without the files that take longest")
    return parser


def runtime(name: str | None = None) -> Callable[[Path, Sequence[str]], int]:
    """run(Pyodide's folder, pytest's arguments) -> exit code. Raises LookupError with one sentence."""
    found = {"node": shutil.which("node"), "chromium": shutil.which("chromium") or shutil.which("chromium-browser")}
    name = name or next((name for name, path in found.items() if path), "node")
    path = found[name]
    if path is None:
        raise LookupError(f"{name} is not on the PATH: install Node 20 or newer (nodejs.org), or Chromium")
    return partial(in_node if name == "node" else in_chromium, path)


def in_node(node: str, folder: Path, flags: Sequence[str]) -> int:
    """The tests' exit code; their lines go to standard output."""
    pyodide.COMPILED.mkdir(parents=True, exist_ok=True)
    folders = {"/checkout": pyodide.TOP, "/packages": pyodide.PACKAGES, "/compiled": pyodide.COMPILED}
    with tempfile.TemporaryDirectory() as beside:
        lock = Path(beside) / "pyodide-lock.json"
        lock.write_text(json.dumps(pyodide.pinned()["lock"]), encoding="utf-8")
        settings = {
            "pyodide": str(folder),
            "lock": str(lock),
            "folders": {inside: str(outside) for inside, outside in folders.items()},
            "flags": list(flags),
        }
        return subprocess.run([node, HERE / "node.mjs", json.dumps(settings)]).returncode


if __name__ == "__main__":
    sys.exit(main())
