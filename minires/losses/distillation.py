"""Knowledge distillation: a student is held to a teacher's probabilities, and to the labels.

Derivation: docs/distillation.md.
"""

import math
from typing import Any

from minires.backend import array_module
from minires.layers.checks import check_float, check_not_empty, check_wide
from minires.losses.checks import check_dloss
from minires.losses.cross_entropy import cross_entropy
from minires.types import Array, Backward


def distillation(
    logits: Array,
    labels: Array,
    teacher: Array,
    temperature: float = 4.0,
    alpha: float = 0.9,
    **options: Any,
) -> tuple[Array, Backward]:
    """loss = alpha * T^2 * KL + (1 - alpha) * cross_entropy(logits, labels, **options)

        KL = mean over n of  sum_c q[n, c] * log(q[n, c] / p[n, c]),   p = softmax(logits / T),  where 0 * log 0 = 0

    logits (N, classes) floating-point, of the student. labels, options: as in `cross_entropy`.
    teacher: q (N, classes) floating-point, probabilities at the same temperature T, as `softened` makes them of logits;
    they get no gradient.
    Returns loss, a scalar of the logits' dtype and device, and backward(dloss=1) -> dlogits
    = dloss * (alpha * T * (p - q) / N + (1 - alpha) * that of cross_entropy).
    Raises ValueError for a temperature that is not above 0, an alpha outside [0, 1], probabilities of another
    shape than the logits, and as `cross_entropy` does.
    Source: Hinton, Vinyals, Dean 2015, section 2; KL in place of the soft cross-entropy, whose gradient it has.
    """
    T = check_distillation(temperature, alpha)
    array_module(logits, teacher)
    check_float("distillation", logits)
    check_wide("distillation", logits)
    if teacher.shape != logits.shape or teacher.dtype.kind != "f":
        raise ValueError(
            f"distillation: teacher is {teacher.dtype} of shape {teacher.shape}, expected floats: probabilities "
            f"of the logits' shape {logits.shape}"
        )
    soft, soft_backward = cross_entropy(logits / T, teacher)
    hard, hard_backward = cross_entropy(logits, labels, **options)
    divergence = soft - _entropy(teacher).astype(logits.dtype)
    loss = alpha * T**2 * divergence + (1 - alpha) * hard

    def backward(dloss=1):
        check_dloss("distillation", dloss)
        dsoft, dhard = soft_backward(dloss), hard_backward(dloss)  # (p - q) / N and the labels' own
        return alpha * T * dsoft + (1 - alpha) * dhard

    return loss, backward


def softened(logits: Array, temperature: float = 1.0) -> Array:
    """softmax(logits / temperature) over the last axis: the higher the temperature, the more even the probabilities.

    logits (N, classes) floating-point; returns an array like it. The largest logit is subtracted first.
    Raises ValueError for an empty batch and for a temperature that is not above 0.
    """
    check_not_empty("softened", logits)
    check_float("softened", logits)
    T, xp = check_distillation(temperature), array_module(logits)
    powers = xp.exp((logits - logits.max(axis=-1, keepdims=True)) / T)
    return powers / powers.sum(axis=-1, keepdims=True)


def check_distillation(temperature: float, alpha: float = 0.0) -> float:
    """The temperature as a float. Raises ValueError where it or alpha cannot be."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"distillation: the temperature is {temperature}, expected a number above 0: 4 is usual")
    if not 0 <= alpha <= 1:
        raise ValueError(f"distillation: alpha is {alpha}, expected a number from 0 (labels) to 1 (the teacher alone)")
    return float(temperature)


def _entropy(q):
    """mean over n of  -sum_c q * log q,  where 0 * log 0 = 0"""
    xp = array_module(q)
    return -(q * xp.log(xp.where(q > 0, q, 1))).sum(axis=-1).mean()
