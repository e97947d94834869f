"""A gradient of a wrong shape: what is said of it, by what is known to give such a shape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from minires.exercises.exercise import Case, Exercise
from minires.exercises.finding import shape_text
from minires.exercises.language import Several, Text

LEFT_TO_SUM = (
    "Left to sum over: {which} (axis {axes} of what was returned). {array} is used once for each index there, and what "
    "is used several times has its gradients added up.",
    "Left to sum over: {which} (axes {axes} of what was returned). {array} is used once for each index there, and what "
    "is used several times has its gradients added up.",
)


def wrong_axis(name: str, array: np.ndarray, exercise: Exercise, case: Case) -> Text | None:
    """A sum over all axes of dy but one, and that one is another than it should be?"""
    axes = exercise.axes(name)
    if array.ndim != 1 or len(axes) != 1:
        return None
    lengths = np.shape(exercise.function(**exercise.inputs(case))[0])
    if len(array) not in lengths or case.sizes[axes[0]] not in lengths:
        return None
    kept = next((letter for letter, n in case.sizes.items() if n == len(array)), None)
    said = "Its axis is {kept}: the sum ran over {summed}, the axis that should stay."
    return Text(said, kept=kept, summed=axes[0]) if kept else None


@dataclass
class _Shapes:
    got: tuple
    expected: tuple
    axes: list  # the letters of the expected shape
    case: object


def shape_hint(
    name: str,
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    axes: list[str],
    case: Case,
    known: Text | None,
) -> Iterator[Text]:
    """In sentences: arrays, expected: what was returned, and what is right, by name.   known: what is known already."""
    shapes = _Shapes(arrays[name].shape, expected[name].shape, axes, case)
    yield Text(
        "{name} has shape {given}: it must be that of {array}, {right} = {axes}.",
        name=name,
        given=shape_text(shapes.got),
        array=name[1:],
        right=shape_text(shapes.expected),
        axes=shape_text(axes),
    )
    if known:
        yield known
        return
    all_got, all_expected = ([array.shape for array in some.values()] for some in (arrays, expected))
    if sorted(all_got) == sorted(all_expected):
        yield Text("The shapes are those of the arrays in another order: return {all}.", all=", ".join(expected))
        return
    for hint in (_padding, _left_to_sum, _ones, _permuted, _side_by_side):
        text = hint(name, shapes)
        if text:
            yield text
            return
    if len(shapes.got) < len(shapes.expected):
        given, wanted = len(shapes.got), len(axes)
        if given == 1:
            yield Text("That is 1 axis in place of {wanted}: was there a sum or mean over one too many?", wanted=wanted)
            return
        said = "That is {given} axes in place of {wanted}: was there a sum or mean over one too many?"
        yield Text(said, given=given, wanted=wanted)


def _padding(name, shapes):
    padding, (got, expected) = shapes.case.options.get("padding"), (shapes.got, shapes.expected)
    if padding and len(got) == 4 and got == (expected[0], *(n + 2 * padding for n in expected[1:3]), expected[3]):
        said = "That is {number} rows and columns too many: the padding has not been cut off."
        return Text(said, number=2 * padding)
    return None


def _left_to_sum(name, shapes):
    """Axes that a sum should have removed."""
    got, expected = shapes.got, shapes.expected
    if len(got) <= len(expected) or 1 in got:
        return None
    for left in combinations(range(len(got)), len(got) - len(expected)):
        if tuple(n for axis, n in enumerate(got) if axis not in left) == expected:
            said = LEFT_TO_SUM[len(left) > 1]
            which = Several([_letter(got[axis], shapes.case) for axis in left])
            return Text(said, which=which, axes=Several([str(axis) for axis in left]), array=name[1:])
    return None


def _ones(name, shapes):
    """Axes of length 1, of a sum's keepdims or before a broadcast."""
    got, expected = shapes.got, shapes.expected
    if len(got) > len(expected) and tuple(n for n in got if n != 1) == expected:
        return Text("It has axes of length 1 too many: from keepdims, or an index with None?")
    if len(got) == len(expected) and all(g in (1, n) for g, n in zip(got, expected, strict=True)):
        which = Several([f"{axis} ({shapes.axes[axis]})" for axis, n in enumerate(expected) if got[axis] != n])
        said = "Spread it over axis {which}: every element of {array} has a slope of its own."
        return Text(said, which=which, array=name[1:])
    return None


def _permuted(name, shapes):
    got, expected = shapes.got, shapes.expected
    if len(got) == len(expected):
        for order in permutations(range(len(got))):
            if tuple(expected[axis] for axis in order) == got:
                axes = shape_text([shapes.axes[axis] for axis in order])
                return Text("Its axes are {axes}: they need to be transposed.", axes=axes)
    return None


def _side_by_side(name, shapes):
    """The gradients of all shards, one after the other, of an array that serves all of them."""
    shards = len(shapes.case.options.get("shards", ()))
    if shapes.got == (shards * shapes.expected[0], *shapes.expected[1:]):
        said = "Those of {count} shards stand one after the other: {array} serves all, and their gradients add up."
        return Text(said, count=shards, array=name[1:])
    return None


def _letter(size, case):
    return next((f"{letter} = {n}" for letter, n in case.sizes.items() if n == size), Text("length {n}", n=size))
