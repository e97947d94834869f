"""An exercise's file, made of the textbook's own source: it cannot differ from it."""

import ast
import inspect
import textwrap

from minires import textbook
from minires.exercises.exercise import Exercise
from minires.exercises.finding import shape_text


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


def exercise_file(exercise: Exercise) -> str:
    """The text of exercises/NAME.py: what to do, the imports, the forward pass and a backward pass to be written."""
    needed = sorted(_names(source(exercise)) & _functions())
    imports = f"\nfrom minires.textbook import {', '.join(needed)}\n" if needed else ""
    return (
        f'"""Exercise {exercise.name}: write its backward pass. The derivation is in docs/{exercise.page}.\n\n'
        f"Is it right?   python -m minires.exercises check {exercise.name}\n"
        f'"""\n\nimport numpy as np\n{imports}\n\n'
        f"{with_backward(source(exercise), _todo(exercise))}"
    )


def _todo(exercise):
    shapes = [f"{name}, shaped as {name[1:]} {shape_text(exercise.axes(name))}" for name in exercise.gradients]
    return "\n".join(
        [
            "# To return, in this order:" if len(shapes) > 1 else "# To return:",
            *(f"#   {shape}" for shape in shapes),
            'raise NotImplementedError("the backward pass is not written yet: write it in the place of this line")',
        ]
    )


def _names(text):
    function = ast.parse(text).body[0]
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return used - {function.name}


def _functions():
    return {name for name, value in vars(textbook).items() if inspect.isfunction(value)}
