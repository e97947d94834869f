"""Is a reader's file right? judge(exercise, path), or `-m minires.exercises.judge NAME FILE ANSWER SECONDS [more]`.

This runs code that may do anything. So it has a process of its own (see runner.py); there, after SECONDS, it writes
into the file ANSWER where it was, and ends.
"""

import faulthandler
import importlib.util
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minires.exercises.bits import check_bits
from minires.exercises.catalogue import EXERCISES
from minires.exercises.diagnose import Question, diagnose, known_mistakes, same
from minires.exercises.exercise import Exercise
from minires.exercises.finding import Finding
from minires.exercises.further import SMALL, further
from minires.exercises.reading import reading
from minires.exercises.run import Run, afresh
from minires.exercises.structure import check_arrays, check_dtypes, gradients_of
from minires.exercises.wording import together
from minires.gradcheck import GradcheckError, gradcheck

MOST_ELEMENTS = 40  # of each array, for gradcheck


def judge(exercise: Exercise, path: str | Path, more: bool = False) -> dict[str, Any]:
    """What is said of the file, as {"state": "passed", "unwritten" or "wrong", "key": ..., "lines": [...]}.

    more: with the second hint (minires/exercises/further.py).
    """
    function = None
    try:
        function = load(exercise, Path(path))
        for number, case in enumerate(exercise.cases):
            _check_case(function, exercise, case, exercise.cases[number - 1], path)
        _check_float32(function, exercise, path)
        if exercise.exact:
            check_bits([Run(function, exercise, case, path, np.float32) for case in exercise.cases])
        checked = _gradcheck(function, exercise, path)
    except Finding as finding:
        state = "unwritten" if finding.key == "unwritten" else "wrong"
        lines = [*finding.lines, *(_further(function, exercise, finding, path) if more else [])]
        return {"state": state, "key": finding.key, "lines": lines}
    return {"state": "passed", "key": "passed", "lines": [checked]}


def load(exercise: Exercise, path: str | Path) -> Callable[..., Any]:
    """The reader's function."""
    spec: Any = importlib.util.spec_from_file_location(f"exercise_{exercise.name}", path)
    module = importlib.util.module_from_spec(spec)
    with reading(path, "the file cannot be run"):
        spec.loader.exec_module(module)
    function = getattr(module, exercise.name, None)
    if not callable(function):
        raise Finding(
            "no_function",
            f"The file has no function {exercise.name}: its name and its forward pass must stay as they were.",
            afresh(exercise),
        )
    return function


def _further(function, exercise, finding, path):
    run = Run(function, exercise, SMALL[exercise.name], path) if function else None
    return further(exercise, finding.wrong or exercise.gradients, run)


def _check_case(function, exercise, case, other, path):
    run = Run(function, exercise, case, path)
    _check_forward(run)
    try:
        _check_purity(run)
        check_arrays(run.gradients(), run.expected(), exercise, case)
    except Finding as finding:
        raise _with_square_matrices(finding, function, exercise, path) from None
    _check_values(run, Run(function, exercise, other, path))


def _check_forward(run):
    inputs = run.exercise.inputs(run.case)
    y, _ = run.forward(inputs)
    y = np.asarray(y)
    if y.dtype.kind != "f" or y.shape != run.y.shape or not np.allclose(y, run.y, rtol=1e-9, atol=1e-12):
        raise Finding(
            "forward",
            "The forward pass does not give what it gave: only the backward pass is to be written.",
            afresh(run.exercise),
        )
    _unchanged(inputs, run.inputs, "forward")


def _check_purity(run):
    """Nothing changed that was given, and two calls of one backward alike."""
    inputs = run.exercise.inputs(run.case)
    y, backward = run.forward(inputs)
    names, dy = run.exercise.gradients, np.array(run.dy)[()]
    with reading(run.path, "the backward pass ended with an error"):
        first = gradients_of(backward(dy), names)
        first = [np.array(dx) for dx in first]
        if not np.array_equal(dy, run.dy):
            raise Finding(
                "dy_changed",
                f"{run.exercise.upstream} has been changed in place. Others hold the same array: the other branch of a "
                "residual block, for one. Look for +=, *= or [...] = on it, or on a view of it.",
            )
        _unchanged(inputs, run.inputs, "backward")
        if not np.array_equal(y, run.y) and not same(np.asarray(y), run.y):
            raise Finding("y_changed", "The backward pass has changed the forward pass's result in place.")
        second = gradients_of(backward(np.array(run.dy)[()]), names)
    for name, one, two in zip(names, first, second, strict=True):
        if not np.array_equal(one, np.asarray(two), equal_nan=one.dtype.kind == "f"):
            raise Finding(
                "two_calls",
                f"Two calls of the same backward give two different {name}.",
                "Is something kept and added to from call to call, changed in place, or drawn at random again?",
            )


def _unchanged(inputs, before, which):
    for name, x in inputs.items():
        if isinstance(x, np.ndarray) and not np.array_equal(x, before[name]):
            raise Finding(
                "input_changed",
                f"The {which} pass has changed {name} in place, which others may still use: make a new array.",
            )


def _with_square_matrices(finding, function, exercise, path):
    """After an error, perhaps of shapes that do not fit: does it run with square matrices, and what then?"""
    if exercise.square is None or finding.key != "exception":
        return finding
    run = Run(function, exercise, exercise.square, path)
    try:
        _check_values(run, None)
    except Finding as there:
        if there.key in ("exception", "shape"):
            return finding
        says_more = f"Where the matrices are square ({run}) it runs, and says more:"
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
    lines = [f"With {run}:"]
    for hint, about in together([(name, hint) for name, _, hint in diagnosed]):
        lines += [*(worst[name] for name in about), f"  Hint: {hint}"]
    fine = [name for i, name in enumerate(names) if i not in wrong]
    if fine:
        lines.append(f"{' and '.join([', '.join(fine[:-1]), fine[-1]] if fine[1:] else fine)} "
                     f"{'are' if fine[1:] else 'is'} right.")  # fmt: skip
    raise Finding(" ".join(key for _, key, _ in diagnosed), *lines, wrong=[name for name, _, _ in diagnosed])


def _runs(run):
    try:
        return all(np.shape(g) == np.shape(r) for g, r in zip(run.gradients(), run.right(), strict=True))
    except Finding:
        return False


def _worst(name, given, right):
    worst = np.unravel_index(np.argmax(np.abs(given - right)), right.shape)
    where = [int(i) for i in worst] if right.ndim else ""
    wrong = int(np.sum(~np.isclose(given, right, rtol=1e-6, atol=1e-9)))
    return (
        f"{name} is wrong in {wrong} of {right.size} elements, the furthest off is {name}{where}: "
        f"{given[worst]:.6g} where {right[worst]:.6g} is right."
    )


def _check_float32(function, exercise, path):
    """A float32 pass gives float32, where the textbook's does."""
    run = Run(function, exercise, exercise.cases[0], path, np.float32)
    gradients = run.gradients()
    check_arrays(gradients, run.expected(), exercise, run.case)
    check_dtypes(gradients, run.expected())


def _gradcheck(function, exercise, path):
    """The last word, for which the textbook is not asked: central differences."""
    elements = 0
    differentiable = [name[1:] for name in exercise.gradients]
    for case in exercise.cases:
        if case.values != "normal":
            continue
        inputs = exercise.inputs(case)

        def with_arrays(*arrays, inputs=inputs):
            return function(**inputs | dict(zip(differentiable, arrays, strict=True)))

        with reading(path, "gradcheck could not be done"):
            try:
                report = gradcheck(with_arrays, *(inputs[name] for name in differentiable), max_elements=MOST_ELEMENTS)
            except GradcheckError as error:
                raise Finding("gradcheck", *str(error).splitlines()) from None
        elements += report.checked
    return (
        f"forward pass, shapes, dtypes, {len(exercise.cases)} sets of shapes, nothing changed in place, "
        f"gradcheck of {elements} elements{', every bit' if exercise.exact else ''}"
    )


class Quiet:
    """Standard output that takes the first letters only, so that an endless loop that prints fills no disk."""

    def __init__(self, stream: TextIO, most: int) -> None:
        self.stream, self.left = stream, most

    def write(self, text: str) -> int:
        if self.left > 0:
            self.stream.write(text[: self.left])
            self.stream.flush()  # the process may end at once
            self.left -= len(text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def _limit(seconds, file):
    """After so many seconds the place where every thread is goes into the file, and the process ends."""

    def end():  # a thread of Python has the interpreter's lock, so that the others stand still and can be read
        faulthandler.dump_traceback(file)
        os._exit(1)

    faulthandler.dump_traceback_later(seconds + 2, exit=True, file=file)  # should the others never give up the lock
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def main() -> None:
    name, path, answer, seconds, *more = sys.argv[1:]
    sys.argv = [path]
    sys.stdout, sys.stderr = Quiet(sys.stdout, 4000), Quiet(sys.stderr, 4000)
    warnings.simplefilter("ignore")
    with open(answer, "w", encoding="utf-8") as file:
        limit = _limit(float(seconds), file)
        result = judge(EXERCISES[name], path, more=bool(more))
        limit.cancel()
        faulthandler.cancel_dump_traceback_later()
        json.dump(result, file)
    os._exit(0)  # whatever the file left running


if __name__ == "__main__":
    main()
