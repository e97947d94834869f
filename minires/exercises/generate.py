"""An exercise's file, made of the textbook's own source: it cannot differ from it."""

import ast
import inspect
import textwrap
from typing import Any

from minires import textbook
from minires.exercises.exercise import Exercise
from minires.exercises.finding import shape_text
from minires.exercises.language import Text, in_language
from minires.exercises.shown import heading


def source(exercise: Exercise) -> str:
    """The textbook's function as it stands there."""
    return inspect.getsource(exercise.function)


def backward_body(text: str) -> str:
    """The body of the backward pass in a text, not indented."""
    backward = _backward(text)
    lines = text.splitlines()[backward.body[0].lineno - 1 : backward.end_lineno]
    return textwrap.dedent("\n".join(lines)) + "\n"


def with_backward(text: str, body: str) -> str:
    """The text with other lines, not indented, in the body of its backward pass."""
    backward = _backward(text)
    lines = text.splitlines()
    first, last = backward.body[0].lineno, backward.end_lineno
    new = textwrap.indent(body.rstrip("\n"), " " * backward.body[0].col_offset).splitlines()
    return "\n".join([*lines[: first - 1], *new, *lines[last:]]) + "\n"


def _backward(text):
    found = ast.walk(ast.parse(text))
    return next(node for node in found if isinstance(node, ast.FunctionDef) and node.name == "backward")


def exercise_file(exercise: Exercise, language: str = "en") -> str:
    """The text of exercises/NAME.py: what to do, and the code."""
    return exercise_head(exercise, language) + exercise_code(exercise, language)


def exercise_head(exercise: Exercise, language: str = "en") -> str:
    """What the file says first."""
    lines = [Text(HEAD, name=exercise.name, page=page(exercise, language)), Text(CHECK, name=exercise.name)]
    return heading(lines, language)


def exercise_code(exercise: Exercise, language: str = "en") -> str:
    """The imports, the forward pass and a backward pass to be written."""
    needed = parts(exercise)
    imports = f"\nfrom minires.textbook import {', '.join(needed)}\n" if needed else ""
    todo = "\n".join(in_language(line, language) for line in _todo(exercise))
    return f"import numpy as np\n{imports}\n\n{with_backward(source(exercise), todo)}"


def parts(exercise: Exercise) -> list[str]:
    """The textbook's functions that its forward pass is put together from."""
    return sorted(_names(source(exercise)) & _functions())


def page(exercise: Any, language: str) -> str:
    """The page with the derivation, in docs/, of an exercise of any kind."""
    return exercise.page if language == "en" else f"{language}/{exercise.page}"


HEAD = "Exercise {name}: write its backward pass. The derivation is in docs/{page}."
CHECK = "Is it right?   python -m minires.exercises check {name}"
TO_RETURN = "# To return:"
TO_RETURN_IN_ORDER = "# To return, in this order:"
RAISE = 'raise NotImplementedError("the backward pass is not written yet: write it in the place of this line")'


def _todo(exercise):
    names = exercise.gradients
    said = "#   {name}, shaped as {array} {shape}"
    shapes = [Text(said, name=name, array=name[1:], shape=shape_text(exercise.axes(name))) for name in names]
    return [Text(TO_RETURN_IN_ORDER if names[1:] else TO_RETURN), *shapes, Text(RAISE)]


def _names(text):
    function = ast.parse(text).body[0]
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return used - {function.name}


def _functions():
    return {name for name, value in vars(textbook).items() if inspect.isfunction(value)}
