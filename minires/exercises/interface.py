"""The exercises for a page or a program: what there is, is this right, and the solution, as values that JSON has.

The command line uses the same functions, so that both say the same. Nothing here needs files, processes or signals. A
loop without an end is not stopped here: whoever calls `check` sees to that, and may then say `out_of_time`.
"""

import contextlib
import io
import warnings
from typing import Any, TextIO

import numpy as np

from minires.exercises.generate import backward_body, page
from minires.exercises.language import LANGUAGES, Text, in_language
from minires.exercises.reading import Source
from minires.exercises.shown import body, verdict
from minires.exercises.tasks import TASKS
from minires.names import unknown

MOST_PRINTED = 4000  # letters of what a file prints
OUT_OF_TIME = "Not finished after {seconds:g} s: is there a loop without an end?"


def exercises(language: str = "en") -> list[dict[str, Any]]:
    """All exercises in order: name, kind, title, place (from 1), needs (names of others), page, text, how, start, code,
    variable.

    kind: "write" (a backward pass), "find" (the wrong line in one, and mend it) or "predict" (what code gives).
    page: in docs/, with the derivation.   text: what is to be done.   how: where the answer is written, "" where text
    says it all.   start: the file to begin with.   code: the same without its head, which says these in the words of
    the command line.   variable: what the answer stands behind, "wrong_line" (a line's number) or "answer"; None where
    a pass is to be written.
    """
    _known_language(language)
    return [_described(task, place, language) for place, task in enumerate(TASKS.values(), 1)]


def check(
    name: str,
    source: str | bytes,
    language: str = "en",
    more: bool = False,
    path: str = "",
    capture: bool = True,
    on_page: bool = False,
) -> dict[str, Any]:
    """Is it right? -> name, state, verdict, key, lines, printed, text.

    source: the whole file.   more: with the second hint.   path: what the file is called in what is said
    (exercises/NAME.py).   capture: what the file prints goes into `printed`, and not to standard output.   on_page:
    with a page's links and buttons where the command line names files and commands.
    state: "passed", "unwritten" or "wrong"; verdict: that in words.   key: what was found, in a word.
    lines: what is said; text: all of it as `python -m minires.exercises check NAME` prints it, or as a page shows it.
    """
    _known_language(language)
    task, printed = _known(name), io.StringIO()
    with contextlib.ExitStack() as stack:
        if capture:
            quiet = Quiet(printed, MOST_PRINTED)
            stack.enter_context(contextlib.redirect_stdout(quiet))
            stack.enter_context(contextlib.redirect_stderr(quiet))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.errstate())
        warnings.simplefilter("ignore")
        found = task.judge(Source(path or f"exercises/{name}.py", source), more)
    return answer(name, found, language, printed.getvalue(), on_page)


def out_of_time(name: str, seconds: float, language: str = "en") -> dict[str, Any]:
    """What is said of a file that was stopped after so many seconds, as `check` has it."""
    _known_language(language)
    found = {"state": "wrong", "key": "time", "lines": [Text(OUT_OF_TIME, seconds=seconds)]}
    return answer(_known(name).name, found, language)


def solution(name: str, language: str = "en") -> dict[str, Any]:
    """The solution, explained: name, source (the whole file), code (the same without its head), backward, explanation.

    backward: the backward pass alone, None where there is none to write.   explanation: paragraphs, of text with code
    in backquotes.
    """
    _known_language(language)
    task = _known(name)
    solved = task.solved(language)
    return {
        "name": name,
        "source": solved,
        "code": solved.removeprefix(task.head(language)),
        "backward": None if task.kind == "predict" else backward_body(solved),
        "explanation": [in_language(paragraph, language) for paragraph in task.explanation()],
    }


def answer(name: str, found: dict[str, Any], language: str, printed: str = "", on_page: bool = False) -> dict[str, Any]:
    """What was found, in words: `found` as the judge has it."""
    said: dict[str, Any] = {
        "name": name,
        "state": found["state"],
        "verdict": in_language(verdict(found["state"]), language),
        "key": found["key"],
        "lines": [in_language(line, language, on_page) for line in found["lines"]],
        "printed": printed.rstrip(),
    }
    return said | {"text": f"{name}: {said['verdict']}\n{body(said, language)}"}


class Quiet:
    """Standard output that takes the first letters only, so that an endless loop that prints fills no disk."""

    def __init__(self, stream: TextIO, most: int) -> None:
        self.stream, self.left = stream, most

    def write(self, text: str) -> int:
        if self.left > 0:
            self.stream.write(text[: self.left])
            self.stream.flush()  # the process may end at once
            self.left -= len(text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def _described(task, place, language):
    return {
        "name": task.name,
        "kind": task.kind,
        "title": in_language(Text(task.line), language),
        "place": place,
        "needs": task.needs,
        "page": page(task, language),
        "text": in_language(task.text(), language),
        "how": in_language(task.how() or "", language),
        "start": task.file(language),
        "code": task.code(language),
        "variable": {"write": None, "find": "wrong_line", "predict": "answer"}[task.kind],
    }


def _known(name):
    if name not in TASKS:
        raise ValueError(unknown("exercise", name, TASKS))
    return TASKS[name]


def _known_language(language):
    if language not in LANGUAGES:
        raise ValueError(unknown("language", language, LANGUAGES))
