"""What backward returned: as many gradients as there should be, arrays, of the right shapes and dtypes, finite."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires.exercises.exercise import Case, Exercise
from minires.exercises.finding import Finding
from minires.exercises.language import Text
from minires.exercises.shapes import shape_hint, wrong_axis


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
            known = _without_upstream(name, given, exercise, case) or wrong_axis(name, array, exercise, case)
            raise Finding("shape", *shape_hint(name, arrays, expected, exercise.axes(name), case, known))
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
