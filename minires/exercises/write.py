"""Write a backward pass: the forward pass is given."""

from typing import Any

from minires.exercises.exercise import Exercise
from minires.exercises.explained import EXPLAINED
from minires.exercises.generate import backward_body, exercise_code, exercise_file, exercise_head, source, with_backward
from minires.exercises.judge import judge
from minires.exercises.language import Several, Text
from minires.exercises.needs import needed
from minires.exercises.reading import Source

TASK = "The forward pass of {name} is there: {line}. Write its backward pass, which returns {gradients}."


class Write:
    """An Exercise, with what the other kinds of exercises have."""

    kind = "write"

    def __init__(self, exercise: Exercise) -> None:
        self.exercise, self.name, self.line, self.page = exercise, exercise.name, exercise.line, exercise.page

    @property
    def needs(self) -> list[str]:
        return needed(self.name)

    def text(self) -> Text:
        """What is to be done."""
        gradients = Several(self.exercise.gradients)
        return Text(TASK, name=self.name, line=Text(self.exercise.line), gradients=gradients)

    def how(self) -> Text | None:
        """Where the answer is written; None where `text` says it all."""
        return None

    def head(self, language: str = "en") -> str:
        """What the file says first."""
        return exercise_head(self.exercise, language)

    def file(self, language: str = "en") -> str:
        """The file to begin with."""
        return exercise_file(self.exercise, language)

    def code(self, language: str = "en") -> str:
        """The same without its head: a page has that in `text` and `how`."""
        return exercise_code(self.exercise, language)

    def solved(self, language: str = "en") -> str:
        """The file with the textbook's backward pass in it."""
        return with_backward(self.file(language), backward_body(source(self.exercise)))

    def explanation(self) -> list[Text]:
        """The solution in words, in paragraphs."""
        return [Text(paragraph) for paragraph in EXPLAINED[self.name]]

    def judge(self, answer: Source, more: bool = False) -> dict[str, Any]:
        """What is said of an answer, as minires.exercises.judge has it."""
        return judge(self.exercise, answer, more)
