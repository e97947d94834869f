"""Runs a page's Python and sends back what it prints and shows. Nothing in it needs a browser.

`send(kind, what)` takes what comes while code runs: "text" and "warning" with a string, "picture" with the bytes of a
PNG and its name.
"""

import ast
import contextlib
import importlib
import io
import json
import linecache
import time
import traceback
from pathlib import Path

import numpy as np
from PIL import Image, ImageShow

NAMESPACES = {}  # name: the names that code run in it sees
MOST = 200_000  # characters that one run may print: more would stop the page
MACHINERY = {__file__, str(Path(__file__).with_name("changes.py")), ast.__file__}  # tracebacks leave it out
EVERY = 0.05  # seconds between two messages of a loop that prints
PIECES = set()  # names of the pieces of code that were run or put in place

_send = None  # of the code that runs now


class Printed(io.TextIOBase):
    """A stream whose text is sent as it comes, in pieces of some length."""

    def __init__(self, kind, send):
        self.kind, self.send = kind, send
        self.waiting, self.sent, self.last = [], 0, 0.0

    def writable(self):
        return True

    def write(self, text):
        if self.sent < MOST:
            self.waiting.append(text[: MOST - self.sent])
            self.sent += len(text)
            if self.sent >= MOST:
                self.waiting.append("\n...\n")
            if time.monotonic() - self.last > EVERY:
                self.flush()
        return len(text)

    def flush(self):
        if self.waiting:
            self.send(self.kind, "".join(self.waiting))
            self.waiting, self.last = [], time.monotonic()


def run(code, name, namespace, send):
    """Runs code as the file `name`. -> {"ok": True}, or {"ok": False, "error": ...} with the traceback in it."""
    global _send
    names = NAMESPACES.setdefault(namespace, {"__name__": "__main__"})
    remember(code, name)
    before, _send = pictures_here(), send
    with (
        contextlib.redirect_stdout(Printed("text", send)) as out,
        contextlib.redirect_stderr(Printed("warning", send)) as errors,
    ):
        try:
            execute(code, name, names)
            error = None
        except BaseException as raised:
            error = described(raised)
        out.flush()
        errors.flush()
    for file in sorted(pictures_here() - before):
        send("picture", Path(file[0]).read_bytes(), file[0])
    return json.dumps({"ok": error is None, "error": error})


def remember(code, name):
    """For tracebacks: the lines of a piece of code."""
    PIECES.add(name)
    lines = [f"{line}\n" for line in code.splitlines()]  # without the last line's end its marks would be one off
    linecache.cache[name] = len(code), None, lines, name


def execute(code, name, names):
    """Executes statements; the value of an expression at the end is shown, as at Python's prompt."""
    body = ast.parse(code, name)
    last = ast.Expression(body.body.pop().value) if body.body and isinstance(body.body[-1], ast.Expr) else None
    exec(compile(body, name, "exec"), names)
    value = eval(compile(last, name, "eval"), names) if last else None
    if isinstance(value, Image.Image):
        show(value)
    elif value is not None:
        print(repr(value))


def described(error):
    """An exception for the page: its type and message, the last line of the page's code on the way to it, and its
    traceback, without what is above the page's code.
    """
    shown = traceback.TracebackException.from_exception(error)
    shown.stack[:] = [frame for frame in shown.stack if frame.filename not in MACHINERY]
    message = shown.msg if isinstance(error, SyntaxError) else str(error)
    said = {"type": type(error).__name__, "message": message, "traceback": "".join(shown.format())}
    return {"kind": "python", "where": where_raised(error), **said}


def where_raised(error):
    """-> {"name", "line", "text"} of the last line of a piece of the page's code on the way to an error, or None."""
    passed = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        passed.append((error.filename, error.lineno))
    ours = [place for place in passed if place[0] in PIECES and place[1]]
    if not ours:
        return None
    name, line = ours[-1]
    return {"name": name, "line": line, "text": linecache.getline(name, line).strip()}


def pictures_here():
    """The pictures in the working directory and when they changed: a run shows those that it saves."""
    return {(file.name, file.stat().st_mtime_ns) for file in Path().glob("*.png")}


def show(picture, name=""):
    """Shows a picture below the code: one of Pillow's, or an array (H, W) or (H, W, 3).

    Integers are colours from 0 to 255; other numbers are drawn from the smallest, black, to the largest, white.
    """
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        if array.dtype != np.uint8:
            low, high = float(array.min()), float(array.max())
            array = ((array - low) / ((high - low) or 1) * 255).round().astype(np.uint8)
        picture = Image.fromarray(array)
    held = io.BytesIO()
    picture.save(held, "PNG")
    _send("picture", held.getvalue(), name)


class OnThePage(ImageShow.Viewer):
    """What `image.show()` does in a session."""

    def show_image(self, image, **options):
        show(image)
        return 1


def begin():
    ImageShow.register(OnThePage(), order=0)


def call(path, arguments):
    """Calls "package.module:function" with JSON: a list of arguments, or an object of named ones. -> JSON."""
    module, _, name = path.partition(":")
    arguments = json.loads(arguments)
    try:
        function = getattr(importlib.import_module(module), name)
        value = function(**arguments) if isinstance(arguments, dict) else function(*arguments)
        return json.dumps({"ok": True, "value": value}, default=plain)
    except Exception as error:
        return json.dumps({"ok": False, "error": described(error)})


def plain(value):
    """What JSON has no word for: arrays and NumPy's numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def forget(namespace):
    NAMESPACES.pop(namespace, None)
