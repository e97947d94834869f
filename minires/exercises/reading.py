"""The reader's file, and what goes wrong where its code runs, said with the reader's line."""

import ast
import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType

from minires.exercises.finding import Finding
from minires.exercises.language import Text

NOT_RUN = "the file cannot be run"
FORWARD_FAILED = "the forward pass ended with an error"
BACKWARD_FAILED = "the backward pass ended with an error"
NO_GRADCHECK = "gradcheck could not be done"

IN_LINE = {
    NOT_RUN: "The file cannot be run, in line {line}:",
    FORWARD_FAILED: "The forward pass ended with an error, in line {line}:",
    BACKWARD_FAILED: "The backward pass ended with an error, in line {line}:",
    NO_GRADCHECK: "Gradcheck could not be done, in line {line}:",
}
SOMEWHERE = {
    NOT_RUN: "The file cannot be run:",
    FORWARD_FAILED: "The forward pass ended with an error:",
    BACKWARD_FAILED: "The backward pass ended with an error:",
    NO_GRADCHECK: "Gradcheck could not be done:",
}
MEANINGS = {  # what is behind an exception that says little to a beginner: a part of its message -> what to say
    "null bytes": "Save it as text, in UTF-8.",  # a SyntaxError in later versions of Python
    "truth value of an array": "if decides once, for the whole array. np.where, or a product with a mask, decides "
    "number by number.",
    "boolean negative": "True and False are no numbers to NumPy here: 1.0 * mask has 1 and 0 in their place.",
    "boolean subtract": "True and False are no numbers to NumPy here: 1.0 * mask has 1 and 0 in their place.",
}
UNWRITTEN = "The backward pass is not written yet: {path}."
UNWRITTEN_IN_LINE = "The backward pass is not written yet: {path}, line {line}."
UNWRITTEN_ON_PAGE = "The backward pass is not written yet."


@dataclass(frozen=True)
class Source:
    """What a reader has written, and where it stands: the path is for what is said, nothing is read from it."""

    path: str
    content: str | bytes

    def run(self, name: str) -> ModuleType:
        """The module that it makes, called `name`."""
        module = ModuleType(name)
        module.__file__ = self.path
        with reading(self, NOT_RUN):
            exec(compile(self.content, self.path, "exec", dont_inherit=True), module.__dict__)
        return module

    def line(self, number: int) -> str:
        text = self.content if isinstance(self.content, str) else self.content.decode(errors="replace")
        lines = text.splitlines()
        return lines[number - 1].strip() if number <= len(lines) else ""

    def called(self) -> set[str]:
        """The names of the functions that it calls; none where it is no Python."""
        with contextlib.suppress(SyntaxError, ValueError):
            calls = [node.func for node in ast.walk(ast.parse(self.content)) if isinstance(node, ast.Call)]
            return {called.id for called in calls if isinstance(called, ast.Name)}
        return set()


@contextlib.contextmanager
def reading(source: Source, what: str) -> Iterator[None]:
    """Within this block an error in the reader's code becomes a Finding: `what` happened, and where."""
    try:
        yield
    except Finding:
        raise
    except NotImplementedError as error:
        line = _line_of(error, source)
        unwritten = Text(UNWRITTEN_IN_LINE if line else UNWRITTEN, path=source.path, line=line)
        raise Finding("unwritten", unwritten.or_on_page(Text(UNWRITTEN_ON_PAGE))) from None
    except SyntaxError as error:
        lines: tuple[str, ...] = (Text("This is not Python: {said}: save it as text, in UTF-8.", said=error.msg),)
        if error.text:
            said = "This is not Python: {said}, line {line}:"
            lines = Text(said, said=error.msg, line=error.lineno), f"  {error.text.strip()}"
        raise Finding("syntax", *lines) from None
    except SystemExit:
        raise Finding("exit", Text("The file ended the program (sys.exit or exit): take that call out.")) from None
    except Exception as error:
        line = _line_of(error, source)
        where = [Text(IN_LINE[what], line=line), f"  {source.line(line)}"] if line else [Text(SOMEWHERE[what])]
        message = " ".join(str(error).split())
        raise Finding("exception", *where, f"  {type(error).__name__}: {message}", *_meaning(message, source)) from None


def _meaning(message, source):
    name = PurePath(source.path).name.split(".")[0]
    known = next((part for part in MEANINGS if part in message), None)
    if known:
        yield Text(MEANINGS[known])
    elif name in source.called():
        said = "{name}(...) gives two things, its result and backward: is that meant? The result is there already."
        yield Text(said, name=name)


def _line_of(error, source):
    """The number of the reader's last line on the way to the error, or None."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source.path]
    return frames[-1].lineno if frames else None
