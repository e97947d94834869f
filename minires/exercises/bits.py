"""To the bit: is a sum in float32 made in the one order that the exercise asks for?

In another order it is right but for rounding, which every check with a tolerance lets pass. Orders are told from each
other by their bits, as other mistakes are by their numbers.
"""

from collections.abc import Sequence

import numpy as np

from minires.exercises.diagnose import known_mistakes
from minires.exercises.finding import Finding
from minires.exercises.language import Text
from minires.exercises.run import Run

UNKNOWN = (
    "Another order, and none that is known here, or not in float32. Write down for S = 5, with brackets, which two are "
    "added first and where the odd one comes in."
)


def check_bits(runs: Sequence[Run]) -> None:
    """Are the gradients those of the textbook, every bit?   runs: of float32, with gradients of the right shapes."""
    for run in runs:
        for name, given, right in zip(run.exercise.gradients, _gradients(run), run.right(), strict=True):
            if not np.array_equal(given, right):
                raise Finding(*_said(run, name, given, right, _made(runs)), wrong=[name])


def _gradients(run):
    return [np.asarray(gradient) for gradient in run.gradients()]


def _made(runs):
    """The known mistake that has the reader's bits in every run, or None: with some numbers of shards two are alike."""
    found = None
    for run in runs:
        given = _gradients(run)
        alike = {mistake.key: mistake for mistake, wrong in known_mistakes(run.exercise, run)
                 if all(map(np.array_equal, given, wrong))}  # fmt: skip
        found = alike if found is None else {key: alike[key] for key in found if key in alike}
    return next(iter(found.values()), None) if found else None


def _said(run, name, given, right, mistake):
    worst = np.unravel_index(np.argmax(np.abs(given.astype(np.float64) - right)), right.shape)
    yield mistake.key if mistake else "bits"
    yield Text("With {arrays}, in float32:", arrays=run.said())
    yield Text(
        "{name} has other bits in {wrong} of {all} elements, the furthest off is {name}{where}: {given} where {right} "
        "is right.",
        name=name,
        wrong=np.sum(given != right),
        all=right.size,
        where=[int(i) for i in worst],
        given=str(given[worst]),
        right=str(right[worst]),
    )
    yield Text("  Hint: {hint}", hint=Text(mistake.hint if mistake else UNKNOWN))
