"""All exercises, of every kind, in one order: what to predict of an operation, to write, and to find."""

from minires.exercises.bugs import BUGS
from minires.exercises.catalogue import EXERCISES
from minires.exercises.find import Find
from minires.exercises.predict import Predict
from minires.exercises.predictions import PREDICTIONS
from minires.exercises.write import Write

Task = Write | Find | Predict


def _in_order():
    for name, exercise in EXERCISES.items():
        yield from (Predict(key, one) for key, one in PREDICTIONS.items() if one.exercise == name)
        yield Write(exercise)
        yield from (Find(key, bug) for key, bug in BUGS.items() if bug.exercise == name)


TASKS: dict[str, Task] = {task.name: task for task in _in_order()}


def after(name: str) -> list[str]:
    """The exercises that follow."""
    names = list(TASKS)
    return names[names.index(name) + 1 :]
