"""Known mistakes: the textbook's own backward pass with one thing wrong, and what to say to who made it.

A mistake is written as edits of the textbook's lines, so that it stays a mistake in just that one thing; a test sees
that the lines are still there. A reader whose gradient has the numbers of the edited version made that mistake,
however the code is written.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minires import textbook
from minires.exercises.exercise import Exercise
from minires.exercises.generate import backward_body, source, with_backward
from minires.exercises.mistakes import (
    batch_norm,
    family,
    gates,
    group_norm,
    groups,
    images,
    matrices,
    normalisation,
    numbers,
    pooling,
    residual,
    shards,
)
from minires.exercises.mistakes.mistake import Mistake

MISTAKES: dict[str, list[Mistake]] = {
    **numbers.MISTAKES,
    **matrices.MISTAKES,
    **pooling.MISTAKES,
    **images.MISTAKES,
    **groups.MISTAKES,
    **batch_norm.MISTAKES,
    **normalisation.MISTAKES,
    **residual.MISTAKES,
    **shards.MISTAKES,
    **group_norm.MISTAKES,
    **family.MISTAKES,
    **gates.MISTAKES,
}


def wrong_body(exercise: Exercise, mistake: Mistake) -> str:
    """The body of the backward pass with the mistake in it."""
    body = backward_body(source(exercise))
    for old, new in mistake.edits:
        if old not in body:
            raise ValueError(f"mistake {mistake.key} of {exercise.name}: {old!r} is no longer in the textbook")
        body = body.replace(old, new)
    return body


def wrong_gradients(
    exercise: Exercise, mistake: Mistake, inputs: Mapping[str, Any], dy: np.ndarray | np.floating
) -> list[Any]:
    """The gradients that somebody gets who made the mistake, as a list; empty where the shapes do not fit."""
    namespace = dict(vars(textbook))
    exec(with_backward(source(exercise), wrong_body(exercise, mistake)), namespace)
    with np.errstate(all="ignore"):
        _, backward = namespace[exercise.name](**inputs)
        try:
            gradients = backward(dy)
        except ValueError:
            return []
    return list(gradients) if isinstance(gradients, tuple) else [gradients]
