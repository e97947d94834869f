"""What an exercise is, and the arrays that it is checked with."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import textbook
from minires.exercises.language import Text

BY_HAND = (
    "docs/{page} has an example by hand: put its numbers into your function and see where they part. `check {name} "
    "--more` prints a small one, with what you give and what is right."
)
BY_HAND_ON_PAGE = (
    "The derivation has an example by hand: put its numbers into your function and see where they part. \u201cA "
    "hint\u201d shows a small one, with what you give and what is right."
)


class Case:
    """One check: `Case("N=3 C=4 O=5", stride=2)` gives the sizes of the axes and the other arguments.

    Sizes differ from one another, so that a length tells which axis it is. values: "normal", or "ties" for small
    integers, many of them equal (there the textbook decides, not gradcheck), or "short" for numbers of one digit, or
    "far" where dy's numbers are of very different sizes, so that the order of a sum decides what is left of it.
    """

    def __init__(self, sizes: str, values: str = "normal", **options: Any) -> None:
        self.sizes = {letter: int(size) for letter, size in (item.split("=") for item in sizes.split())}
        self.values, self.options = values, options


@dataclass(frozen=True)
class Exercise:
    """One function of minires/textbook.py, of which the reader writes the backward pass."""

    name: str
    line: str
    page: str  # in docs/
    arrays: dict[str, str]  # the axes of each array that the function takes: {"x": "N H W C"}
    cases: tuple[Case, ...]
    square: Case | None = None  # axes of equal size: where a transposed matrix fits, its numbers can be recognised
    exact: bool = False  # to the bit: its gradients are sums in one order
    task: str = ""  # what the reader calls it, where that is not its name

    @property
    def function(self) -> Callable[..., Any]:
        return getattr(textbook, self.name)

    @property
    def upstream(self) -> str:
        """What backward takes: "dy"."""
        return self._signature()[1]

    @property
    def gradients(self) -> tuple[str, ...]:
        """What backward returns, in order: ("dx", "dweight", "dbias")."""
        return tuple((self._signature()[2] or self._signature()[3]).split(", "))

    @property
    def by_hand(self) -> Text:
        """What to do where no mistake is known."""
        return Text(BY_HAND, page=self.page, name=self.task or self.name).or_on_page(Text(BY_HAND_ON_PAGE))

    def axes(self, gradient: str) -> list[str]:
        return self.arrays[gradient[1:]].split()

    def inputs(self, case: Case, dtype: type[np.floating] = np.float64) -> dict[str, Any]:
        """The function's arguments by name. The same ones on every call."""
        rng = np.random.default_rng([ord(letter) for letter in self.name])
        sizes = case.sizes
        values = {}
        for name in inspect.signature(self.function).parameters:
            if name in self.arrays:
                values[name] = _array(name, [sizes[axis] for axis in self.arrays[name].split()], case, rng, dtype)
            elif name in case.options or name in sizes:
                values[name] = case.options.get(name, sizes.get(name))
        return values

    def _signature(self):
        """As the docstring has it: backward(dy) -> dx, or backward(dy) -> (dx, dweight)."""
        return re.search(r"backward\((\w+)\) -> (?:\(([\w, ]+)\)|(\w+))", self.function.__doc__ or "")


def _array(name, shape, case, rng, dtype):
    if name == "labels":
        return rng.integers(0, case.sizes["classes"], shape)
    if case.values == "ties":
        return rng.integers(0, 3, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if case.values == "short":  # of few digits, never 0, of either sign
        values = rng.integers(1, 5, shape) * np.resize([0.5, -0.5], shape)
    return (np.abs(values) + 0.5 if name == "running_var" else values).astype(dtype)
