"""Can an attack's answer be believed? Checks that a network has no gradients which only hide its weakness.

check_gradients(model, x, labels, eps) -> a Check each, with its verdict and what was found. A network that fails one
is not shown to be robust, however much of its accuracy the attack has left. After Athalye, Carlini, Wagner 2018,
section 3.1. Page: docs/robustness.md.
"""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minires.backend import device_of, to_device, to_numpy
from minires.losses import cross_entropy
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.robustness.attacks import Loss, fgsm, generators, loss_gradient, pgd
from minires.robustness.balls import drawn, project
from minires.types import Array

SHIFT = 1e-4  # of the finite differences, pixels


class Check(NamedTuple):
    """name: what should be so.   passed: whether it is.   found: the figures behind the verdict."""

    name: str
    passed: bool
    found: str


def check_gradients(
    model: Module,
    x: Array,
    labels: Array,
    eps: float,
    norm: str = "linf",
    steps: int = 10,
    seed: int = 0,
    surrogate: Module | None = None,
    loss: Loss = cross_entropy,
    tries: int = 20,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Check]:
    """Seven checks of a model of pixels (an eighth with a surrogate), on images whose labels are known.

    x (N, H, W, 3), 0 to 255; a hundred images tell enough.   eps, norm, steps, loss: of the attack that is to be
    believed, `pgd`.   surrogate: another model of the same classes, whose adversarial examples are tried on this one.
    tries: how many points of the ball are tried blindly for each image.   tell: is called with a line when a check is
    done.
    A share may be off by one image, or by 2 % of them, since attacks draw their starts.
    """
    checks = []
    for check in _checks(model, x, labels, eps, norm, steps, seed, surrogate, loss, tries):
        checks.append(check)
        tell(f"{check.name}: {'passed' if check.passed else 'FAILED'}")
    return checks


def _checks(model, x, labels, eps, norm, steps, seed, surrogate, loss, tries):
    """Yields the checks of `check_gradients`, each when it is done."""
    N = len(labels)
    slack = max(1, round(0.02 * N))

    def right(changed):
        return int(_right(model, changed, labels).sum())

    def after(eps, steps, target=model, step=None):
        rngs = generators(seed, 0, N)
        return right(pgd(target, x, labels, eps, steps, step, norm, loss=loss, rngs=rngs))

    yield _derivative(model, x, labels, seed, loss)
    yield _not_zero(model, x, labels, loss)
    once, often = right(fgsm(model, x, labels, eps, norm, loss=loss)), after(eps, steps)
    yield Check("many steps are stronger than one", often <= once + slack, _of(N, once=once, many=often))
    by_steps = {"half": after(eps, max(1, steps // 2)), "as_many": often, "twice": after(eps, 2 * steps)}
    yield Check("more steps are not weaker", _falls(by_steps, slack), _of(N, **by_steps))
    by_eps = {"half": after(eps / 2, steps), "as_large": often, "twice": after(2 * eps, steps)}
    yield Check("a larger ball is not safer", _falls(by_eps, slack), _of(N, **by_eps))
    everything = _everything(x, norm)
    unbounded = after(everything, 10 * steps, step=everything / 20)
    yield Check("without a bound no image is left", unbounded == 0, _of(N, left=unbounded))
    blind = int(_after_tries(model, x, labels, eps, norm, seed, tries).sum())
    found = _of(N, blindly=blind, by_gradient=often)
    yield Check("blind tries are not stronger", often <= blind + slack, found)
    if surrogate is not None:
        other = after(eps, steps, surrogate)
        found = _of(N, by_the_other=other, by_its_own=often)
        yield Check("another network's gradients are not stronger", often <= other + slack, found)


def report(checks: Sequence[Check]) -> list[str]:
    """The lines of a table: verdict, name, figures."""
    width = max(len(check.name) for check in checks)
    return [f"{'passed' if check.passed else 'FAILED'}  {check.name:{width}}  {check.found}" for check in checks]


def _derivative(model, x, labels, seed, loss):
    """In float64 and in a direction drawn for each image: the loss's central difference against the backward pass."""
    wide = copy.deepcopy(model).to(np.float64)
    x, rng = x.astype(np.float64), np.random.default_rng(seed)
    direction = to_device(rng.standard_normal(x.shape), device_of(x))
    claimed = to_numpy((loss_gradient(wide, x, labels, loss)[0] * direction).sum(axis=(1, 2, 3)))
    up, down = (_losses(wide, x + sign * SHIFT * direction, labels, loss) for sign in (1, -1))
    measured = (up - down) / (2 * SHIFT)
    size = max(np.linalg.norm(claimed), np.linalg.norm(measured))
    error = np.linalg.norm(claimed - measured) / size if size > 0 else 0.0
    found = f"relative error {error:.1e}" if size > 0 else "both are 0"
    return Check("the input gradient is the derivative", bool(error < 0.01), found)


def _losses(model, x, labels, loss):
    """Each image's own loss, (N,)."""
    with evaluating(model), no_grad():
        logits, _ = model(x)
    return np.array([float(loss(logits[n : n + 1], labels[n : n + 1])[0]) for n in range(len(labels))])


def _not_zero(model, x, labels, loss):
    dx, _ = loss_gradient(model, x, labels, loss)
    silent = int((to_numpy(abs(dx).max(axis=(1, 2, 3))) == 0).sum())
    passed = silent <= 0.02 * len(labels)
    return Check("the input gradient is not 0", passed, f"0 everywhere for {silent} of {len(labels)} images")


def _after_tries(model, x, labels, eps, norm, seed, tries):
    """Which images (N,) are known still at x and at every one of the points drawn; in linf these are corners."""
    right, rngs = _right(model, x, labels), generators(seed + 1, 0, len(labels))
    for _ in range(tries):
        delta = drawn(x.shape, eps, norm, rngs)
        delta = eps * np.sign(delta) if norm == "linf" else project(1e6 * delta, eps, norm)
        changed = x + to_device(delta.astype(x.dtype), device_of(x))
        right &= _right(model, changed.clip(0, 255), labels)
    return right


def _right(model, x, labels):
    with evaluating(model), no_grad():
        return to_numpy(model(x)[0].argmax(axis=1) == labels)


def _everything(x, norm):
    """A ball that holds every picture."""
    return 255.0 if norm == "linf" else 255.0 * math.sqrt(x[0].size)


def _falls(counts, slack):
    return all(later <= earlier + slack for earlier, later in itertools.pairwise(counts.values()))


def _of(N, **counts):
    return "right: " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()) + f", of {N}"
