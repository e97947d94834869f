"""For the tests of the scripts in examples/: a script as a module, a call of its command line, and what it wrote."""

import csv
import importlib.util
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    """examples/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(script, monkeypatch, capsys, *arguments):
    """-> (exit code, stdout, stderr) of a script's main() with these arguments."""
    monkeypatch.setattr(sys, "argv", [str(script.__file__), *map(str, arguments)])
    try:
        code = script.main()
    except SystemExit as exit:  # argparse
        code = exit.code
    return code, *capsys.readouterr()


def one_sentence(err):
    """The error, which must be one line and no traceback."""
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def table(path):
    """The rows of a CSV file, each a dictionary."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def picture(path):
    """The picture in a file, which is closed again."""
    with Image.open(path) as image:
        image.load()
    return image
