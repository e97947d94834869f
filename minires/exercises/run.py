"""The reader's pass at one case, beside the right one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minires.exercises.exercise import Case, Exercise
from minires.exercises.finding import Finding, shape_text
from minires.exercises.language import Listed, Text
from minires.exercises.reading import BACKWARD_FAILED, FORWARD_FAILED, Source, reading
from minires.exercises.structure import gradients_of
from minires.types import Backward

AGAIN = "python -m minires.exercises start {name} --again writes the file anew and keeps yours beside it."
AGAIN_ON_PAGE = (
    "\u201cBegin again\u201d brings back the code as it was, and keeps yours: \u201cThe other text\u201d shows it."
)
VALUES = {"ties": "many equal pixels", "far": "gradients of very different sizes"}  # of a case


class Run:
    """The reader's pass and the right one at one case, with inputs of their own for each call."""

    def __init__(
        self,
        function: Callable[..., Any],
        exercise: Exercise,
        case: Case,
        source: Source,
        dtype: type[np.floating] = np.float64,
    ) -> None:
        self.function, self.exercise, self.case, self.source, self.dtype = function, exercise, case, source, dtype
        self.inputs = exercise.inputs(case, dtype)
        y, self._right_backward = exercise.function(**self.inputs)
        self.dy = np.asarray(_upstream(exercise, case, np.shape(y)), np.asarray(y).dtype)[()]
        self.y = np.asarray(y)

    def said(self) -> Text:
        """The arrays and settings of this case."""
        arrays = [f"{name} {shape_text(x.shape)}" for name, x in self.inputs.items() if isinstance(x, np.ndarray)]
        options = [f"{name} = {x}" for name, x in self.inputs.items() if not isinstance(x, np.ndarray)]
        text = Text("{given}", given=Listed(arrays + options))
        if self.case.values not in VALUES:
            return text
        return Text("{given}, {values}", given=text, values=Text(VALUES[self.case.values]))

    def right(self, dy: np.ndarray | np.floating | None = None) -> list[np.ndarray]:
        gradients = self._right_backward(self.dy if dy is None else dy)
        return list(gradients) if isinstance(gradients, tuple) else [gradients]

    def expected(self) -> dict[str, np.ndarray]:
        """The right gradients by name."""
        return {name: np.asarray(dx) for name, dx in zip(self.exercise.gradients, self.right(), strict=True)}

    def gradients(self, dy: np.ndarray | np.floating | None = None) -> list[Any]:
        """The reader's gradients, of a pass of its own."""
        inputs = self.exercise.inputs(self.case, self.dtype)
        _, backward = self.forward(inputs)
        with reading(self.source, BACKWARD_FAILED):
            returned = backward(np.array(self.dy if dy is None else dy)[()])
        return gradients_of(returned, self.exercise.gradients)

    def forward(self, inputs: Mapping[str, Any]) -> tuple[Any, Backward]:
        with reading(self.source, FORWARD_FAILED):
            result = self.function(**inputs)
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise Finding(
                "not_y_backward",
                Text(
                    "{name} must return two things, its result and backward (the function, not called): it returned a "
                    "{type}.",
                    name=self.exercise.name,
                    type=type(result).__name__,
                ),
            )
        return result


def _upstream(exercise, case, shape):
    rng = np.random.default_rng(len(exercise.name))
    dy = rng.standard_normal(shape)
    if case.values == "far":
        return dy * 10.0 ** rng.integers(0, 9, shape)
    return np.round(dy, 1) if case.values == "short" else dy


def afresh(exercise: Exercise) -> Text:
    """How to get the exercise's file back."""
    return Text(AGAIN, name=exercise.task or exercise.name).or_on_page(Text(AGAIN_ON_PAGE))
