"""Softmax and cross-entropy in one: `loss, backward = cross_entropy(logits, labels)`; `backward()` gives dlogits.

Derivation: docs/losses.md.
"""

import numpy as np

from minires.backend import array_module, known_at_once, mean_cost, mean_cost_gradient
from minires.layers.checks import check_float, check_not_empty, check_wide
from minires.losses.checks import check_dloss
from minires.types import Array, Backward


def cross_entropy(
    logits: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    weight: Array | None = None,
) -> tuple[Array, Backward]:
    """loss = mean over n of  -sum_c t[n, c] * log softmax(logits[n])[c],  where 0 * log 0 = 0

    logits (N, classes) floating-point. labels: integers (N,) in 0 .. classes - 1, for which t is one-hot, or t itself
    (N, classes), soft or one-hot. label_smoothing s in [0, 1]: t becomes (1 - s) * t + s / classes.
    ignore_index: items with this integer label have no part in the loss, whose mean is over the others.
    weight (classes,), 0 or more: class c counts weight[c] times, t[n, c] is multiplied by it (after smoothing). With
    integer labels the mean is over the weights, N is the sum of weight[labels]; with soft ones it is over the items.
    Returns loss, a scalar of the logits' dtype and device, and backward(dloss=1) -> dlogits
    = dloss * (softmax * sum_c t - t) / N, N without the ignored. Stable, since the largest logit is subtracted first.
    A logit of -infinity is a class of probability 0; where such a class has t > 0, the loss is infinity. With one of
    +infinity, or -infinity alone, softmax means nothing, and the loss is NaN.
    Raises ValueError for an empty batch, one whose labels are all ignored, shapes that do not fit and labels out of
    range; on a GPU, rather than wait for it, the loss is NaN where labels are all ignored or out of range.
    Source: Goodfellow et al. 2016, section 6.2.2.3; label smoothing: Szegedy et al. 2016, section 7.
    """
    array_module(logits, labels)
    check_not_empty("cross_entropy", logits)
    check_float("cross_entropy", logits)
    check_wide("cross_entropy", logits)
    if logits.ndim != 2:
        raise ValueError(f"cross_entropy: logits must have shape (N, classes), got {logits.shape}")
    smoothing = float(label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    kept = _check_labels(labels, logits, ignore_index)
    if weight is not None:
        weight = _check_weight(weight, logits, labels, kept)
    options = {"smoothing": smoothing, "classes": logits.shape[1]}
    loss, rows = mean_cost(_cost, _target, logits, labels, kept, weight, ignore_index, **options)

    def backward(dloss=1):
        check_dloss("cross_entropy", dloss)
        return mean_cost_gradient(_derivative, rows, dloss)

    return loss, backward


def _target(t, kept, weight, smoothing, classes):
    """t smoothed, without what is ignored, and each class as much as it counts."""
    if smoothing:
        t = (1 - smoothing) * t + smoothing / classes
    if kept is not None:
        t = array_module(t).where(kept, t, 0)
    return t if weight is None else t * weight


def _cost(t, shifted, log_total):
    """-t * log softmax,  log softmax = shifted - log_total,  and 0 where t is"""
    return t * array_module(t).where(t == 0, 0, log_total - shifted)


def _derivative(softmax, t, sum_of_t, factor):
    """(softmax * sum_c t - t) * dloss / N"""
    return (softmax * sum_of_t - t) * factor


def _check_labels(labels, logits, ignore_index):
    """Which labels (N,) are kept, or None: all of them, or nobody can tell yet."""
    N, classes = logits.shape
    if labels.dtype.kind == "f" or labels.shape == logits.shape:
        if labels.shape != logits.shape:
            raise ValueError(
                f"cross_entropy: soft labels have shape {labels.shape}, logits {logits.shape}: must be equal "
                f"(or integers of shape ({N},))"
            )
        if ignore_index >= 0:
            raise ValueError(
                f"cross_entropy: ignore_index {ignore_index} is for integer labels of shape ({N},): give an item that "
                "shall not count a row of zeros"
            )
        return None
    if labels.dtype.kind not in "iu" or labels.shape != (N,):
        raise ValueError(
            f"cross_entropy: labels must be {N} integers, shape ({N},), or floats of shape {logits.shape}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if not known_at_once(labels):
        return None
    labels = labels.astype(np.int64, copy=False)
    kept = labels != ignore_index
    others = np.where(kept, labels, 0)
    lowest, highest = int(others.min()), int(others.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"cross_entropy: label {lowest if lowest < 0 else highest} is out of range for {classes} classes: "
            f"labels must be 0 to {classes - 1}"
        )
    if kept.all():
        return None
    if not kept.any():
        raise ValueError(
            f"cross_entropy: every label is ignore_index, {ignore_index}, and the mean of no items means nothing: "
            "leave such a batch out"
        )
    return kept


def _check_weight(weight, logits, labels, kept):
    """The classes' weights in the logits' dtype."""
    array_module(logits, weight)
    if weight.shape != (logits.shape[1],):
        raise ValueError(
            f"cross_entropy: weight has shape {weight.shape}, expected ({logits.shape[1]},): a number for each class"
        )
    if known_at_once(weight) and not (weight >= 0).all():
        raise ValueError("cross_entropy: weight must be 0 or more for each class, and some is not")
    weight = weight.astype(logits.dtype)
    if known_at_once(weight) and labels.ndim == 1 and not weight[labels if kept is None else labels[kept]].any():
        raise ValueError("cross_entropy: the weights of all labels are 0, and their mean means nothing: leave it out")
    return weight
