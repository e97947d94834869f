"""Focal loss: cross-entropy in which what is right already counts for little.

Derivation: docs/detection.md.
"""

import math

from minires.backend import array_module, known_at_once
from minires.layers.checks import check_float, check_not_empty, check_number, check_wide
from minires.losses.checks import check_divisor, check_dloss
from minires.types import Array, Backward


def sigmoid_focal_loss(
    logits: Array,
    targets: Array,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    divisor: float | Array | None = None,
) -> tuple[Array, Backward]:
    """loss = 1 / divisor * sum of  a * (1 - p)^gamma * -log p,  where p is the probability of what is true

    logits (...) float32 or float64: each the sigmoid's, of a yes or no of its own. targets: as many, 1 or 0, of any
    dtype. With s = logit where the target is 1 and -logit where it is 0, p = sigmoid(s).
    alpha: a is alpha where the target is 1 and 1 - alpha where it is 0; None: 1 everywhere. gamma: from 0, which is
    cross-entropy, up. divisor: above 0, such as the number of objects; None: the number of logits.
    Returns loss, a scalar, and backward(dloss=1) -> dlogits = dloss / divisor * -a * q^gamma * (gamma * p * -log p + q)
    where q = 1 - p, its sign turned where the target is 0. Stable: q and log p are made of exp(-|s|).
    Raises ValueError for shapes that differ, targets other than 0 and 1 (on a GPU nobody looks), no logits at all.
    Source: Lin et al. 2017b, equations 4 and 5; the derivative: appendix B.
    """
    xp = array_module(logits, targets)
    check_not_empty("sigmoid_focal_loss", logits)
    check_float("sigmoid_focal_loss", logits)
    check_wide("sigmoid_focal_loss", logits)
    _check(logits, targets, alpha, gamma)
    divisor = check_divisor("sigmoid_focal_loss", logits.size if divisor is None else divisor)
    true = targets != 0
    s = xp.where(true, logits, -logits)
    small = xp.exp(-abs(s))
    cost = xp.maximum(-s, 0) + xp.log1p(small)  # -log p
    p, q = xp.where(s >= 0, 1, small) / (1 + small), xp.where(s >= 0, small, 1) / (1 + small)
    modulation = q**gamma
    if alpha is not None:
        modulation = modulation * xp.where(true, alpha, 1 - alpha).astype(logits.dtype)
    loss, dtype = ((modulation * cost).sum() / divisor).astype(logits.dtype), logits.dtype

    def backward(dloss=1):
        check_dloss("sigmoid_focal_loss", dloss)
        ds = -modulation * (gamma * p * cost + q)
        return (xp.where(true, ds, -ds) * (dloss / divisor)).astype(dtype)

    return loss, backward


def _check(logits, targets, alpha, gamma):
    if targets.shape != logits.shape:
        raise ValueError(
            f"sigmoid_focal_loss: targets have shape {targets.shape}, logits {logits.shape}: must be equal"
        )
    if known_at_once(targets) and not ((targets == 0) | (targets == 1)).all():
        raise ValueError("sigmoid_focal_loss: a target is neither 0 nor 1: give a yes or no for each logit")
    if alpha is not None:
        check_number("sigmoid_focal_loss", "alpha", alpha, 0, 1)
    check_number("sigmoid_focal_loss", "gamma", gamma, 0, math.inf)
