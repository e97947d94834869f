"""Is a backward pass the derivative of its forward pass? Asked numerically, in float64.

from minires.gradcheck import gradcheck
x = np.random.default_rng(0).standard_normal((4, 5))
print(gradcheck(my_function, x))  # my_function(x) -> (y, backward)
"""

import copy
from dataclasses import dataclass

import numpy as np

from minires.module import Module


class GradcheckError(AssertionError):
    """A gradient is wrong; the message names the worst element."""


@dataclass(frozen=True)
class GradcheckReport:
    """What was compared and how close it was: `print(report)`."""

    checked: int
    worst: str
    error: float

    def __str__(self):
        return (
            f"gradcheck passed: {self.checked} elements, the worst is {self.worst} with relative error {self.error:.1e}"
        )


def numeric_gradient(f, x, dy=1.0, eps=1e-6):
    """d sum(f() * dy) / dx by central differences: sum((f at x + eps) - (f at x - eps)) * dy / (2 eps), one by one.

    f: () -> an array or number, which reads x in place.   x: float64 array; restored afterwards.   dy: what the
    gradient is taken of, shaped as f(). The difference is taken before the sum, so that large sums cost no digits.
    Returns an array shaped as x.
    """
    return np.array([_central(f, x, dy, index, eps) for index in np.ndindex(x.shape)]).reshape(x.shape)


def gradcheck(function, *inputs, eps=1e-6, rtol=1e-6, atol=1e-8, seed=0, max_elements=None):
    """Compare backward(dy), for a RANDOM dy, with central differences of sum(y * dy).

    function: `function(*inputs) -> (y, backward)`, or a Module, of which a copy is cast to float64 and whose
    parameters are checked as well.
    inputs: arrays. Floating-point ones are copied to float64 and checked; others (labels) are passed on as they are.
    An element passes where |backward - numeric| <= rtol * max(|backward|, |numeric|) + atol * (the largest numeric
    gradient of its array) + noise. The noise is what rounding does to the differences, 10 * 2.2e-16 * |y * dy| / eps,
    with the Euclidean norm: where a gradient is 0, nothing but that remains.
    max_elements: check at most so many elements of each array, drawn at random.
    A sum over y alone would not do: for batch norm and softmax its gradient is 0, which any wrong answer matches.

    Returns a GradcheckReport. Raises GradcheckError, which names the worst element of the worst array, for a wrong
    value or shape, a missing gradient, and a backward pass that changes its dy or the inputs; ValueError for a
    function that gives two answers to one question, since its differences would mean nothing.
    """
    rng = np.random.default_rng([seed, 0x6772])  # not the numbers that default_rng(seed) gives: x may be those
    inputs = [np.array(x, np.float64) if np.asarray(x).dtype.kind == "f" else x for x in inputs]
    is_float = [isinstance(x, np.ndarray) and x.dtype == np.float64 for x in inputs]
    if isinstance(function, Module):
        function = copy.deepcopy(function).to(np.float64)
        function.zero_grad()
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
    if not np.isfinite(y).all():
        raise ValueError("gradcheck: y holds NaN or infinity at these inputs: choose inputs at which it is finite")
    _inputs_unchanged(inputs, before)
    if not np.array_equal(y, function(*inputs)[0], equal_nan=True):
        raise ValueError("gradcheck: two calls gave two results: fix the seed of what the function draws at random")
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
        named += [(name, parameter.data, parameter.grad) for name, parameter in function.named_parameters()]

    def forward():
        return function(*inputs)[0]

    findings = [_compare(forward, dy, *item, eps, rtol, atol, rng, max_elements) for item in named]
    worst = max(findings, key=lambda finding: finding.excess)
    if worst.failure:
        raise GradcheckError(worst.failure)
    return GradcheckReport(sum(finding.checked for finding in findings), worst.where, worst.error)


def _central(f, x, dy, index, eps):
    value = x[index]
    x[index] = value + eps
    above = np.array(f())
    x[index] = value - eps
    below = np.array(f())
    x[index] = value
    return float(np.sum((above - below) * dy)) / (2 * eps)


@dataclass(frozen=True)
class _Finding:
    """The worst element of one array: its error in units of the tolerance, and what to say where that exceeds 1."""

    checked: int
    where: str
    excess: float
    error: float
    failure: str


def _compare(f, dy, name, x, dx, eps, rtol, atol, rng, most):
    """The _Finding for the array x, called `name`, whose gradient is given as dx."""
    if dx is None:
        raise GradcheckError(f"{name}: backward gave no gradient")
    dx = np.asarray(dx)
    if dx.shape != x.shape:
        raise GradcheckError(f"{name}: the gradient has shape {dx.shape}, the array {x.shape}: they must be equal")
    chosen = np.arange(x.size) if most is None or most >= x.size else rng.choice(x.size, most, replace=False)
    indices = [tuple(int(i) for i in np.unravel_index(flat, x.shape)) for flat in chosen]
    numeric = np.array([_central(f, x, dy, index, eps) for index in indices])
    given = np.array([dx[index] for index in indices], np.float64)
    larger, difference = np.maximum(np.abs(given), np.abs(numeric)), np.abs(given - numeric)
    noise = 10 * np.finfo(np.float64).eps * float(np.linalg.norm(np.array(f()) * dy)) / eps
    tolerance = rtol * larger + atol * float(np.max(np.abs(numeric))) + noise
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(difference == 0, 0.0, difference / tolerance)
    excess = np.where(np.isnan(excess), np.inf, excess)
    worst = int(np.argmax(excess))
    where = f"{name}{list(indices[worst])}"
    error = float(difference[worst] / max(larger[worst], np.finfo(np.float64).tiny))
    failure = ""
    if excess[worst] > 1:
        failure = (
            f"gradcheck failed: {int(np.sum(excess > 1))} of {len(indices)} elements of {name} (shape {x.shape}) are "
            f"wrong, the worst is {where}: backward gives {given[worst]:.9g}, central differences {numeric[worst]:.9g} "
            f"(relative error {error:.1e}, tolerance {rtol:.0e}){_kink(f, x, dy, indices[worst], eps)}"
        )
    return _Finding(len(indices), where, float(excess[worst]), error, failure)


def _kink(f, x, dy, index, eps):
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


def _inputs_unchanged(inputs, before):
    for number, (x, old) in enumerate(zip(inputs, before, strict=True)):
        _unchanged(f"input {number}", np.asarray(x), old)


def _unchanged(name, now, before):
    if not np.array_equal(now, before, equal_nan=now.dtype.kind == "f"):
        raise GradcheckError(f"the forward or backward pass changed {name}, which others may still use: copy it first")
