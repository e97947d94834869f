"""Adversarial training, in the open: the step that makes the worst of each image before it learns from it."""

from collections.abc import Callable
from typing import Any

from minires.module import Module
from minires.optim import Optimizer
from minires.training import train_step
from minires.types import Array


def adversarial_step(
    model: Module,
    optimizer: Optimizer,
    x: Array,
    labels: Array,
    attack: Callable[[Module, Array, Array], Array],
    **options: Any,
) -> tuple[Array, Array]:
    """`train_step` on attack(model, x, labels): a step down the loss of the worst images that the attack finds.

        min over parameters of  mean over n of  max over delta in the ball of  loss(model(x[n] + delta), labels[n])

    model: of pixels, in training mode; the attack sees it in inference mode, as an attacker would.   x (N, H, W, 3),
    0 to 255.   attack: such as `pgd` with its eps.   options: of `train_step`. Returns what that does: the mean loss
    and the number of right answers, on the attacked images.
    Source: Madry et al. 2018, section 2, equation (2.1).
    """
    return train_step(model, optimizer, attack(model, x, labels), labels, **options)
