"""Is it right? judge(exercise, source) -> what is said of it. This runs the reader's code, which may do anything."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.exercises.bits import check_bits
from minires.exercises.diagnose import Question, diagnose, known_mistakes, same
from minires.exercises.exercise import Exercise
from minires.exercises.finding import Finding
from minires.exercises.further import SMALL, further
from minires.exercises.language import Several, Text
from minires.exercises.reading import BACKWARD_FAILED, NO_GRADCHECK, Source, reading
from minires.exercises.run import Run, afresh
from minires.exercises.structure import check_arrays, check_dtypes, gradients_of
from minires.exercises.wording import together
from minires.gradcheck import GradcheckError, gradcheck

MOST_ELEMENTS = 40  # of each array, for gradcheck
ALL_RIGHT = (
    "forward pass, shapes, dtypes, {cases} sets of shapes, nothing changed in place, gradcheck of {elements} elements"
)

CHANGED = {
    "forward": "The forward pass has changed {name} in place, which others may still use: make a new array.",
    "backward": "The backward pass has changed {name} in place, which others may still use: make a new array.",
}


def judge(exercise: Exercise, source: Source, more: bool = False) -> dict[str, Any]:
    """What is said of it, as {"state": "passed", "unwritten" or "wrong", "key": ..., "lines": [...], "wrong": [...]}.

    wrong: names of the gradients that are.   more: with the second hint (minires/exercises/further.py).
    """
    function = None
    try:
        function = load(exercise, source)
        for number, case in enumerate(exercise.cases):
            _check_case(function, exercise, case, exercise.cases[number - 1], source)
        _check_float32(function, exercise, source)
        if exercise.exact:
            check_bits([Run(function, exercise, case, source, np.float32) for case in exercise.cases])
        checked = _gradcheck(function, exercise, source)
    except Finding as finding:
        state = "unwritten" if finding.key == "unwritten" else "wrong"
        lines = [*finding.lines, *(_further(function, exercise, finding, source) if more else [])]
        return {"state": state, "key": finding.key, "lines": lines, "wrong": finding.wrong}
    return {"state": "passed", "key": "passed", "lines": [checked], "wrong": []}


def load(exercise: Exercise, source: Source) -> Callable[..., Any]:
    """The reader's function."""
    function = getattr(source.run(f"exercise_{exercise.name}"), exercise.name, None)
    if not callable(function):
        said = "The file has no function {name}: its name and its forward pass must stay as they were."
        raise Finding("no_function", Text(said, name=exercise.name), afresh(exercise))
    return function


def _further(function, exercise, finding, source):
    run = Run(function, exercise, SMALL[exercise.name], source) if function else None
    return further(exercise, finding.wrong or exercise.gradients, run)


def _check_case(function, exercise, case, other, source):
    run = Run(function, exercise, case, source)
    _check_forward(run)
    try:
        _check_purity(run)
        check_arrays(run.gradients(), run.expected(), exercise, case)
    except Finding as finding:
        raise _with_square_matrices(finding, function, exercise, source) from None
    _check_values(run, Run(function, exercise, other, source))


def _check_forward(run):
    inputs = run.exercise.inputs(run.case)
    y, _ = run.forward(inputs)
    y = np.asarray(y)
    if y.dtype.kind != "f" or y.shape != run.y.shape or not np.allclose(y, run.y, rtol=1e-9, atol=1e-12):
        said = "The forward pass does not give what it gave: only the backward pass is to be written."
        raise Finding("forward", Text(said), afresh(run.exercise))
    _unchanged(inputs, run.inputs, "forward")


def _check_purity(run):
    """Nothing changed that was given, and two calls of one backward alike."""
    inputs = run.exercise.inputs(run.case)
    y, backward = run.forward(inputs)
    names, dy = run.exercise.gradients, np.array(run.dy)[()]
    with reading(run.source, BACKWARD_FAILED):
        first = gradients_of(backward(dy), names)
        first = [np.array(dx) for dx in first]
        if not np.array_equal(dy, run.dy):
            said = (
                "{dy} has been changed in place. Others hold the same array: the other branch of a residual block, for "
                "one. Look for +=, *= or [...] = on it, or on a view of it."
            )
            raise Finding("dy_changed", Text(said, dy=run.exercise.upstream))
        _unchanged(inputs, run.inputs, "backward")
        if not np.array_equal(y, run.y) and not same(np.asarray(y), run.y):
            raise Finding("y_changed", Text("The backward pass has changed the forward pass's result in place."))
        second = gradients_of(backward(np.array(run.dy)[()]), names)
    for name, one, two in zip(names, first, second, strict=True):
        if not np.array_equal(one, np.asarray(two), equal_nan=one.dtype.kind == "f"):
            raise Finding(
                "two_calls",
                Text("Two calls of the same backward give two different {name}.", name=name),
                Text("Is something kept and added to from call to call, changed in place, or drawn at random again?"),
            )


def _unchanged(inputs, before, which):
    for name, x in inputs.items():
        if isinstance(x, np.ndarray) and not np.array_equal(x, before[name]):
            raise Finding("input_changed", Text(CHANGED[which], name=name))


def _with_square_matrices(finding, function, exercise, source):
    """After an error, perhaps of shapes that do not fit: does it run with square matrices, and what then?"""
    if exercise.square is None or finding.key != "exception":
        return finding
    run = Run(function, exercise, exercise.square, source)
    try:
        _check_values(run, None)
    except Finding as there:
        if there.key in ("exception", "shape"):
            return finding
        says_more = Text("Where the matrices are square ({arrays}) it runs, and says more:", arrays=run.said())
        return Finding(there.key, *finding.lines, says_more, *there.lines, wrong=there.wrong)
    return finding


def _check_values(run, elsewhere):
    names, given, right = run.exercise.gradients, run.gradients(), run.right()
    check_arrays(given, run.expected(), run.exercise, run.case)
    if elsewhere is not None and not _runs(elsewhere):
        elsewhere = None
    wrong = [i for i in range(len(names)) if not same(np.asarray(given[i], np.float64), np.asarray(right[i]))]
    if not wrong:
        check_dtypes(given, run.expected())
        return
    mistaken = known_mistakes(run.exercise, run)
    diagnosed = [(names[i], *diagnose(Question(run.exercise, i, run, elsewhere, mistaken))) for i in wrong]
    worst = {names[i]: _worst(names[i], np.asarray(given[i], np.float64), np.asarray(right[i])) for i in wrong}
    lines = [Text("With {arrays}:", arrays=run.said())]
    for hint, about in together([(name, hint) for name, _, hint in diagnosed]):
        lines += [*(worst[name] for name in about), Text("  Hint: {hint}", hint=hint)]
    fine = [name for i, name in enumerate(names) if i not in wrong]
    if fine:
        lines.append(Text("{names} are right." if fine[1:] else "{names} is right.", names=Several(fine)))
    raise Finding(" ".join(key for _, key, _ in diagnosed), *lines, wrong=[name for name, _, _ in diagnosed])


def _runs(run):
    try:
        return all(np.shape(g) == np.shape(r) for g, r in zip(run.gradients(), run.right(), strict=True))
    except Finding:
        return False


def _worst(name, given, right):
    error = np.abs(given - right)
    largest = error >= error.max() * (1 - 1e-9)  # of errors equal but for rounding the first: on every machine the same
    worst = np.unravel_index(np.argmax(largest if largest.any() else error), right.shape)
    return Text(
        "{name} is wrong in {wrong} of {all} elements, the furthest off is {name}{where}: {given:.6g} where "
        "{right:.6g} is right.",
        name=name,
        wrong=int(np.sum(~np.isclose(given, right, rtol=1e-6, atol=1e-9))),
        all=right.size,
        where=[int(i) for i in worst] if right.ndim else "",
        given=given[worst] + 0.0,  # 0, and not -0
        right=right[worst] + 0.0,
    )


def _check_float32(function, exercise, source):
    """A float32 pass gives float32, where the textbook's does."""
    run = Run(function, exercise, exercise.cases[0], source, np.float32)
    gradients = run.gradients()
    check_arrays(gradients, run.expected(), exercise, run.case)
    check_dtypes(gradients, run.expected())


def _gradcheck(function, exercise, source):
    """The last word, for which the textbook is not asked: central differences."""
    elements = 0
    differentiable = [name[1:] for name in exercise.gradients]
    for case in exercise.cases:
        if case.values != "normal":
            continue
        inputs = exercise.inputs(case)

        def with_arrays(*arrays, inputs=inputs):
            return function(**inputs | dict(zip(differentiable, arrays, strict=True)))

        with reading(source, NO_GRADCHECK):
            try:
                report = gradcheck(with_arrays, *(inputs[name] for name in differentiable), max_elements=MOST_ELEMENTS)
            except GradcheckError as error:
                raise Finding("gradcheck", *str(error).splitlines()) from None
        elements += report.checked
    checked = Text(ALL_RIGHT, cases=len(exercise.cases), elements=elements)
    return Text("{all}, every bit", all=checked) if exercise.exact else checked
