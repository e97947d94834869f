"""Is a backward pass the derivative of its forward pass? Asked numerically, in float64.

from minires.gradcheck import gradcheck
x = np.random.default_rng(0).standard_normal((4, 5))
print(gradcheck(my_function, x))  # my_function(x) -> (y, backward)
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.differences import MOVED_ON, SMALL, central, kink, numeric_gradient, refined
from minires.module import Module

__all__ = ["GradcheckError", "GradcheckReport", "NoVerdictError", "gradcheck", "numeric_gradient"]


class GradcheckError(AssertionError):
    """A gradient is wrong; the message names the worst element."""


class NoVerdictError(ValueError):
    """Rounding hides what is to be measured; the message says at what scale it can be."""


@dataclass(frozen=True)
class GradcheckReport:
    """What was compared, how close it was, and by which rule the worst element passed: `print(report)`."""

    checked: int
    worst: str
    error: float
    rule: str

    def __str__(self) -> str:
        worst = f"the worst is {self.worst} with relative error {self.error:.1e} ({self.rule})"
        return f"gradcheck passed: {self.checked} elements, {worst}"


def gradcheck(
    function: Callable[..., Any],
    *inputs: Any,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
    max_elements: int | None = None,
) -> GradcheckReport:
    """Compare backward(dy), for a RANDOM dy, with central differences of sum(y * dy).

    function: `function(*inputs) -> (y, backward)`, or a Module, of which a copy is cast to float64 and whose
    parameters are checked as well, unless they are frozen.
    inputs: arrays. Floating-point ones are copied to float64 and checked; others (labels) are passed on as they are.
    An element passes where |backward - numeric| <= rtol * max(|backward|, |numeric|) + atol * (the largest numeric
    gradient of its array); or + noise, if that is small beside the largest gradient of all. The noise is what rounding
    does to the differences, 10 * 2.2e-16 * |y * dy| / eps, with the Euclidean norm: where a gradient is 0, nothing but
    that remains. Where neither holds, a second look with steps of 1000 eps and 500 eps, whose noise is some hundred
    times smaller, decides by the same rule, or there is no verdict.
    max_elements: check at most so many elements of each array, drawn at random.
    A sum over y alone would not do: for batch norm and softmax its gradient is 0, which any wrong answer matches.

    Returns a GradcheckReport. Raises GradcheckError, which names the worst element of the worst array, for a wrong
    value or shape, a missing gradient, and a backward pass that changes its dy or the inputs; ValueError for a
    function that gives two answers to one question or float32 for float64, since its differences would mean nothing;
    NoVerdictError, a ValueError, where rounding hides the gradient: y too large beside it.
    """
    rng = np.random.default_rng([seed, 0x6772])  # not the numbers that default_rng(seed) gives: x may be those
    inputs = tuple(np.array(x, np.float64) if np.asarray(x).dtype.kind == "f" else x for x in inputs)
    is_float = [isinstance(x, np.ndarray) and x.dtype == np.float64 for x in inputs]
    if isinstance(function, Module):
        function = module = copy.deepcopy(function).to(np.float64)
        module.zero_grad()
    if not any(is_float) and not (isinstance(function, Module) and function.parameters()):
        raise ValueError("gradcheck: nothing to check: give at least one floating-point input")
    before = [np.array(x) for x in inputs]
    if any(x.size == 0 for x in before):
        raise ValueError("gradcheck: an input is empty and has no gradient: give each at least one element")
    result = function(*inputs)
    if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
        raise ValueError(f"gradcheck: the function must return (y, backward), got a {type(result).__name__}")
    y, backward = result
    if np.asarray(y).dtype.kind != "f":
        raise ValueError(f"gradcheck: y is {np.asarray(y).dtype}: only a floating-point result has a gradient")
    if np.asarray(y).dtype.itemsize < 8:
        raise ValueError(
            f"gradcheck: y is {np.asarray(y).dtype} though the inputs are float64: its differences would mean nothing; "
            "let the function keep the dtype"
        )
    if not np.isfinite(y).all():
        raise ValueError("gradcheck: y holds NaN or infinity at these inputs: choose inputs at which it is finite")
    _inputs_unchanged(inputs, before)
    if not np.array_equal(y, function(*inputs)[0], equal_nan=True):
        raise ValueError(f"gradcheck: {MOVED_ON}")
    dy = rng.standard_normal(np.shape(y))
    dy_before = dy.copy()
    gradients = backward(dy)
    _unchanged("dy", dy, dy_before)
    _inputs_unchanged(inputs, before)

    floats = [(f"input {number}", x) for number, x in enumerate(inputs) if is_float[number]]
    analytic = list(gradients) if isinstance(gradients, (tuple, list)) else [gradients]
    if len(analytic) != len(floats):
        raise GradcheckError(f"backward gave {len(analytic)} gradients for {len(floats)} differentiable inputs")
    named = [(name, x, dx) for (name, x), dx in zip(floats, analytic, strict=True)]
    if isinstance(function, Module):
        named += [(name, p.data, p.grad) for name, p in function.named_parameters() if p.requires_grad]

    def forward():
        return function(*inputs)[0]

    arrays = [_measure(forward, dy, *item, eps, rng, max_elements) for item in named]
    scale = max((abs(d.slope) for array in arrays for d in array.differences), default=0.0)
    judge = _Judge(forward, dy, eps, rtol, atol, scale, max(scale, float(np.max(np.abs(dy), initial=0))))
    elements = [judge.element(array, k) for array in arrays for k in range(len(array.indices))]
    failed = [element for element in elements if element.verdict == "wrong"]
    if failed:
        most = max(element.excess for element in failed)
        worst = next(element for element in failed if element.excess >= (1 - 1e-6) * most)  # of equals the first
        count = sum(element.array is worst.array for element in failed)
        array, index = worst.array, worst.index
        raise GradcheckError(
            f"gradcheck failed: {count} of {len(array.indices)} elements of {array.name} (shape {array.x.shape}) are "
            f"wrong, the worst is {worst.where}: backward gives {worst.given:.9g}, central differences "
            f"{worst.numeric:.9g} (relative error {worst.error:.1e}, tolerance {rtol:.0e})"
            f"{kink(forward, array.x, dy, index, eps)}"
        )
    for element in elements:
        if element.verdict == "unclear":
            raise NoVerdictError(judge.why_unclear(element, y))
    worst = max(elements, key=lambda element: element.error)
    return GradcheckReport(len(elements), worst.where, worst.error, worst.rule)


@dataclass(frozen=True, eq=False)
class _Measured:
    """An array, called `name`: the gradient given for the elements at `indices`, and their Differences."""

    name: str
    x: np.ndarray
    indices: list
    given: np.ndarray
    differences: list


def _measure(f, dy, name, x, dx, eps, rng, most):
    if dx is None:
        raise GradcheckError(f"{name}: backward gave no gradient")
    dx = np.asarray(dx)
    if dx.shape != x.shape:
        raise GradcheckError(f"{name}: the gradient has shape {dx.shape}, the array {x.shape}: they must be equal")
    if dx.dtype.kind not in "fiu":
        raise GradcheckError(f"{name}: the gradient is {dx.dtype}, the array {x.dtype}: it must be floating-point")
    chosen = np.arange(x.size) if most is None or most >= x.size else rng.choice(x.size, most, replace=False)
    indices = [tuple(int(i) for i in np.unravel_index(flat, x.shape)) for flat in chosen]
    differences = [central(f, x, dy, index, eps) for index in indices]
    for index, difference in zip(indices, differences, strict=True):
        if not np.isfinite(difference.slope):
            raise ValueError(f"gradcheck: y is NaN or infinity {eps:.0e} away from {name}{list(index)}: move it off")
    return _Measured(name, x, indices, np.array([dx[index] for index in indices], np.float64), differences)


@dataclass(frozen=True, eq=False)
class _Element:
    """Of one element. excess: error in units of the tolerance; error: relative, 0 within noise; rule: lets it pass."""

    array: _Measured
    index: tuple
    given: float
    numeric: float
    noise: float
    verdict: str
    excess: float = 0.0
    error: float = 0.0
    rule: str = ""

    @property
    def where(self):
        return f"{self.array.name}{list(self.index)}"


@dataclass(frozen=True)
class _Judge:
    f: Callable[[], Any]
    dy: np.ndarray
    eps: float
    rtol: float
    atol: float
    scale: float  # the largest numeric gradient of all
    size: float  # that or the largest dy

    def element(self, array, k):
        """The _Element for the k-th of an array's, after a second look where the first is not enough."""
        index, given, first = array.indices[k], float(array.given[k]), array.differences[k]
        floor = self.atol * max(abs(difference.slope) for difference in array.differences)

        def errors(difference):
            larger = max(abs(given), abs(difference.slope))
            return abs(given - difference.slope), self.rtol * larger + floor, larger

        def said(verdict, difference):
            if not np.isfinite(given):
                return _Element(array, index, given, difference.slope, difference.noise, verdict, np.inf, np.inf)
            wrong, tolerance, larger = errors(difference)
            excess = 0.0 if wrong == 0 else wrong / max(tolerance + difference.noise, 5e-324)
            error = wrong / larger if wrong and (verdict != "right" or larger > difference.noise + floor) else 0.0
            rule = f"tolerance {self.rtol:.0e}"
            if wrong > self.rtol * larger:
                rule = "within the noise" if wrong > tolerance else f"within {self.atol:.0e} of the array's largest"
            return _Element(array, index, given, difference.slope, difference.noise, verdict, excess, error, rule)

        if not np.isfinite(given):
            return said("wrong", first)
        wrong, tolerance, larger = errors(first)
        seen = larger > first.noise or first.noise <= SMALL * self.size  # else 0 would agree with anything
        if (wrong <= tolerance and seen) or (wrong <= tolerance + first.noise and first.noise <= SMALL * self.scale):
            return said("right", first)
        second, apart = refined(self.f, array.x, self.dy, index, 1000 * self.eps)
        wrong_again, tolerance_again, larger = errors(second)
        seen = larger > second.noise or second.noise <= SMALL * self.size
        noise = second.noise if second.noise <= SMALL * self.size else 0.0
        agrees = wrong_again <= tolerance_again + noise
        explained = wrong <= tolerance + first.noise + 2e-6 * apart  # the error of the first step, from the second's
        if agrees:
            return said("right" if explained and seen else "unclear", second)
        if not explained:
            return said("wrong", first)
        return said("wrong" if wrong_again > tolerance_again + second.noise + apart else "unclear", second)

    def why_unclear(self, element, y):
        size = float(np.max(np.abs(y), initial=0))
        larger = max(abs(element.given), abs(element.numeric), SMALL * self.size)
        limit = size * self.rtol * larger / max(element.noise, 5e-324)
        return (
            f"gradcheck: no verdict on {element.where}: backward gives {element.given:.6g}, central differences "
            f"{element.numeric:.6g}, but y is as large as {size:.1e}, and its rounding may move them by "
            f"{element.noise:.1e}: shift or scale y to about {limit:.0e}, give smaller inputs or a larger eps"
        )


def _inputs_unchanged(inputs, before):
    for number, (x, old) in enumerate(zip(inputs, before, strict=True)):
        _unchanged(f"input {number}", np.asarray(x), old)


def _unchanged(name, now, before):
    if not np.array_equal(now, before, equal_nan=now.dtype.kind == "f"):
        raise GradcheckError(f"the forward or backward pass changed {name}, which others may still use: copy it first")
