"""Predict: what does this code give? The answer is written down first; the right one is calculated here."""

import ast
import contextlib
from typing import Any

import numpy as np

from minires import textbook
from minires.exercises.catalogue import EXERCISES
from minires.exercises.finding import Finding
from minires.exercises.generate import page
from minires.exercises.language import Text
from minires.exercises.predictions.prediction import NUMBER, NUMBERS, SHAPE, VERDICT, Prediction
from minires.exercises.reading import Source
from minires.exercises.shown import heading
from minires.gradcheck import GradcheckError, gradcheck

TITLES = {
    VERDICT: "predict: does gradcheck pass?",
    SHAPE: "predict: which shape?",
    NUMBER: "predict: which number?",
    NUMBERS: "predict: which numbers?",
}
KINDS = {
    VERDICT: '`"passes"` or `"fails"`',
    SHAPE: "a shape, as `(2, 3)`",
    NUMBER: "a number",
    NUMBERS: "numbers, as `[1, 2]`; of several rows `[[1, 2], [3, 4]]`",
}
HEAD = "Predict, before you run anything: {question}"
HOW = "The page is docs/{page}. Write after `answer =` what you expect: {kind}."
CHECK = "Is it right?   python -m minires.exercises check {name}"
SYNTAX = "This is not Python: {said}, line {line}:"
NO_LINE = "There is no line that begins with answer = any more: write it at the end of the file."
NOT_ANSWERED = "Write after `answer =` what you expect: {kind}."
NO_VALUE = "answer must be written as it is, not calculated: {kind}."
OTHER_KIND = "answer is {given}, and what is asked for is {kind}."
NO = "{given} is not what comes out."
YES = "So it is: {right}."
AXES = "It has {count} axes."
BETWEEN = "It lies between {low} and {high}."
IN_ALL = "All of them together are {sum}."
TWO_ANSWERS = "There are only two answers."


class Predict:
    """A Prediction, as an exercise."""

    kind = "predict"

    def __init__(self, name: str, prediction: Prediction) -> None:
        self.name, self.prediction = name, prediction
        self.page, self.line = EXERCISES[prediction.exercise].page, TITLES[prediction.kind]

    @property
    def needs(self) -> list[str]:
        return []

    def text(self) -> Text:
        """What is asked."""
        return Text(self.prediction.question)

    def how(self) -> Text:
        """Where the answer is written."""
        return Text(NOT_ANSWERED, kind=Text(KINDS[self.prediction.kind]))

    def head(self, language: str = "en") -> str:
        """What the file says first."""
        here, kind = page(EXERCISES[self.prediction.exercise], language), Text(KINDS[self.prediction.kind])
        question, how = Text(HEAD, question=self.text()), Text(HOW, page=here, kind=kind)
        return heading([question, how, Text(CHECK, name=self.name)], language)

    def file(self, language: str = "en") -> str:
        """The file to begin with."""
        return self.head(language) + self.code(language)

    def code(self, language: str = "en") -> str:
        """The same without its head: a page has that in `text` and `how`."""
        return self._code(language, "None")

    def solved(self, language: str = "en") -> str:
        """The file with the answer in it."""
        return self.head(language) + self._code(language, self.right_text())

    def explanation(self) -> list[Text]:
        """Why it is so, in paragraphs."""
        return [Text(YES, right=f"`{self.right_text()}`"), Text(self.prediction.explanation)]

    def judge(self, answer: Source, more: bool = False) -> dict[str, Any]:
        """What is said of an answer, as minires.exercises.judge has it. Nothing of the file is run."""
        try:
            given = self._given(answer)
        except Finding as finding:
            state = "unwritten" if finding.key == "unwritten" else "wrong"
            return {"state": state, "key": finding.key, "lines": list(finding.lines)}
        right = self.right()
        if _alike(given, right):
            lines = [Text(YES, right=self.right_text()), *self._said()]
            return {"state": "passed", "key": "passed", "lines": lines}
        lines = [Text(NO, given=repr(given)[:200]), Text("  Hint: {hint}", hint=Text(self.prediction.hint))]
        return {"state": "wrong", "key": "answer", "lines": [*lines, *([self._further(right)] if more else [])]}

    def right(self) -> Any:
        """What comes out: a word, a tuple, a number or an array."""
        kind, values = self.prediction.kind, self._run()
        if kind == VERDICT:
            return "passes" if values["said"] is None else "fails"
        asked = values["asked"]
        return tuple(map(int, asked)) if kind == SHAPE else np.asarray(asked, np.float64)

    def right_text(self) -> str:
        """The same, as it is written in Python."""
        right = self.right()
        if not isinstance(right, np.ndarray):
            return repr(right).replace("'", '"')
        return repr((np.round(right, 6) + 0.0).tolist())

    def _run(self):
        """Everything that the code makes; of a verdict what gradcheck said, None where it passed."""
        values = {**vars(textbook), "np": np, "said": None}
        exec(self.prediction.code, values)
        values["asked"] = eval(f"({self.prediction.asked})", values)
        if self.prediction.kind == VERDICT:
            function, *inputs = values["asked"]
            try:
                gradcheck(function, *inputs)
            except GradcheckError as error:
                values["said"] = str(error)
        return values

    def _said(self):
        """Gradcheck's own words, where it failed."""
        said = self._run()["said"] if self.prediction.kind == VERDICT else None
        return [f"  {line}" for line in said.splitlines()] if said else []

    def _further(self, right):
        if self.prediction.kind == VERDICT:
            return Text(TWO_ANSWERS)
        if self.prediction.kind == SHAPE:
            return Text(AXES, count=len(right))
        if self.prediction.kind == NUMBERS:
            return Text(IN_ALL, sum=f"{right.sum() + 0.0:.6g}")
        return Text(BETWEEN, low=int(np.floor(right)) - 1, high=int(np.ceil(right)) + 1)

    def _given(self, answer):
        """The reader's answer, of the right kind."""
        kind = Text(KINDS[self.prediction.kind])
        node = _value_of_answer(answer)
        try:
            given = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise Finding("no_value", Text(NO_VALUE, kind=kind)) from None
        if given is None:
            raise Finding("unwritten", Text(NOT_ANSWERED, kind=kind))
        if not _is_of(self.prediction.kind, given):
            raise Finding("other_kind", Text(OTHER_KIND, given=repr(given)[:200], kind=kind))
        return given

    def _code(self, language, value):
        code = self.prediction.code.strip("\n")
        used = sorted({node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)} & set(EXERCISES))
        imports = [f"from minires.textbook import {', '.join(used)}\n"] if used else []
        if self.prediction.kind == VERDICT:
            imports.insert(0, "from minires.gradcheck import gradcheck\n")
        asked = self.prediction.asked
        about = f"gradcheck({asked})" if self.prediction.kind == VERDICT else asked
        space = "\n\n" if code.startswith("def ") else "\n"
        return f"import numpy as np\n\n{''.join(imports)}{space}{code}\n\nanswer = {value}  # {about}\n"


def _value_of_answer(answer):
    """What stands behind the last `answer =` of the file."""
    try:
        with contextlib.suppress(UnicodeDecodeError):
            tree = ast.parse(answer.content)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        raise Finding(
            "syntax", Text(SYNTAX, said=getattr(error, "msg", error), line=line), f"  {answer.line(line)}"
        ) from None
    found = [node.value for node in tree.body if isinstance(node, ast.Assign) and _names(node) == ["answer"]]
    if not found:
        raise Finding("no_answer", Text(NO_LINE))
    return found[-1]


def _names(assignment):
    return [getattr(target, "id", None) for target in assignment.targets]


def _is_of(kind, given):
    if kind == VERDICT:
        return given in ("passes", "fails")
    if kind == SHAPE:
        return isinstance(given, (tuple, list)) and all(type(n) is int for n in given)
    if kind == NUMBER:
        return type(given) in (int, float)
    with contextlib.suppress(ValueError):
        return isinstance(given, (tuple, list)) and np.asarray(given).dtype.kind in "if" and np.size(given) > 0
    return False


def _alike(given, right):
    if isinstance(right, str):
        return given == right
    if isinstance(right, tuple):
        return tuple(given) == right
    return np.shape(given) == right.shape and bool(np.allclose(given, right, rtol=1e-3, atol=1e-3))
