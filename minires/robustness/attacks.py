"""The smallest changes that mislead: FGSM and PGD, by the gradient of the loss with respect to the picture.

model: a function of pixels from 0 to 255, such as `OnPixels` gives, so that eps is in units of a byte.   labels: what
is true. Nothing that is returned lies outside of 0 to 255, or further than eps from x, but for rounding. The model is
left as it was, its gradients included, and run in inference mode. Page: docs/robustness.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from minires.backend import array_module, device_of, to_device
from minires.losses import cross_entropy
from minires.modes import evaluating, gradients_kept
from minires.module import Module
from minires.robustness.balls import check_norm, drawn, project, steepest
from minires.types import Array, Backward

Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Backward]]
Rngs: TypeAlias = Sequence[np.random.Generator] | None
WHITE = 255.0


def loss_gradient(model: Module, x: Array, labels: Array, loss: Loss = cross_entropy) -> tuple[Array, Array]:
    """dx[n] = d loss(model(x[n]), labels[n]) / d x[n], and the logits (N, classes).

    loss: a mean over the images, whose backward pass is given N, so that dx is of each image's own loss.
    """
    with evaluating(model), gradients_kept(model):
        logits, model_backward = model(x)
        _, loss_backward = loss(logits, labels)
        return model_backward(loss_backward(float(len(x)))), logits


def fgsm(
    model: Module,
    x: Array,
    labels: Array,
    eps: float,
    norm: str = "linf",
    targeted: bool = False,
    loss: Loss = cross_entropy,
) -> Array:
    """x + eps * steepest(dx): one step as far as is allowed, in linf x + eps * sign(dx). Arguments: as `pgd`.

    Source: Goodfellow, Shlens, Szegedy 2015, section 4.
    """
    return pgd(model, x, labels, eps, 1, eps, norm, targeted, loss)


def pgd(
    model: Module,
    x: Array,
    labels: Array,
    eps: float,
    steps: int = 10,
    step: float | None = None,
    norm: str = "linf",
    targeted: bool = False,
    loss: Loss = cross_entropy,
    rngs: Rngs = None,
) -> Array:
    """Steps up the loss, each brought back into the ball and into what a picture can be.

        x' = clip(x + project(x' + step * steepest(dx') - x), 0, 255),   `steps` times, from x or from near it

    x (N, H, W, 3), floating-point, 0 to 255.   labels: integers (N,); targeted: those that shall be answered, and the
    loss is made small.   eps: how far, in units of a byte, in this norm ("linf" or "l2").   step: how long each step
    is; None: 2.5 * eps / steps, with which any point of the ball can be reached.   rngs: a generator for each image,
    which draws the start from the ball; None: the start is x.
    Returns a new array like x: the end of the last step. Raises ValueError for an unknown norm, a negative eps or step.
    Source: Madry et al. 2018, section 2.1.
    """
    check_attack(eps, steps, step, norm)
    step = 2.5 * eps / max(steps, 1) if step is None else step
    way = -step if targeted else step
    delta = array_module(x).zeros_like(x) if rngs is None else _start(x, eps, norm, rngs)
    attacked = _picture(x + delta)
    for _ in range(steps):
        dx, _ = loss_gradient(model, attacked, labels, loss)
        attacked = _picture(x + project(attacked + way * steepest(dx, norm) - x, eps, norm))
    return attacked


def check_attack(eps: float, steps: int = 1, step: float | None = None, norm: str = "linf") -> None:
    """Raise ValueError for numbers with which there is no attack."""
    check_norm(norm)
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps is {eps}, expected a number from 0 up, in units of a byte: 8 is usual in linf")
    if steps < 0:
        raise ValueError(f"steps is {steps}, expected 0 or more")
    if step is not None and not 0 <= step < math.inf:
        raise ValueError(f"step is {step}, expected a number from 0 up, in units of a byte")


def generators(seed: int, first: int, count: int) -> list[np.random.Generator]:
    """One for each of the images first, first + 1, ...: what they draw does not depend on the batch they are in."""
    return [np.random.default_rng([seed, first + n]) for n in range(count)]


def _start(x, eps, norm, rngs):
    return to_device(drawn(x.shape, eps, norm, rngs).astype(x.dtype), device_of(x))


def _picture(x):
    """What lies outside of 0 to 255 brought there: towards x, which lies in it, so that the ball is not left."""
    return array_module(x).clip(x, 0, WHITE)
