"""Find the bug: a backward pass with one mistake. The reader names the line, and mends it."""

import dataclasses
from typing import Any

from minires.exercises.bugs import Bug
from minires.exercises.catalogue import EXERCISES
from minires.exercises.finding import Finding
from minires.exercises.generate import page, parts, source, with_backward
from minires.exercises.judge import judge, load
from minires.exercises.language import Several, Text, in_language
from minires.exercises.reading import Source
from minires.exercises.shown import heading

TITLE = "one line is wrong: which?"
HEAD = "Find the bug: one line of this backward pass of {name} is wrong. The derivation is in docs/{page}."
HOW = "A line's number stands at its end. Write the wrong one's number after `wrong_line =`, and mend the line."
CHECK = "Is it right?   python -m minires.exercises check {name}"
NUMBER = "# its number"
TASK = "{name} ({line}): one of the {count} lines of its backward pass is wrong. Which? Name it, and mend it."
NOT_SAID = "Which of the {count} lines is wrong? Write its number after `wrong_line =`."
NO_NUMBER = "wrong_line is {given}: it must be the number of a line, from 1 to {count}."
OTHER_LINE = "Line {given} is not the one: it is right as it was."
MENDED = "The backward pass is right now, and it was another line that was wrong."
WRONG_GRADIENTS = "{names} comes out wrong: on which lines does that depend?"
THE_LINE = "Line {given} is the one."
NOT_MENDED = "Now mend it: the backward pass still gives what it gave."
MORE_WRONG = "What the backward pass gives now is still wrong:"
WHY = "Line {line} was wrong. It is right as {right}."


class Find:
    """A Bug, as an exercise."""

    kind = "find"

    def __init__(self, name: str, bug: Bug) -> None:
        self.name, self.bug = name, bug
        self.exercise = dataclasses.replace(EXERCISES[bug.exercise], task=name)
        self.line, self.page = TITLE, self.exercise.page

    @property
    def needs(self) -> list[str]:
        return [self.bug.exercise]

    def text(self) -> Text:
        """What is to be done."""
        name, count = self.exercise.name, len(self.bug.wrong)
        return Text(TASK, count=count, name=name, line=Text(self.exercise.line))

    def how(self) -> Text:
        """Where the answer is written."""
        return Text(HOW)

    def head(self, language: str = "en") -> str:
        """What the file says first."""
        here = page(self.exercise, language)
        lines = [Text(HEAD, name=self.exercise.name, page=here), self.how(), Text(CHECK, name=self.name)]
        return heading(lines, language)

    def file(self, language: str = "en") -> str:
        """The file to begin with."""
        return self.head(language) + self.code(language)

    def code(self, language: str = "en") -> str:
        """The same without its head: a page has that in `text` and `how`."""
        return self._code(language, self.bug.wrong, "None")

    def solved(self, language: str = "en") -> str:
        """The file with the answer in it."""
        return self.head(language) + self._code(language, self.bug.right, str(self.bug.line))

    def explanation(self) -> list[Text]:
        """Why it was wrong, and what is right, in paragraphs."""
        right = self.bug.right[self.bug.line - 1].strip()
        said = Text(WHY, line=self.bug.line, right=f"`{right}`")
        return [said, Text(self.bug.mistake.hint)]

    def judge(self, answer: Source, more: bool = False) -> dict[str, Any]:
        """What is said of an answer, as minires.exercises.judge has it."""
        try:
            given = self._line_of(answer)
        except Finding as finding:
            state = "unwritten" if finding.key == "unwritten" else "wrong"
            return {"state": state, "key": finding.key, "lines": list(finding.lines)}
        found = judge(self.exercise, answer)
        if given != self.bug.line:
            return {"state": "wrong", "key": "line", "lines": [*self._of_another_line(given, found, more)]}
        line = Text(THE_LINE, given=given)
        if found["state"] == "passed":
            return found | {"lines": [line, *found["lines"]]}
        if self.bug.key in found["key"].split():
            hint = [Text("  Hint: {hint}", hint=Text(self.bug.mistake.hint))] if more else []
            return {"state": "wrong", "key": "not_mended", "lines": [line, Text(NOT_MENDED), *hint]}
        return {"state": "wrong", "key": found["key"], "lines": [line, Text(MORE_WRONG), *found["lines"]]}

    def _of_another_line(self, given, found, more):
        yield Text(OTHER_LINE, given=given)
        if found["state"] == "passed":
            yield Text(MENDED)
        if more:
            untouched = judge(self.exercise, Source(f"{self.name}.py", self.file()))
            yield Text(WRONG_GRADIENTS, names=Several(untouched["wrong"]))

    def _line_of(self, answer):
        """The number that the reader says."""
        load(self.exercise, answer)
        given, count = getattr(answer.run(self.name), "wrong_line", None), len(self.bug.wrong)
        if given is None:
            raise Finding("unwritten", Text(NOT_SAID, count=count))
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= count:
            raise Finding("no_line", Text(NO_NUMBER, given=repr(given)[:40], count=count))
        return given

    def _code(self, language, lines, number):
        needed = parts(self.exercise)
        imports = f"\nfrom minires.textbook import {', '.join(needed)}\n" if needed else ""
        numbered = "\n".join(f"{line}  # {i}" for i, line in enumerate(lines, 1))
        said = in_language(Text(NUMBER), language)
        return (
            f"import numpy as np\n{imports}\nwrong_line = {number}  {said}\n\n\n"
            f"{with_backward(source(self.exercise), numbered)}"
        )
