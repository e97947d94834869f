"""What backward returned: as many gradients as there should be, arrays, of the right shapes and dtypes, finite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np

from minires.exercises.exercise import Case, Exercise
from minires.exercises.finding import Finding, shape_text
from minires.exercises.language import Several, Text

LEFT_TO_SUM = (
    "Left to sum over: {which} (axis {axes} of what was returned). {array} is used once for each index there, and what "
    "is used several times has its gradients added up.",
    "Left to sum over: {which} (axes {axes} of what was returned). {array} is used once for each index there, and what "
    "is used several times has its gradients added up.",
)


def gradients_of(returned: Any, names: Sequence[str]) -> list[Any]:
    """What backward returned, as a list with a gradient for each name."""
    together = f"({', '.join(names)})" if len(names) > 1 else names[0]
    if returned is None:
        raise Finding(
            "none", Text("backward returned None: does it end with a return? It must return {all}.", all=together)
        )
    if len(names) == 1:
        if isinstance(returned, (tuple, list)):
            raise Finding(
                "tuple_of_one",
                Text(
                    "backward returned a {type} of {count}: it must return {all} itself, an array (a comma after it "
                    "makes a tuple).",
                    type=type(returned).__name__,
                    count=len(returned),
                    all=together,
                ),
            )
        returned = (returned,)
    if not isinstance(returned, (tuple, list)):
        raise Finding(
            "not_a_tuple",
            Text(
                "backward returned one {type}: it must return a tuple of {count} gradients, {all}.",
                type=type(returned).__name__,
                count=len(names),
                all=together,
            ),
        )
    if len(returned) != len(names):
        raise Finding(
            "wrong_count",
            Text(
                "backward returned {given} gradients: it must return {count}, {all}.",
                given=len(returned),
                count=len(names),
                all=together,
            ),
        )
    return list(returned)


def check_arrays(gradients: Sequence[Any], expected: Mapping[str, np.ndarray], exercise: Exercise, case: Case) -> None:
    """Are they arrays (or numbers) of the right shapes, without NaN? expected: the right ones, by name."""
    arrays = {name: _array(name, given) for name, given in zip(expected, gradients, strict=True)}
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            given = gradients[list(expected).index(name)]
            known = _without_upstream(name, given, exercise, case) or _wrong_axis(name, array, exercise, case)
            raise Finding("shape", *_shape_hint(name, arrays, expected, exercise.axes(name), case, known))
    for name, array in arrays.items():
        _check_finite(name, array)


def _without_upstream(name, given, exercise, case):
    """Is it a bare number, or one of the inputs?"""
    if isinstance(given, (int, float)) and not isinstance(given, np.generic):
        return Text(
            "{name} is a plain number. A slope, perhaps: by the chain rule it is multiplied by {dy}.",
            name=name,
            dy=exercise.upstream,
        )
    return is_an_input(name, np.asarray(given), exercise, case)


def is_an_input(name: str, array: np.ndarray, exercise: Exercise, case: Case) -> Text | None:
    """A sentence if it has the numbers of one of the inputs, or None."""
    for other, x in exercise.inputs(case).items():
        if isinstance(x, np.ndarray) and np.array_equal(x, array):
            return Text(
                "{name} is the array {other} itself: a slope that was not multiplied by {dy}.",
                name=name,
                other=other,
                dy=exercise.upstream,
            )
    return None


def _wrong_axis(name, array, exercise, case):
    """A sum over all axes of dy but one, and that one is another than it should be?"""
    axes = exercise.axes(name)
    if array.ndim != 1 or len(axes) != 1:
        return None
    lengths = np.shape(exercise.function(**exercise.inputs(case))[0])
    if len(array) not in lengths or case.sizes[axes[0]] not in lengths:
        return None
    kept = next((letter for letter, n in case.sizes.items() if n == len(array)), None)
    said = "Its axis is {kept}: the sum ran over {summed}, the axis that should stay."
    return kept and Text(said, kept=kept, summed=axes[0])


def check_dtypes(gradients: Sequence[Any], expected: Mapping[str, np.ndarray]) -> None:
    """Have they the dtypes of the right ones?"""
    for (name, right), given in zip(expected.items(), gradients, strict=True):
        dtype = np.asarray(given).dtype
        if dtype != right.dtype:
            raise Finding(
                "dtype",
                Text(
                    "{name} has dtype {given} where {right} goes in: a gradient keeps the dtype of its array.",
                    name=name,
                    given=dtype,
                    right=right.dtype,
                ),
                Text(
                    "Look for an array made without a dtype (np.zeros gives float64), or one with a dtype of its own."
                ),
            )


def _array(name, given):
    if given is None:
        raise Finding("gradient_none", Text("{name} is None: backward must return an array for it.", name=name))
    try:
        array = np.asarray(given)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "fiub":
        said = "{name} is a {type}, not an array of numbers."
        raise Finding("not_an_array", Text(said, name=name, type=type(given).__name__))
    return array


def _check_finite(name, array):
    wrong = ~np.isfinite(array)
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        raise Finding(
            "nan",
            Text(
                "{name} holds {value} at {where} ({wrong} of {all} elements are not finite).",
                name=name,
                value=array[tuple(where)],
                where=where,
                wrong=wrong.sum(),
                all=array.size,
            ),
            Text("Look for a division by zero, the logarithm of 0, or the root of a negative number."),
        )


@dataclass
class _Shapes:
    got: tuple
    expected: tuple
    axes: list  # the letters of the expected shape
    case: object


def _shape_hint(name, arrays, expected, axes, case, known):
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
