"""Which mistake gives just these numbers?

A gradient of the right shape with wrong values is compared with what known mistakes would give (mistakes/), and then
with what can be recognised in any function: zero, the wrong sign, a constant factor, a turned or transposed array,
the first image alone, dy not used.
"""

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np

from minires.exercises.exercise import Exercise
from minires.exercises.language import Several, Text
from minires.exercises.mistakes import MISTAKES, wrong_gradients
from minires.exercises.mistakes.mistake import Mistake
from minires.exercises.structure import is_an_input
from minires.exercises.wording import constants, fraction_text, plain_factor

FACTOR = {
    ("large", False): "{name} is right but for a factor: it comes {number} times too large everywhere.",
    ("small", False): "{name} is right but for a factor: it comes {number} times too small everywhere.",
    ("large", True): "{name} is right but for a factor: it comes with the wrong sign, and {number} times too large "
    "everywhere.",
    ("small", True): "{name} is right but for a factor: it comes with the wrong sign, and {number} times too small "
    "everywhere.",
}
NAMED_FACTOR = {
    "large": "{what} {number} is {factor} here: a sum where there should be a mean?",
    "small": "{what} {number} is {factor} here: a mean where there should be a sum?",
    "/": "{what} {number} is {factor} here: a factor forgotten, one too many, or another number than the one to divide "
    "by?",
}
ONE_IMAGE = {
    "first": "{name} counts the first image of the batch alone: {array} serves all N, and their gradients add up.",
    "last": "{name} counts the last image of the batch alone: {array} serves all N, and their gradients add up.",
}


class Question:
    """One wrong gradient, and what may be asked about it.

    run: the reader's pass at this case; its `gradients(dy)` and `right(dy)` are lists in the order of the names.
    elsewhere: the same at another case, or None.   mistaken: what known_mistakes gives for the run.
    """

    def __init__(
        self,
        exercise: Exercise,
        index: int,
        run: Any,
        elsewhere: Any,
        mistaken: Sequence[tuple[Mistake, list[np.ndarray]]],
    ) -> None:
        self.exercise, self.index, self.run, self.elsewhere = exercise, index, run, elsewhere
        self.name, self.dy = exercise.gradients[index], exercise.upstream
        self.given, self.right = self.of(run)
        self.mistaken = mistaken

    def of(self, run: Any, dy: np.ndarray | np.floating | None = None) -> tuple[np.ndarray, np.ndarray]:
        """-> the reader's gradient, the right one."""
        given, right = (np.asarray(of(dy)[self.index], np.float64) for of in (run.gradients, run.right))
        return given, right


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding."""
    return a.shape == b.shape and bool(np.linalg.norm(a - b) <= 1e-6 * max(float(np.linalg.norm(b)), 1e-12))


def known_mistakes(exercise: Exercise, run: Any) -> list[tuple[Mistake, list[np.ndarray]]]:
    """Each known mistake with the gradients that it gives here, as a list of (mistake, gradients)."""
    found = []
    for mistake in MISTAKES[exercise.name]:
        gradients = wrong_gradients(exercise, mistake, run.inputs, run.dy)
        if gradients:  # the shapes fit
            found.append((mistake, [np.asarray(gradient, np.float64) for gradient in gradients]))
    return found


def diagnose(question: Question) -> tuple[str, Text]:
    """-> (key, sentence) for a gradient that is wrong."""
    for ask in (
        _known,
        _zero,
        _sign,
        _input,
        _without_dy,
        _nearly,
        _constant,
        _another,
        _turned,
        _first_image,
        _not_linear,
        _constant_dy,
        _partly,
    ):
        answer = ask(question)
        if answer:
            return answer
    return "unknown", Text("No mistake known here gives these numbers. {cure}", cure=question.exercise.by_hand)


def _known(question):
    """The mistake that gives these numbers; of several, the one that gives the reader's other gradients, too."""
    all_given = [np.asarray(given, np.float64) for given in question.run.gradients()]
    found = []
    for mistake, wrong in question.mistaken:
        if same(question.given, wrong[question.index]) and not same(wrong[question.index], question.right):
            alike = sum(same(given, other) for given, other in zip(all_given, wrong, strict=True))
            found.append((alike, mistake))
    if not found:
        return None
    _, mistake = max(found, key=lambda item: item[0])
    return mistake.key, Text(mistake.hint)


def _zero(question):
    if not question.given.any():
        return "zero", Text("{name} is 0 everywhere: has it been filled in?", name=question.name)
    return None


def _sign(question):
    if same(question.given, -question.right):
        return "sign", Text("{name} has the wrong sign everywhere.", name=question.name)
    return None


def _input(question):
    input_itself = is_an_input(question.name, question.given, question.exercise, question.run.case)
    return input_itself and ("input", input_itself)


def _without_dy(question):
    other, _ = question.of(question.run, question.run.dy * 3 + 1)
    if np.array_equal(other, question.given):
        said = "{name} is the same for any {dy}: by the chain rule it is a slope times {dy}."
        return "without_dy", Text(said, name=question.name, dy=question.dy)
    return None


def _ratio(given, right):
    """c where given is c * right, or None."""
    c = float(np.sum(given * right) / np.sum(right * right))
    return c if c and same(given, c * right) else None


def _nearly(question):
    off = float(np.linalg.norm(question.given - question.right) / np.linalg.norm(question.right))
    if off < 1e-3:
        return "nearly", Text(
            "{name} is off by {off:.1g} of its size only: the formula is right but for something small, such as eps "
            "left out or put in another place than in the forward pass, or a constant that has been rounded.",
            name=question.name,
            off=off,
        )
    return None


def _constant(question):
    c = _ratio(question.given, question.right)
    if c is None:
        return None
    size, way = (abs(c), "large") if abs(c) > 1 else (1 / abs(c), "small")
    number = fraction_text(size)
    what = Text(FACTOR[way, c < 0], name=question.name, number=number)
    names, there = constants(size, question.run.case), size
    if question.elsewhere:
        there = abs(_ratio(*question.of(question.elsewhere)) or 0)
        there = 1 / there if there and way == "small" else there
        names = [name for name in names if name in constants(there, question.elsewhere.case)]
    if not names:
        plain = abs(there - size) < 1e-6 * size and abs(size - round(size)) < 1e-6 * size and size < 20
        return "constant", Text("{what} {hint}", what=what, hint=plain_factor(round(size), way)) if plain else what
    hint = NAMED_FACTOR["/" if "/" in names[0] else way]
    return "constant", Text(hint, what=what, number=number, factor=names[0])


def _another(question):
    for name, right in zip(question.exercise.gradients, question.run.right(), strict=True):
        if name != question.name and same(question.given, np.asarray(right, np.float64)):
            said = "These are the numbers of {name}: are the gradients returned in the right order?"
            return "order", Text(said, name=name)
    return None


def _turned(question):
    right = question.right
    for order in permutations(range(right.ndim)):
        moved = right.transpose(order)
        for flips in product((1, -1), repeat=right.ndim):
            turned = moved[tuple(slice(None, None, step) for step in flips)]
            if (moved is not right or -1 in flips) and same(question.given, turned):
                if list(order) != sorted(order):
                    said = "{name} holds the right numbers with its axes in another order."
                    return "transposed", Text(said, name=question.name)
                axes = Several([str(axis) for axis, step in enumerate(flips) if step < 0])
                said = "{name} holds the right numbers turned round along axis {axes}."
                return "turned", Text(said, name=question.name, axes=axes)
    return None


def _first_image(question):
    dy = question.run.dy
    if np.ndim(dy) < 2 or len(dy) < 2 or question.exercise.axes(question.name)[0] == "N":
        return None
    for image, which in ((0, "first"), (-1, "last")):
        only = np.zeros_like(dy)
        only[image] = dy[image]
        if same(question.given, question.of(question.run, only)[1]):
            return "one_image", Text(ONE_IMAGE[which], name=question.name, array=question.name[1:])
    return None


def _not_linear(question):
    other, _ = question.of(question.run, -2 * question.run.dy)
    if not same(other, -2 * question.given):
        return "not_linear", Text(
            "-2 times {dy} does not give -2 times {name}, but a backward pass is linear: is {dy} squared or compared "
            "somewhere, or a number added that does not depend on it?",
            dy=question.dy,
            name=question.name,
        )
    return None


def _constant_dy(question):
    given, right = question.of(question.run, np.ones_like(question.run.dy))
    if same(given, right) and np.ndim(question.run.dy):
        return "constant_dy", Text(
            "With {dy} = 1 everywhere {name} is right. So the slopes are, and {dy} is read at the wrong places: "
            "another axis, an offset, or a mean of it?",
            dy=question.dy,
            name=question.name,
        )
    return None


def _partly(question):
    """Right in a part of the images, or of the elements."""
    right = np.isclose(question.given, question.right, rtol=1e-6, atol=1e-9)
    if 0 < right.sum() < right.size and right.mean() > 0.05:
        first = [int(i) for i in np.argwhere(~right)[0]]
        said = "It is right in {right} of {all} elements; the first wrong one is {first}."
        return "partly", Text(said, right=right.sum(), all=right.size, first=first)
    return None
