"""A loss for attacks: how far the likeliest wrong class is ahead of the right one."""

import numpy as np

from minires.backend import array_module
from minires.layers.checks import check_float, check_not_empty, check_wide
from minires.losses.checks import check_dloss
from minires.types import Array, Backward


def margin(logits: Array, labels: Array) -> tuple[Array, Backward]:
    """loss = mean over n of  max over c != labels[n] of logits[n, c]  -  logits[n, labels[n]]

    Above 0 the answer is wrong. Unlike cross-entropy's, its gradient does not fade where the model is sure. logits
    (N, classes), floating-point, two classes or more; labels: integers (N,), 0 to classes - 1, which is not checked.
    Returns loss, a scalar of the logits' dtype, and backward(dloss=1) -> dlogits: dloss / N at the likeliest other
    class, the first of equals, and -dloss / N at the label. Raises ValueError for an empty batch and for shapes that do
    not fit.
    Source: Carlini and Wagner 2017, section V.A, f6.
    """
    xp = array_module(logits, labels)
    for check in (check_not_empty, check_float, check_wide):
        check("margin", logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"margin: logits must have shape (N, classes), two classes or more, got {logits.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != logits.shape[:1]:
        raise ValueError(f"margin: labels must be {len(logits)} integers, got {labels.dtype} of shape {labels.shape}")
    N, classes = logits.shape
    numbers = xp.arange(classes)
    true = numbers == labels[:, None]  # (N, classes)
    others = xp.where(true, -np.inf, logits)
    other = numbers == others.argmax(axis=1)[:, None]
    loss = (others.max(axis=1) - xp.where(true, logits, 0).sum(axis=1)).mean()

    def backward(dloss=1):
        check_dloss("margin", dloss)
        return ((other.astype(logits.dtype) - true.astype(logits.dtype)) * (dloss / N)).astype(logits.dtype)

    return loss, backward
