"""What goes wrong where the reader's code runs, said with the reader's line."""

import ast
import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from minires.exercises.finding import Finding


@contextlib.contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Within this block an error in the reader's file, `path`, becomes a Finding: `what` happened, and where."""
    try:
        yield
    except Finding:
        raise
    except NotImplementedError as error:
        line, _ = _line_of(error, path)
        raise Finding(
            "unwritten", f"The backward pass is not written yet: {path}{f', line {line}' if line else ''}."
        ) from None
    except SyntaxError as error:
        lines = [f"The file is not Python: {error.msg}: save it as text, in UTF-8."]
        if error.text:
            lines = [f"The file is not Python: {error.msg}, line {error.lineno}:", f"  {error.text.strip()}"]
        raise Finding("syntax", *lines) from None
    except SystemExit:
        raise Finding("exit", "The file ended the program (sys.exit or exit): take that call out.") from None
    except Exception as error:
        line, text = _line_of(error, path)
        where = (f"{what[0].upper()}{what[1:]}, in line {line}:", f"  {text}") if line else (f"{what.capitalize()}:",)
        message = " ".join(str(error).split())
        where += (f"  {type(error).__name__}: {message}", *_of_exception(message, path))
        raise Finding("exception", *where) from None


def _of_exception(message, path):
    """What is behind an exception that says little to a beginner, if it is known."""
    name = Path(path).name.split(".")[0]
    if "null bytes" in message:  # a SyntaxError in later versions of Python
        yield "Save it as text, in UTF-8."
    elif "truth value of an array" in message:
        yield "if decides once, for the whole array. np.where, or a product with a mask, decides number by number."
    elif "boolean negative" in message or "boolean subtract" in message:
        yield "True and False are no numbers to NumPy here: 1.0 * mask has 1 and 0 in their place."
    elif name in _called(path):
        yield f"{name}(...) gives two things, its result and backward: is that meant? The result is there already."


def _called(path):
    """The names of the functions that the file calls; none where it cannot be read."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        calls = [node.func for node in ast.walk(ast.parse(Path(path).read_bytes())) if isinstance(node, ast.Call)]
        return {called.id for called in calls if isinstance(called, ast.Name)}
    return set()


def _line_of(error, path):
    """The last line of the reader's file on the way to the error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == Path(path).name]
    frames = [f for f in frames if Path(f.filename).absolute() == Path(path).absolute()]
    return (frames[-1].lineno, frames[-1].line) if frames else (None, None)
