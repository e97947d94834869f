"""Derivatives by central differences, with what rounding does to them; and what they say of a gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.types import Array

EPSILON, SMALLEST = np.finfo(np.float64).eps, 5e-324
MOVED_ON = (  # said of a function that draws at random
    "two calls gave two results: let each call draw the same numbers, from a generator made anew at the function's "
    "beginning, as in block.drop.rng = np.random.default_rng(2), since one that stays moves on whatever its seed"
)
SMALL = 1e-6  # of the largest gradient: a noise that may hide the difference between a gradient and 0


@dataclass(frozen=True)
class Difference:
    """A slope by central differences, and how far rounding of y may have moved it."""

    slope: float
    noise: float


def numeric_gradient(f: Callable[[], Any], x: Array, dy: Array | float = 1.0, eps: float = 1e-6) -> Array:
    """d sum(f() * dy) / dx by central differences: sum((f at x + eps) - (f at x - eps)) * dy / (2 eps), one by one.

    f: () -> an array or number, which reads x in place.   x: float64 array; restored afterwards.   dy: what the
    gradient is taken of, shaped as f(). The difference is taken before the sum, so that large sums cost no digits.
    Returns an array shaped as x.
    """
    return np.array([central(f, x, dy, index, eps).slope for index in np.ndindex(x.shape)]).reshape(x.shape)


def central(f: Callable[[], Any], x: Array, dy: Array | float, index: tuple[int, ...], eps: float) -> Difference:
    """The Difference at x[index]; its step is what rounding leaves of eps. ValueError where that is too little."""
    value = float(x[index])
    if 4 * np.spacing(abs(value)) > eps:
        raise ValueError(
            f"gradcheck: a step of {eps:.0e} is lost beside a number as large as {value:.3g}: give smaller inputs, or "
            f"an eps of {4 * np.spacing(abs(value)):.0e} or more"
        )
    try:
        x[index] = value + eps
        above = np.array(f())
        x[index] = value - eps
        below = np.array(f())
    finally:
        x[index] = value
    width = (value + eps) - (value - eps)
    size = max(np.linalg.norm(above * dy), np.linalg.norm(below * dy))
    rounding = 10 * (EPSILON * float(size) + SMALLEST * float(np.linalg.norm(dy)))
    return Difference(float(np.sum((above - below) * dy)) / width, 2 * rounding / width)


def refined(
    f: Callable[[], Any], x: Array, dy: Array | float, index: tuple[int, ...], eps: float
) -> tuple[Difference, float]:
    """(the Difference by Richardson's extrapolation from the steps eps and eps / 2, how far these two are apart).

    Its noise is that of the smaller step, 5/3 times; its error falls with eps^4.
    """
    wide, narrow = central(f, x, dy, index, eps), central(f, x, dy, index, eps / 2)
    slope = (4 * narrow.slope - wide.slope) / 3
    return Difference(slope, (4 * narrow.noise + wide.noise) / 3), abs(narrow.slope - wide.slope)


def kink(f: Callable[[], Any], x: Array, dy: Array | float, index: tuple[int, ...], eps: float) -> str:
    """A hint where the slopes on the two sides differ: the point is a kink, and no gradient is right there."""
    middle, value = np.array(f()), x[index]
    x[index] = value + eps
    right = float(np.sum((np.array(f()) - middle) * dy)) / eps
    x[index] = value - eps
    left = float(np.sum((middle - np.array(f())) * dy)) / eps
    x[index] = value
    if abs(right - left) <= 1e-3 * max(abs(right), abs(left)) + 1e-3:
        return ""
    return f"; the slopes left and right of it differ ({left:.4g}, {right:.4g}): a kink or a tie, move the input off it"
